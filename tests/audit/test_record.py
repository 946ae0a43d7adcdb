"""What is recorded of an answer."""

from __future__ import annotations

import pytest

from athensd.audit.record import file_of


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/x.y/m/@v/v1.0.0.info", ("x.y/m", "v1.0.0", "info")),
        ("/x.y/%21big/m/v2/@v/v2.0.0+incompatible.zip", ("x.y/Big/m/v2", "v2.0.0+incompatible", "zip")),
        ("/x.y/m/@v/v1.0.0-!r!c.1.mod", ("x.y/m", "v1.0.0-RC.1", "mod")),
        ("/x.y/m/@v/main.info", ("x.y/m", "main", "info")),
        ("/x.y/m/@v/list", ("x.y/m", "", "list")),
        ("/x.y/m/@latest", ("x.y/m", "", "latest")),
        ("/x.y/m/%40v/%76%31.0.0.zip", ("x.y/m", "v1.0.0", "zip")),
        ("/x.y/m/%40latest", ("x.y/m", "", "latest")),
        ("/x.y/m/@v/v1.0.0.ziphash", None),
        ("/x.y/M/@v/list", None),
        ("/@v/list", None),
        ("/x.y/../m/@v/list", None),
        ("/x.y/m/@v/list/more", None),
        ("/sumdb/sum.golang.org/lookup/x.y/m@v1.0.0", None),
        ("/mod/x.y/m@v1.0.0", None),
        ("/x.y/%ff/@v/list", None),
    ],
)
def test_paths(path: str, found: tuple[str, str, str] | None) -> None:
    """A path of the download protocol names a module as people write it, a version and a file; another names none."""
    assert file_of(path) == found
