"""What ``docs/walkthrough.md`` leads through, with processes in the place of containers.

As a program, ``python -m tests.integration.walkthrough DIRECTORY``, it makes the pictures of that page.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.integration.browser import Browser
from tests.integration.daemon import running
from tests.integration.go import GO, Client
from tests.integration.jaeger import Jaeger, running_jaeger
from tests.integration.process import eventually
from tests.integration.spans import Span

PACKAGE = "golang.org/x/text@v0.21.0"
ZIP = "GET /{module}/@v/{version}.zip"
SEARCH = urllib.parse.urlencode({"service": "athensd", "operation": ZIP, "lookback": "1h", "limit": 20})


@frozen
class Walk:
    """A Jaeger that knows how one zip was fetched, and how it was served once more."""

    jaeger: Jaeger
    cold: list[Span]
    warm: list[Span]

    @property
    def search(self) -> str:
        """The address of the page that shows both."""
        return f"{self.jaeger.pages}/search?{SEARCH}"

    @property
    def trace(self) -> str:
        """The address of the page that shows the first one, step by step."""
        return f"{self.jaeger.pages}/trace/{self.cold[0].trace}"


@contextmanager
def walked(directory: Path, goproxy: str, package: str) -> Iterator[Walk]:
    """Two users get ``package`` by way of athensd, one after the other."""
    with running_jaeger(directory) as jaeger:
        sent = {"ATHENS_TRACE_EXPORTER": "jaeger", "ATHENS_TRACE_EXPORTER_URL": jaeger.thrift}
        with running(directory / "athensd", goproxy, **sent) as daemon:
            for name in ("first", "second"):
                client = Client(directory / name, daemon.url)
                client.ok("mod", "init", "example.test/hello")
                client.ok("get", package)
            assert daemon.end() == 0
        cold, warm = eventually(lambda: [trace for trace in jaeger.settled_traces() if trace[0].name == ZIP])
        yield Walk(jaeger, cold, warm)


def make_pictures(walk: Walk, browser: Browser, directory: Path) -> None:
    """``search.png`` and ``trace.png``."""
    browser.picture(walk.search, directory / "search.png", 1280, 760)
    browser.picture(walk.trace, directory / "trace.png", 1280, 1130)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        goproxy = subprocess.run([GO, "env", "GOPROXY"], capture_output=True, text=True, check=True).stdout
        # The upstream alone, for a machine from which the hosts of repositories cannot be reached.
        with walked(Path(name), re.split("[,|\n]", goproxy)[0], PACKAGE) as walk:
            make_pictures(walk, Browser(Path(name)), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
