"""athensd: a Go module proxy, as a Twisted daemon."""

__version__ = "0.1.0"
