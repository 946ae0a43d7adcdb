"""The command beside daemons that serve from the same store, and on a store of another machine."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from athensd.gomod.escape import escape_path
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from tests.cli.command import Command
from tests.integration.daemon import running
from tests.integration.go import Client, needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.rig.sumdb import Database
from tests.rig.sumdb import Server as SumServer
from tests.servers import Server, minio
from tests.upkeep.fakes import flipped

PATHS = ["example.test/Greeting", "example.test/word", "example.test/old"]
ZIP = "example.test/!greeting/@v/v1.0.0.zip"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two modules of which one needs the other, and an old one without a go.mod."""
    root = tmp_path / "tree"
    word = b'package word\n\nconst Word = "hello"\n'
    need = b"module example.test/Greeting\n\ngo 1.20\n\nrequire example.test/word v1.1.0\n"
    greeting = b'package greeting\n\nimport "example.test/word"\n\nfunc Text() string { return word.Word }\n'
    add_version(root, PATHS[0], "v1.0.0", {"go.mod": need, "greeting.go": greeting})
    add_version(root, PATHS[1], "v1.0.0", {"go.mod": b"module example.test/word\n", "word.go": word})
    add_version(root, PATHS[1], "v1.1.0", {"go.mod": b"module example.test/word\n", "word.go": word})
    add_version(root, PATHS[2], "v2.0.0+incompatible", {"old.go": b"package old\n"})
    return root


@pytest.fixture
def upstream(tree: Path) -> Iterator[Upstream]:
    server = Upstream(tree)
    yield server
    server.stop()


def build(client: Client) -> dict[str, str]:
    (client.work / "go.mod").write_text("module example.test/program\n\ngo 1.20\n")
    (client.work / "main.go").write_text(
        'package main\n\nimport (\n\t"example.test/Greeting"\n\t_ "example.test/old"\n)\n\n'
        "func main() { println(greeting.Text()) }\n"
    )
    client.ok("get", "example.test/Greeting@v1.0.0", "example.test/old@v2.0.0+incompatible")
    client.ok("build", "-o", "program", ".")
    return client.files()


@needs_go
def test_a_module_cache_is_served(tmp_path: Path, upstream: Upstream) -> None:
    """What a developer has on his machine is built from by others, through a daemon that fetches nothing."""
    first = Client(tmp_path / "first", upstream.url)
    files = build(first)
    command = Command(tmp_path / "athensd")
    with running(tmp_path / "athensd", "off") as daemon:
        assert daemon.get(ZIP)[0] == 404
        status, lines, _ = command.run("import", first.cache)
        assert status == 0
        assert lines[-1].startswith("copied: 3")
        assert lines[-1].endswith("faults: 0")
    # What was not there a moment ago is remembered for a minute.
    with running(tmp_path / "athensd", "off") as daemon:
        assert build(Client(tmp_path / "second", daemon.url)) == files
        assert command.run("import", first.cache)[1][-1].startswith("already there")
        assert command.run("fsck")[0] == 0


@needs_go
def test_one_flipped_byte(tmp_path: Path, upstream: Upstream) -> None:
    """It is found and mended under a daemon, which serves the right bytes from then on; the wrong ones are kept."""
    command = Command(tmp_path / "athensd", GOPROXY=upstream.url)
    with running(tmp_path / "athensd", upstream.url) as daemon:
        right = daemon.get(ZIP)[1]
        stored = tmp_path / "athensd/store" / ZIP
        wrong = flipped(right)
        stored.write_bytes(wrong)
        assert daemon.get(ZIP)[1] == wrong
        status, lines, _ = command.run("fsck")
        assert status == 1
        assert [line for line in lines if line.startswith("example.test/Greeting@v1.0.0: zip member")]
        assert stored.read_bytes() == wrong
        status, lines, _ = command.run("fsck", "--repair")
        assert status == 1
        assert "example.test/Greeting@v1.0.0: fetched again and replaced; what was there is in quarantine" in lines
        assert daemon.get(ZIP)[1] == right
        assert command.run("fsck")[0] == 0
    assert (tmp_path / "athensd/store/.athensd/quarantine" / ZIP.replace("/@v", "")).read_bytes() == wrong


