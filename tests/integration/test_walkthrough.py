"""The page that the walkthrough leads to: Jaeger's own, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.browser import Browser
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.walkthrough import ZIP, Walk, make_pictures, walked

pytestmark = [needs_go, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """One for all these tests."""
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Walk]:
    """A module that was got twice, and a Jaeger with pages."""
    directory = tmp_path_factory.mktemp("walk")
    files = {"go.mod": b"module example.test/word\n", "word.go": b"package word\n"}
    add_version(directory / "tree", "example.test/word", "v1.0.0", files)
    upstream = Upstream(directory / "tree")
    with walked(directory, upstream.url, "example.test/word@v1.0.0") as done:
        if "This is not the Jaeger UI" in browser.text(done.search):
            pytest.skip("this Jaeger has no pages; see script/jaeger")
        yield done
    upstream.stop()


def test_the_search_page_shows_both_traces(walk: Walk, browser: Browser) -> None:
    """The service is there to choose, and the fetch and the hit are found, each with its number of steps."""
    text = browser.text(walk.search)
    assert "Service (1)athensd" in text
    assert "2 Traces" in text
    for trace in (walk.cold, walk.warm):
        assert f"athensd: {ZIP}{trace[0].trace[:7]}" in text
        assert f"{len(trace)} Spans" in text


def test_the_trace_page_shows_every_step_of_the_fetch(walk: Walk, browser: Browser) -> None:
    """From the request down to the exchange with the upstream and to the stored files."""
    text = browser.text(walk.trace)
    assert f"Total Spans{len(walk.cold)}" in text
    for span in walk.cold:
        assert f"athensd {span.name}" in text


def test_pictures_are_made_of_both(walk: Walk, browser: Browser, tmp_path: Path) -> None:
    """As ``script/screenshots`` makes those of the documentation."""
    make_pictures(walk, browser, tmp_path)
    for name, size in {"search.png": (1280, 760), "trace.png": (1280, 1130)}.items():
        picture = (tmp_path / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == size
        assert len(picture) > 20_000, "it is not blank"
