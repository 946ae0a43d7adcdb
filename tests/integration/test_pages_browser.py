"""The pages for people in a real browser, of a real daemon.

As a program, ``python -m tests.integration.test_pages_browser DIRECTORY``, it makes the pictures of ``docs/pages.md``.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.integration.browser import Browser
from tests.integration.daemon import Daemon, running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.process import eventually

pytestmark = [needs_go, pytest.mark.slow]
MODULE = "example.test/colours/v2"
GO_MOD = f"""module {MODULE}

go 1.22

require example.test/words v1.4.0

// The names of two colours were mixed up.
retract v2.0.1
"""
STORED = {
    MODULE: ["v2.0.0", "v2.0.1", "v2.1.0"],
    "example.test/words": ["v1.3.0", "v1.4.0"],
    "example.test/tool/Maker": ["v0.9.0"],
}


def fill(directory: Path, daemon: Daemon) -> None:
    """Have the daemon fetch all that is in ``STORED``."""
    for path, versions in STORED.items():
        escaped = path.replace("Maker", "!maker")
        for version in versions:
            for kind in ("info", "mod", "zip"):
                assert daemon.get(f"{escaped}/@v/{version}.{kind}")[0] == 200


def upstream(directory: Path) -> Upstream:
    """One that has all that is in ``STORED``."""
    for path, versions in STORED.items():
        for version in versions:
            go_mod = GO_MOD if path == MODULE else f"module {path}\n"
            add_version(directory / "tree", path, version, {"go.mod": go_mod.encode(), "a.go": b"package a\n" * 4000})
    return Upstream(directory / "tree")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """One for all these tests."""
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One that has fetched a few modules."""
    directory = tmp_path_factory.mktemp("pages")
    source = upstream(directory)
    with running(directory / "athensd", source.url) as daemon:
        fill(directory, daemon)
        yield daemon
    source.stop()


def test_home(daemon: Daemon, browser: Browser) -> None:
    """How to use it, what came last, and that it is well."""
    text = browser.text(f"{daemon.url}/")
    assert f"go env -w GOPROXY={daemon.url} " in text
    assert "go env -w GOPRIVATE=" in text
    assert "Newest hereexample.test/tool/Maker@v0.9.0 " in text
    assert "Storecan be read and written" in text


def test_search(daemon: Daemon, browser: Browser) -> None:
    """What is found by a part of its path, and what is not."""
    text = browser.text(f"{daemon.url}/?q=maker")
    assert "with “maker” in their path" in text
    assert "Searchexample.test/tool/Makercatalog" in text
    assert "None is stored here." in browser.text(f"{daemon.url}/?q=nothing")


def test_module(daemon: Daemon, browser: Browser) -> None:
    """The latest version in full, and all of them."""
    text = browser.text(f"{daemon.url}/mod/{MODULE}")
    assert f"go get {MODULE}@v2.1.0" in text
    assert f"{MODULE} v2.1.0 h1:" in text
    assert "require example.test/words v1.4.0" in text
    assert "retracted: The names of two colours were mixed up." in text
    old = browser.text(f"{daemon.url}/mod/{MODULE}@v2.0.1")
    assert "Its author has retracted this version: The names of two colours were mixed up." in old


def test_what_is_being_fetched(tmp_path: Path, browser: Browser) -> None:
    """A fetch that takes its time is seen, with who waits for it, and an exporter that delivers nothing."""
    source = upstream(tmp_path)
    source.delay = 10
    away = {"ATHENS_STATS_EXPORTER": "datadog", "ATHENS_STATS_EXPORTER_URL": "unix:///nowhere/dsd.socket"}
    with running(tmp_path / "athensd", source.url, **away) as daemon, ThreadPoolExecutor() as askers:
        assert "Nothing is being fetched." in browser.text(f"{daemon.url}/now")
        for _ in range(2):
            askers.submit(daemon.get, "example.test/words/@v/v1.4.0.zip")
        eventually(lambda: b"2 wait for it" in daemon.get("now")[1])
        text = browser.text(f"{daemon.url}/now")
        assert "example.test/words@v1.4.0 zipcomes from 127.0.0.1:" in text
        assert "Metrics to datadognot delivered since " in browser.text(f"{daemon.url}/")
        daemon.end(signal.SIGKILL)
    source.stop()


def test_it_is_dressed(daemon: Daemon, browser: Browser, tmp_path: Path) -> None:
    """The policy lets the stylesheet through: a page as wide as a phone is no wider than that, and not blank."""
    browser.picture(f"{daemon.url}/mod/{MODULE}", tmp_path / "phone.png", 500, 900)
    picture = (tmp_path / "phone.png").read_bytes()
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (500, 900)
    assert len(picture) > 20_000


def test_a_broken_store(tmp_path: Path, browser: Browser) -> None:
    """With a store that is no directory the home page says so, and the page of a module why there is none."""
    source = upstream(tmp_path)
    with running(tmp_path / "athensd", source.url) as daemon:
        fill(tmp_path, daemon)
        store = tmp_path / "athensd" / "store"
        shutil.move(store, tmp_path / "elsewhere")
        store.write_text("no directory")
        text = browser.text(f"{daemon.url}/")
        assert "The store cannot be used: " in text
        assert f"GOPROXY={daemon.url}" in text
        assert "Not found" in browser.text(f"{daemon.url}/mod/{MODULE}")
    source.stop()


def test_ten_thousand_modules(tmp_path: Path) -> None:
    """With so many stored, the pages come as soon and are as light."""
    for number in range(10_000):
        folder = tmp_path / "athensd" / "store" / "example.test" / f"owner{number % 100}" / f"module{number}" / "@v"
        folder.mkdir(parents=True)
        for kind, data in (("info", '{"Version":"v1.0.0"}'), ("mod", "module x\n"), ("zip", "x"), ("ziphash", "h1:x=")):
            (folder / f"v1.0.0.{kind}").write_text(data)
    with running(tmp_path / "athensd", "off") as daemon:
        for path in ("", "?q=module", "?q=nowhere", "mod/example.test/owner7/module4007", "now"):
            took = []
            for _ in range(5):
                began = time.perf_counter()
                with urlopen(f"{daemon.url}/{path}", timeout=30) as response:
                    first = response.read(1)
                    took.append(time.perf_counter() - began)
                    weight = len(first + response.read())
            print(path, [f"{seconds:.3f}" for seconds in took], weight)
            assert min(took) < 0.05
            assert weight < 60_000
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{daemon.url}/mod/example.test/owner7/none", timeout=30)


def main(target: Path) -> None:
    """Make the pictures."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = upstream(directory)
        with running(directory / "athensd", source.url) as daemon:
            fill(directory, daemon)
            browser = Browser(directory)
            browser.picture(f"{daemon.url}/", target / "home.png", 1000, 900)
            browser.picture(f"{daemon.url}/mod/{MODULE}", target / "module.png", 1000, 960)
            source.delay = 60
            with ThreadPoolExecutor() as askers:
                for path in (f"{MODULE}/@v/v2.2.0.zip", f"{MODULE}/@v/v2.2.0.zip", "example.test/words/@v/v1.5.0.mod"):
                    askers.submit(daemon.get, path)
                eventually(lambda: b"2 wait for it" in daemon.get("now")[1])
                browser.picture(f"{daemon.url}/now", target / "now.png", 1000, 420)
                daemon.end(signal.SIGKILL)
        source.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