@needs_go
def test_what_direct_cannot_bring_stays(tmp_path: Path, tree: Path) -> None:
    """The go command is asked where the settings say so; without an answer nothing is touched."""
    command = Command(tmp_path, GOPROXY="direct", HTTPS_PROXY="http://127.0.0.1:1")
    assert command.run("import", tree)[0] == 0
    wrong = flipped((tree / ZIP).read_bytes())
    (tmp_path / "store" / ZIP).write_bytes(wrong)
    status, lines, error = command.run("fsck", "--repair")
    assert status == 1, error
    assert lines[-2].startswith("example.test/Greeting@v1.0.0: kept as it is: it cannot be had again")
    assert (tmp_path / "store" / ZIP).read_bytes() == wrong
    assert list((tmp_path / "store/.athensd/spool").iterdir()) == []


@needs_go
def test_sums(tmp_path: Path, tree: Path) -> None:
    """The checksum database has a say in what is imported, and finds what has been changed all through."""
    database = Database()
    for path, version in [(PATHS[0], "v1.0.0"), (PATHS[1], "v1.0.0"), (PATHS[1], "v1.1.0")]:
        name = path.replace("G", "!g")
        data = (tree / name / f"@v/{version}.zip").read_bytes()
        h1 = check_zip(io.BytesIO(data), ModuleVersion(path, version)).h1
        database.add(path, version, h1, h1_of_mod((tree / name / f"@v/{version}.mod").read_bytes()))
    evil = tmp_path / "evil"
    add_version(evil, PATHS[1], "v1.0.0", {"go.mod": b"module example.test/word\n", "word.go": b"package evil\n"})
    with SumServer(database) as server:
        command = Command(tmp_path, GOPROXY="direct", GOSUMDB=server.gosumdb)
        status, lines, _ = command.run("import", "--sums", evil)
        assert (status, lines[-1]) == (1, "damaged: 1, faults: 1")
        assert lines[1].startswith("example.test/word@v1.0.0: the zip has the hash h1:")
        assert command.run("import", evil)[0] == 0
        assert command.run("import", "--sums", "-j", "1", tree)[1][-1] == "copied: 3, conflicts: 1, faults: 1"
        assert command.run("fsck")[0] == 0
        status, lines, _ = command.run("fsck", "--sums")
        assert status == 1
        assert lines[-1] == "complete: 4, wrong: 1, faults: 1"
        private = Command(tmp_path, GOPROXY="direct", GOSUMDB=server.gosumdb, GOPRIVATE="example.test/word")
        assert private.run("fsck", "--sums")[0] == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


def settings(server: Server, bucket: str) -> str:
    return (
        f'StorageType = "minio"\n[Storage.Minio]\nEndpoint = "{server.host}:{server.port}"\n'
        f'Key = "{server.user}"\nSecret = "{server.password}"\nBucket = "{bucket}"\n'
    )


def test_to_a_bucket_and_back(tmp_path: Path, tree: Path, server: Server) -> None:
    """From a disk to MinIO, checked there, and to another disk: the same bytes."""
    (tmp_path / "bucket.toml").write_text(settings(server, "there-and-back"))
    command = Command(tmp_path)
    assert command.run("copy", f"disk:{tree}", "bucket.toml") == (0, ["copied: 4, faults: 0"], "")
    assert command.run("copy", f"disk:{tree}", "bucket.toml") == (0, ["already there: 4, faults: 0"], "")
    there = Command(tmp_path, ATHENS_STORAGE_TYPE="memory")
    del there.environment["ATHENS_STORAGE_TYPE"]
    assert there.run("fsck", "-c", "bucket.toml") == (0, ["complete: 4, faults: 0"], "")
    assert command.run("copy", "bucket.toml", "disk:back") == (0, ["copied: 4, faults: 0"], "")
    back = {path.relative_to(tmp_path / "back"): path.read_bytes() for path in (tmp_path / "back").glob("*/*/@v/*")}
    for name, data in back.items():
        if name.suffix != ".ziphash":
            assert data == (tree / name).read_bytes()
    assert len(back) == 4 * 4


