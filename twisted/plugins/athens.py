"""Tells twistd of the ``athens`` command."""

from twisted.application.service import ServiceMaker

athens = ServiceMaker("athensd", "athensd.tap", "A Go module proxy: fetch once, keep for ever.", "athens")
