"""Whole pages, followed word for word: what stands in their blocks of shell is done, in their order.

Only places are others: ports, paths outside the checkout, and where modules come from.  Which pages are followed
elsewhere, and what cannot be typed, is said in ``tests/test_documentation.py``.
"""

from __future__ import annotations

import io
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from athensd.gomod.escape import escape_path
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.reader import Reader
from tests.rig.sumdb import Database, Server
from tests.test_documentation import ROOT

UUID = ModuleVersion("github.com/google/uuid", "v1.6.0")
TOOLCHAIN = ModuleVersion("golang.org/toolchain", "v0.0.1-go1.27.4.linux-amd64")
PROGRAM = 'package main\n\nimport "github.com/google/uuid"\n\nfunc main() { println(uuid.Name) }\n'

pytestmark = [pytest.mark.slow, needs_go]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the pages ask for, made up."""
    root = tmp_path / "tree"
    uuid = {"go.mod": f"module {UUID.path}\n".encode(), "uuid.go": b'package uuid\n\nconst Name = "uuid"\n'}
    add_version(root, UUID.path, UUID.version, uuid)
    go = {"go.mod": b"module golang.org/toolchain\n", "bin/go": b"#!/bin/sh\n"}
    add_version(root, TOOLCHAIN.path, TOOLCHAIN.version, go)
    return root


@pytest.fixture
def upstream(tree: Path) -> Iterator[Upstream]:
    server = Upstream(tree)
    yield server
    server.stop()


def recorded(tree: Path) -> Database:
    """A checksum database that knows the tree."""
    database = Database()
    for version in (UUID, TOOLCHAIN):
        file = tree / escape_path(version.path) / "@v" / f"{version.version}.zip"
        h1 = check_zip(io.BytesIO(file.read_bytes()), version).h1
        database.add(version.path, version.version, h1, h1_of_mod(file.with_suffix(".mod").read_bytes()))
    return database


def project(place: Path) -> Path:
    """A program that uses a module, without a go.sum."""
    place.mkdir(parents=True)
    (place / "go.mod").write_text(f"module example.com/program\n\ngo 1.20\n\nrequire {UUID.path} {UUID.version}\n")
    (place / "main.go").write_text(PROGRAM)
    return place


def test_quickstart(tmp_path: Path, upstream: Upstream) -> None:
    """docs/quickstart.md from its beginning to its end."""
    reader = Reader(tmp_path / "checkout", "docs/quickstart.md", upstream.url)
    start, ask, use, differently = reader.blocks
    with reader.daemon(start):
        said = reader.run(ask)
        assert "v1.6.0\n" in said
        assert '"Version"' in said
        said = reader.run(use)
        assert "all modules verified" in said
        assert '{"module":"github.com/google/uuid","version":"v1.6.0"}' in said.replace(" ", "")
    assert (reader.place / "var/storage/github.com/google/uuid/@v/v1.6.0.zip").exists()
    for line in differently.splitlines():
        with reader.daemon(line) as url:
            assert urllib.request.urlopen(f"{url}/readyz", timeout=10).status == 200


def test_readme(tmp_path: Path, upstream: Upstream) -> None:
    """README.md from its beginning to its end."""
    reader = Reader(tmp_path / "checkout", "README.md", upstream.url)
    start, use, direct, configure, traced = reader.blocks
    (reader.place / "var").mkdir()
    project(reader.place / "project")
    with reader.daemon(start):
        reader.run(f"cd project\n{use}\ngo mod download all && go mod verify", GOFLAGS="-modcacherw -mod=mod")
    (reader.place / "etc").unlink()
    (reader.place / "etc").mkdir()
    for name in (ROOT / "etc").glob("*.toml"):
        (reader.place / "etc" / name.name).write_text(name.read_text())
    for line in [direct, *configure.splitlines(), traced]:
        with reader.daemon(line.partition("  #")[0]) as url:
            assert urllib.request.urlopen(f"{url}/readyz", timeout=10).status == 200


def test_air_gap(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """docs/air-gap.md: with the outside gone, a client that asks the database builds, and has the toolchain.

    Once from a bundle, and once from a directory that was carried in.
    """
    database = recorded(tree)
    key = database.signer.verifier_key
    with Server(database) as server:
        sums = {"GOSUMDB": server.gosumdb, "ATHENS_SUM_DBS": server.gosumdb}
        reader = Reader(tmp_path / "checkout", "docs/air-gap.md", upstream.url)
        key_, warm, export, bring, bundled, later, *blocks = reader.blocks
        outside, fetch, toolchain, inside, import_, copy, check = blocks
        (reader.place / "media/stick").mkdir(parents=True)
        (reader.place / "srv").mkdir()
        project(reader.place / "first")
        with reader.daemon(outside, **sums) as url:
            reader.run(
                f"cd first\n{fetch}\nGOMODCACHE={reader.place}/media/stick/gomodcache go mod download", GOSUMDB=key
            )
            reader.run(toolchain)
            reader.run(
                f"cd first && go mod tidy\n{warm}", GOMODCACHE=str(reader.place / "tidy"), GOPROXY=url, GOSUMDB=key
            )
        settings = 'StorageType = "disk"\n[Storage.Disk]\nRootPath = "{}"\n'
        (reader.place / "outside.toml").write_text(settings.format(reader.place / "media/stick/store"))
        (reader.place / "inside.toml").write_text(settings.format(reader.place / "srv/other"))
        reader.run(check, **sums)
        public = reader.run(key_).strip()
        assert "exported: 2, faults: 0" in reader.run(export, **sums)
        assert "in an earlier bundle: 2, faults: 0" in reader.run(later, **sums)
        assert "copied: 2, faults: 0" in reader.run(bring, KEY=public, **sums)
        reader.run(copy)
        imported = {"ATHENS_STORAGE_TYPE": "disk", "ATHENS_DISK_STORAGE_ROOT": str(reader.place / "srv/imported")}
        assert "copied: 1" in reader.run(import_, **imported)
    upstream.stop()
    move, serve = inside.strip().splitlines()
    reader.run(move)
    for block in (bundled, serve):
        with reader.daemon(block, ATHENS_SUM_DBS=server.gosumdb, GOSUMDB="off", ATHENS_NETWORK_MODE="offline") as url:
            place = reader.place / f"inside{block is serve}"
            project(place / "second")
            client = {
                "GOPROXY": url,
                "GOSUMDB": key,
                "GOMODCACHE": str(place / "modcache"),
                "GOPATH": str(place / "go"),
            }
            reader.run(f"cd {place}/second && go mod tidy && go build -o program . && go mod verify", **client)
            reader.run(f"go mod download {TOOLCHAIN}", **client)
            began = time.monotonic()
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/example.com/not/stored/@v/list", timeout=10)
            assert refused.value.code == 404
            assert time.monotonic() - began < 5


def test_moving_from_athens(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """docs/moving-from-athens.md with a disk store: settings are read, the store is imported and served."""
    reader = Reader(tmp_path / "checkout", "docs/moving-from-athens.md", "off")
    settings, fsck, import_, client = reader.blocks
    file = reader.place / "etc/athens/config.toml"
    (reader.place / "etc").unlink()
    file.parent.mkdir(parents=True)
    file.write_text('StorageType = "disk"\nLogLevel = "debug"\n[Storage.Disk]\nRootPath = "srv/athensd"\n')
    theirs = reader.place / f"var/lib/athens/{UUID}".replace("@", "/")
    theirs.mkdir(parents=True)
    for name, stored in (("info", "v1.6.0.info"), ("mod", "go.mod"), ("zip", "source.zip")):
        (theirs / stored).write_bytes((tree / escape_path(UUID.path) / f"@v/v1.6.0.{name}").read_bytes())
    with reader.daemon(settings):
        pass
    assert "copied: 1" in reader.run(import_)
    with Server(recorded(tree)) as server:
        assert "complete: 1" in reader.run(fsck, GOSUMDB=server.gosumdb)
    project(reader.place / "program")
    with reader.daemon(".venv/bin/twistd -n athens --config-file etc/athens/config.toml"):
        reader.run(f"cd program\n{client}go mod verify", GOFLAGS="-modcacherw -mod=mod")