@needs_go
def test_a_bundle_from_bucket_to_bucket(tmp_path: Path, tree: Path, server: Server) -> None:
    """A store on another machine is exported, and a bundle is imported into one: the same bytes."""
    command = Command(tmp_path)
    del command.environment["ATHENS_STORAGE_TYPE"]
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(settings(server, f"bundle-{name}"))
    assert command.run("copy", f"disk:{tree}", "one.toml")[0] == 0
    [key] = command.run("key", "site.key")[1]
    exported = command.run("export", "-c", "one.toml", "--key", "site.key", "--output", "a.bundle")
    assert (exported[0], exported[1][-1]) == (0, "exported: 4, faults: 0")
    assert command.run("import", "a.bundle", "--key", key, "-c", "two.toml") == (0, ["copied: 4, faults: 0"], "")
    assert command.run("copy", "two.toml", "disk:back")[0] == 0
    for path in (tmp_path / "back").glob("*/*/@v/*.zip"):
        assert path.read_bytes() == (tree / path.relative_to(tmp_path / "back")).read_bytes()
    assert len(list((tmp_path / "back").glob("*/*/@v/*"))) == 4 * 4


@pytest.mark.slow
def test_a_copy_that_was_killed(tmp_path: Path, server: Server) -> None:
    """A copy that is killed half-way goes on where it was, and what is there is passed over in well under a minute."""
    for number in range(1500):
        path = f"example.test/m{number}"
        add_version(tmp_path / "tree", path, "v1.0.0", {"go.mod": f"module {path}\n".encode(), "m.go": b"package m\n"})
    (tmp_path / "bucket.toml").write_text(settings(server, "killed"))
    command = Command(tmp_path)
    with command.start("copy", "disk:tree", "bucket.toml") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "copying: 1000 versions\n"
        process.kill()
    status, lines, _ = command.run("copy", "disk:tree", "bucket.toml")
    assert status == 0
    there = int(lines[-1].split("already there: ")[1].split(",")[0])
    assert 1000 <= there < 1500
    began = time.monotonic()
    assert command.run("copy", "disk:tree", "bucket.toml")[1] == ["already there: 1500, faults: 0"]
    assert time.monotonic() - began < 60


@needs_go
def test_evict(tmp_path: Path, upstream: Upstream) -> None:
    """What would go is said, and then goes, beside a daemon that fetches it again; what is pinned or lost stays."""
    command = Command(tmp_path / "athensd", GOPROXY=upstream.url, ATHENS_STORAGE_PINNED="example.test/old")
    store = tmp_path / "athensd/store"
    with running(tmp_path / "athensd", upstream.url) as daemon:
        assert command.run("evict")[0] == 2
        names = {path: f"{escape_path(path)}/@v" for path in PATHS}
        for path, version in zip(PATHS, ["v1.0.0", "v1.0.0", "v2.0.0+incompatible"], strict=True):
            assert [daemon.get(f"{names[path]}/{version}.{kind}")[0] for kind in ("info", "mod", "zip")] == [200] * 3
        (tmp_path / "tree" / names[PATHS[1]] / "v1.0.0.info").unlink()
        right = daemon.get(ZIP)[1]
        before = {path: path.read_bytes() for path in store.rglob("@v/*")}
        status, lines, error = command.run("evict", "--to", "0", "--dry-run")
        assert (status, error) == (1, "")
        assert lines[-1].startswith("pinned: 1, ")
        assert ", would be evicted: 1, " in lines[-1]
        assert {path: path.read_bytes() for path in store.rglob("@v/*")} == before
        status, lines, _ = command.run("evict", "--to", "0")
        assert status == 1
        [stays] = [line for line in lines if "stays" in line]
        assert stays.startswith("example.test/word@v1.0.0: stays: its origin has it no more")
        [goes] = [line for line in lines if "last used" in line]
        assert goes.startswith(f"example.test/Greeting@v1.0.0: {len(right)} bytes")
        assert not (store / ZIP).exists()
        left = sum(path.stat().st_size for path in store.rglob("@v/*"))
        assert lines[-1].endswith(f"left: {left} of 0")
        assert command.run("evict", "--to", str(left))[0] == 0
        assert daemon.get("example.test/!greeting/@v/list") == (200, b"v1.0.0\n")
        # A plain request would be answered from memory for a minute.
        assert daemon.get(ZIP, **{"If-None-Match": '"another"'}) == (200, right)
        assert (store / ZIP).read_bytes() == right
        status, lines, _ = command.run("fsck")
        assert status == 0
