"""The names of objects, and where a catalog goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athensd.blob import BytesBlob
from athensd.gomod.version import ModuleVersion, is_canonical_for
from athensd.interfaces import WHOLE, Kind
from athensd.storage.bucket import BucketStorage
from athensd.storage.bucket_layout import DownloadLayout, FolderLayout
from tests.bucket.memory import MemoryBucket, MemoryObject
from tests.fakes import result_of

LAYOUTS = [DownloadLayout(), FolderLayout()]
V = ModuleVersion("github.com/BurntSushi/toml", "v1.0.0-RC1")


def test_names_of_athens():
    """The names are Athens' own, with paths as people write them; the hash of the zip lies beside."""
    download, folder = LAYOUTS
    assert [download.name(V, kind) for kind in Kind] == [
        "github.com/BurntSushi/toml/@v/v1.0.0-RC1.info",
        "github.com/BurntSushi/toml/@v/v1.0.0-RC1.mod",
        "github.com/BurntSushi/toml/@v/v1.0.0-RC1.zip",
        "github.com/BurntSushi/toml/@v/v1.0.0-RC1.ziphash",
    ]
    assert [folder.name(V, kind) for kind in Kind] == [
        "github.com/BurntSushi/toml/v1.0.0-RC1/v1.0.0-RC1.info",
        "github.com/BurntSushi/toml/v1.0.0-RC1/go.mod",
        "github.com/BurntSushi/toml/v1.0.0-RC1/source.zip",
        "github.com/BurntSushi/toml/v1.0.0-RC1/v1.0.0-RC1.ziphash",
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", Kind)
def test_names_are_understood(layout, kind):
    """What a name was made of is found in it again, and the names of a path begin as they should."""
    for version in (V, ModuleVersion("gopkg.in/yaml.v2", "v2.4.0"), ModuleVersion("a.io/m/v3", "v3.0.0-a.info")):
        name = layout.name(version, kind)
        assert layout.parse(name) == (version, kind)
        assert name.startswith(layout.prefix(version.path))
        assert name <= layout.last(version) or kind is Kind.ZIPHASH


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name",
    [
        "",
        "README",
        "x.info",
        "/.info",
        "/@v/.info",
        "/go.mod",
        "//go.mod",
        ".athensd/first-writer-wins",
        "a.io/m/@v/list",
        "a.io/m/@v/main.info",
        "a.io/m/@v/v1.info",
        "a.io/m/@v/v1.0.0.lock",
        "a.io/m/@v/V1.0.0.info",
        "a.io/m/@v/v2.0.0.info",
        "a.io/m/@v/sub/v1.0.0.info",
        "nodot/m/@v/v1.0.0.info",
        "a.io/m/@latest",
        "a.io/m/v1.0.0",
        "a.io/m/v1.0.0/",
        "a.io/m/v1.0.0/go.sum",
        "a.io/m/v1.0.0/v1.0.1.info",
        "a.io/m/v1/go.mod",
        "a.io/m/main/go.mod",
        "a.io/../m/v1.0.0/go.mod",
        "parts/a.io/m/v1.0.0/1",
        "parts/a.io/m/v1.0.0/go.mod",
    ],
)
def test_foreign_names(layout, name):
    """What is no file of a version is none, such as the parts of an upload that Athens did not finish."""
    assert layout.parse(name) is None


# Alphabets in which one name is likely to be the beginning of another, or to lie between the names of another.
WORDS = st.sampled_from(["0", "1", "a", "info", "j", "mod", "n", "zip", "zz", "x-y", "-"])
PATHS = st.lists(st.sampled_from(["m", "m-x", "v1.0.0-a", "v1.0.0-a.b", "v2", "go.mod", "sub"]), max_size=3).map(
    lambda words: "/".join(["a.io", *words])
)
FORMS = st.lists(WORDS, max_size=4).map(lambda words: "v1.0.0" + ("-" + ".".join(words) if words else ""))
VERSIONS = st.sets(
    st.builds(ModuleVersion, PATHS, FORMS).filter(lambda version: is_canonical_for(version.path, version.version)),
    min_size=1,
    max_size=12,
)


def bucket_of(layout, versions, kinds=WHOLE):
    bucket = MemoryBucket()
    for version in versions:
        for kind in kinds:
            bucket.objects[layout.name(version, kind)] = MemoryObject(BytesBlob(b""), "", "")
    return bucket


# Not parametrized: pytest-twisted wraps a test of hypothesis once for each of its cases, around each other.
@given(layout=st.sampled_from(LAYOUTS), whole=VERSIONS, parts=VERSIONS, size=st.integers(1, 4))
def test_catalog_of_names_within_names(layout, whole, parts, size):
    """Each complete version is shown once, and in one order, wherever a page ends; incomplete ones never are."""
    bucket = bucket_of(layout, whole)
    bucket.objects |= bucket_of(layout, parts - whole, [Kind.MOD, Kind.ZIPHASH]).objects
    storage = BucketStorage(bucket, layout)
    shown, token = [], ""
    while True:
        page = result_of(storage.page(token, size))
        shown += page.versions
        token = page.next
        if not token:
            break
        assert len(page.versions) == size
    assert shown == sorted(whole, key=layout.last)
    for path in {version.path for version in whole | parts}:
        wanted = {version.version for version in whole if version.path == path}
        assert set(result_of(storage.versions(path))) == wanted


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_page_does_not_begin_at_the_beginning(layout):
    """The next page asks the bucket for what follows, also among thousands of pseudo-versions of one module."""
    versions = [ModuleVersion("a.io/m", f"v0.0.0-20240102{number:06}-abcdef123456") for number in range(50)]
    versions += [ModuleVersion("a.io/m", f"v1.2.4-0.20240102{number:06}-abcdef123456") for number in range(50)]
    bucket = bucket_of(layout, versions)
    storage = BucketStorage(bucket, layout)
    for number in (10, 70):
        bucket.asked.clear()
        result_of(storage.page(str(versions[number]), 10))
        assert bucket.asked == [("names", "", layout.last(versions[number]))]
