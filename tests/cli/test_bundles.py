"""``athensd key``, ``export`` and ``import`` of a bundle, and a daemon that nobody reaches out of."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from athensd.blob import BytesBlob
from athensd.bundle.reading import Bundle
from athensd.bundle.writing import Writer
from athensd.cli.bundles import make_key
from athensd.gomod.version import ModuleVersion
from athensd.gomod.ziphash import check_zip, h1_of_mod
from athensd.startup import Unusable
from athensd.sumdb.note import parse_verifier
from athensd.sumdb.signer import new_signer, parse_signer
from tests.cli.command import Command
from tests.fakes import files_of_at_most, module_zip, result_of
from tests.integration.daemon import running
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import add_version
from tests.rig.sumdb import Database, Server
from tests.upkeep.fakes import flipped

pytestmark = needs_go
NAMES = ("one", "three", "two")
ONE = "example.test/one/@v/v1.0.0.zip"


def add(root: Path, name: str, database: Database | None = None) -> None:
    version = ModuleVersion(f"example.test/{name}", "v1.0.0")
    files = {"go.mod": f"module {version.path}\n".encode(), "m.go": b"package m\n"}
    add_version(root, version.path, version.version, files)
    if database is not None:
        zip_file = root / f"{version.path}/@v/v1.0.0.zip"
        h1 = check_zip(io.BytesIO(zip_file.read_bytes()), version).h1
        database.add(version.path, version.version, h1, h1_of_mod(files["go.mod"]))


class Sites:
    """One with a network and three modules in its store, and one without; a key for what goes from one to the other."""

    def __init__(self, root: Path, server: Server) -> None:
        self.server = server
        # Our database is on loopback, so where there is no network it has to be gone.
        known = {"GOSUMDB": server.gosumdb, "ATHENS_SUM_DBS": server.gosumdb}
        self.outside = Command(root / "outside", GOPROXY="direct", **known)
        self.inside = Command(root / "inside", ATHENS_NETWORK_MODE="offline", **known)
        self.inside_settings = {"ATHENS_NETWORK_MODE": "offline", **known}
        for each in (self.outside, self.inside):
            each.directory.mkdir()
        self.store, self.target = self.outside.directory / "store", self.inside.directory / "store"
        for name in NAMES:
            add(self.store, name, server.database)
        signer = new_signer("athensd-bundle")
        (self.outside.directory / "site.key").write_text(signer.secret)
        self.key = signer.public

    def export(self, name: str, *arguments: str) -> tuple[int, list[str], str]:
        return self.outside.run("export", *arguments, "--key", "site.key", "--output", name, "--jobs", "1")

    def bring(self, name: str, *arguments: str) -> tuple[int, list[str], str]:
        return self.inside.run("import", self.outside.directory / name, "--key", self.key, *arguments, "--jobs", "1")

    def stored(self) -> set[str]:
        return {path.parent.parent.name for path in self.target.glob("example.test/*/@v/*.zip")}


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    database = Database()
    database.fill(300)
    with Server(database) as server:
        yield Sites(tmp_path, server)


def test_from_one_site_to_the_other(sites: Sites) -> None:
    """All that was stored outside is served inside, with what the database says of it, and the head of one tree."""
    status, lines, err = sites.export("a.bundle")
    size = (sites.outside.directory / "a.bundle").stat().st_size
    signed = f"a.bundle: {size} bytes, signed by {sites.key}"
    assert (status, lines, err) == (0, [signed, "exported: 3, faults: 0"], "")
    with tarfile.open(sites.outside.directory / "a.bundle") as archive:
        archive.extractall(sites.outside.directory / "unpacked", filter="data")
    assert sites.outside.run("import", "unpacked")[1][-1] == "copied: 3, faults: 0"
    asked = len(sites.server.asked)
    assert sites.bring("a.bundle") == (0, ["copied: 3, faults: 0"], "")
    assert sites.bring("a.bundle") == (0, ["already there: 3, faults: 0"], "")
    assert len(sites.server.asked) == asked
    sites.server.faults[""] = 500
    with running(sites.inside.directory, "off", **sites.inside_settings) as daemon:
        assert daemon.get(ONE) == (200, (sites.store / ONE).read_bytes())
        status, lookup = daemon.get("sumdb/sum.example.test/lookup/example.test/one@v1.0.0")
        assert (status, lookup.endswith(sites.server.database.head(303))) == (200, True)
        assert daemon.get("sumdb/sum.example.test/tile/8/0/001.p/47")[0] == 200
        assert daemon.get("sumdb/sum.example.test/lookup/filler.example.test/m3@v1.0.0")[0] == 502


def test_what_is_new_since(sites: Sites) -> None:
    """A second bundle has what the first has not, and continues it; a daemon that runs has both at once."""
    sites.export("a.bundle")
    sites.bring("a.bundle")
    with running(sites.inside.directory, "off", **sites.inside_settings) as daemon:
        assert daemon.get("sumdb/sum.example.test/lookup/example.test/one@v1.0.0")[0] == 200
        sites.server.database.fill(3000)
        add(sites.store, "four", sites.server.database)
        assert sites.export("unjoined.bundle", "example.test/four@v1.0.0")[0] == 0
        assert sites.export("b.bundle", "--since", "a.bundle")[1][-1] == (
            "exported: 1, in an earlier bundle: 3, faults: 0"
        )
        status, lines, err = sites.bring("unjoined.bundle")
        assert (status, lines, "does not continue what is known here" in err) == (2, [], True)
        assert sites.stored() == set(NAMES)
        assert sites.bring("b.bundle") == (0, ["copied: 1, faults: 0"], "")
        for name in ("four", "one"):
            status, lookup = daemon.get(f"sumdb/sum.example.test/lookup/example.test/{name}@v1.0.0")
            assert (status, lookup.endswith(sites.server.database.head())) == (200, True)


def test_some_modules(sites: Sites) -> None:
    """Files and words say which, as for warm; of what needs only its go.mod no more goes along."""
    (sites.outside.directory / "go.sum").write_text(
        "example.test/one v1.0.0 h1:a=\nexample.test/two v1.0.0/go.mod h1:b=\n"
    )
    assert sites.export("a.bundle", "go.sum")[1][-1] == "exported: 1, exported without a zip: 1, faults: 0"
    assert sites.bring("a.bundle")[1] == ["copied: 1, copied without a zip: 1, faults: 0"]
    assert sites.stored() == {"one"}
    assert sites.export("b.bundle", "--module", "*/t*")[1][-1] == "exported: 2, faults: 0"
    assert sites.bring("b.bundle", "--module", "*/three")[1] == ["copied: 1, faults: 0"]
    assert sites.stored() == {"one", "three"}


def test_what_is_not_stored(sites: Sites) -> None:
    """It is named, with what to do, and the rest goes along; so is what is damaged."""
    file = sites.store / ONE
    file.write_bytes(flipped(file.read_bytes()))
    words = ["go1.27.4", "example.test/two@v1.0.0", "example.test/one@v1.0.0"]
    status, lines, _ = sites.export("a.bundle", *words, "--platform", "linux/arm64")
    assert status == 1
    assert lines[0] == (
        "golang.org/toolchain@v0.0.1-go1.27.4.linux-arm64: not stored: info, mod, zip (athensd warm has it fetched)"
    )
    assert lines[1].startswith("example.test/one@v1.0.0: ")
    assert lines[-1] == "not exported: 1, exported: 1, damaged: 1, faults: 2"
    sites.bring("a.bundle")
    assert sites.stored() == {"two"}


def test_what_is_revoked(sites: Sites) -> None:
    """It stays outside, and is named; to have wanted just that is a fault."""
    sites.outside.run("revoke", "example.test/one@v1.0.0", "--reason", "stolen")
    named = "example.test/one@v1.0.0: revoked"
    status, said, _ = sites.export("a.bundle")
    assert (status, said[0], said[-1]) == (0, named, "not exported: 1, exported: 2, faults: 0")
    status, said, _ = sites.export("b.bundle", "example.test/one@v1.0.0")
    assert (status, said[0], said[-1]) == (1, named, "not exported: 1, faults: 1")
    sites.bring("a.bundle")
    assert sites.stored() == {"three", "two"}


def test_revoked_while_it_was_exported(sites: Sites) -> None:
    """What is in the unfinished bundle by then is not signed after all."""
    sites.server.faults["lookup/example.test/two"] = 500
    assert sites.export("a.bundle")[0] == 2
    sites.server.faults.clear()
    sites.outside.run("revoke", "example.test/one@v1.0.0", "--reason", "stolen")
    status, lines, err = sites.export("a.bundle")
    assert (status, lines) == (2, [])
    assert err.endswith("a.bundle.part has example.test/one@v1.0.0, which is revoked by now; delete it\n")


def test_modules_that_the_database_does_not_know(sites: Sites) -> None:
    """They go along, and it is said what clients will need; of private ones it is not even asked."""
    add(sites.store, "private")
    add(sites.store, "unknown")
    sites.outside.environment["GOPRIVATE"] = "*/private"
    status, lines, _ = sites.export("a.bundle")
    assert status == 0
    assert lines[0] == (
        "example.test/unknown@v1.0.0: sum.example.test does not know it; clients inside need it in GONOSUMDB"
    )
    assert not [path for path in sites.server.asked if "private" in path]
    assert sites.bring("a.bundle")[:2] == (0, ["copied: 5, faults: 0"])


def test_without_a_database(sites: Sites) -> None:
    """With GOSUMDB=off there are no answers to take along, which is said."""
    sites.outside.environment["GOSUMDB"] = "off"
    assert sites.export("a.bundle")[1][0].startswith("GOSUMDB is off")
    assert sites.bring("a.bundle") == (0, ["copied: 3, faults: 0"], "")
    assert not (sites.target / ".athensd/sumdb").exists()


def test_interrupted(sites: Sites) -> None:
    """Started again, an export goes on where it was; another one does not mix with it."""
    sites.server.faults["lookup/example.test/two"] = 500
    status, lines, err = sites.export("a.bundle")
    assert (status, lines, "500" in err) == (2, [], True)
    assert not (sites.outside.directory / "a.bundle").exists()
    status, lines, err = sites.export("a.bundle", "example.test/two@v1.0.0")
    assert (status, lines, "is of another export" in err) == (2, [], True)
    sites.server.faults.clear()
    status, lines, err = sites.export("a.bundle")
    assert (status, lines[-1]) == (0, "in it already: 2, exported: 1, faults: 0")
    assert err == "going on behind the 2 versions in a.bundle.part\n"
    assert sites.bring("a.bundle") == (0, ["copied: 3, faults: 0"], "")
    assert sorted(path.name for path in sites.outside.directory.iterdir()) == ["a.bundle", "site.key", "store"]


def test_tampered_with(sites: Sites) -> None:
    """A byte of it is another one: it is said, and nothing of the bundle is taken."""
    sites.export("a.bundle")
    file = sites.outside.directory / "a.bundle"
    data = file.read_bytes()
    for at in (data.index(b"module example.test/two"), len(data) - 1):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        status, lines, err = sites.bring("a.bundle")
        assert (status, lines) == (2, [])
        assert err.startswith(f"athensd: {file} is refused, and nothing of it was taken: ")
    file.write_bytes(data)
    status, _, err = sites.inside.run("import", file, "--key", new_signer("athensd-bundle").public)
    assert (status, "no verifiable signatures" in err) == (2, True)
    assert not list(sites.target.glob("*.test"))
    assert not (sites.target / ".athensd/sumdb").exists()


def test_a_signer_who_lies(sites: Sites) -> None:
    """What is signed, and is not what the database in the same bundle says, is named and left out."""
    sites.export("a.bundle")
    version = ModuleVersion("example.test/one", "v1.0.0")
    evil = module_zip(version, {"go.mod": b"module example.test/one\n", "m.go": b"package evil\n"})
    h1 = check_zip(io.BytesIO(evil), version).h1
    other = {ONE: evil, ONE.replace(".zip", ".ziphash"): h1.encode()}
    signer = parse_signer((sites.outside.directory / "site.key").read_text())
    with (
        Bundle(sites.outside.directory / "a.bundle", signer.verifier) as bundle,
        Writer(sites.outside.directory / "evil.bundle") as writer,
    ):
        for entry in bundle.entries:
            writer.add([(entry.name, BytesBlob(other.get(entry.name, bundle.read(entry))))])
        writer.finish(signer)
    status, lines, _ = sites.bring("evil.bundle")
    assert (status, lines[-1]) == (1, "damaged: 1, copied: 2, faults: 1")
    assert lines[0].startswith(f"example.test/one@v1.0.0: the zip has the hash {h1}, and sum.example.test has ")
    assert sites.stored() == {"two", "three"}


def test_a_database_that_is_not_known_inside(sites: Sites) -> None:
    """Its answers could not be proven: refused, with the name of what is missing."""
    sites.export("a.bundle")
    sites.inside.environment |= {"GOSUMDB": "off", "ATHENS_SUM_DBS": "https://sum.golang.org"}
    status, lines, err = sites.bring("a.bundle")
    assert (status, lines) == (2, [])
    assert "answers of sum.example.test, of which neither GOSUMDB nor SumDBs has the key" in err
    assert sites.stored() == set()


def test_keys(sites: Sites) -> None:
    """A key is its owner's alone and is never replaced; what is no key is said to be none, and not repeated."""
    file = sites.outside.directory / "site.key"
    file.unlink()
    [sites.key] = sites.outside.run("key", "site.key")[1]
    assert file.stat().st_mode & 0o777 == 0o600
    assert parse_verifier(sites.key).name == "athensd-bundle"
    assert sites.outside.run("key", "site.key")[0] == 2
    with pytest.raises(Unusable, match="cannot be written"), files_of_at_most(20):
        result_of(make_key(file.with_name("new.key"), "us"))
    assert not file.with_name("new.key").exists()
    assert sites.outside.run("key", "new.key", "--name", "a b")[::2] == (
        2,
        "athensd: --name: the name of a key has no space and no + in it\n",
    )
    file.write_text("PRIVATE+KEY+hunter2")
    status, _, err = sites.export("a.bundle")
    assert (status, "cannot be used" in err, "hunter2" in err) == (2, True, False)
    sites.key = "hunter2"
    assert sites.bring("site.key") == (2, [], "athensd: --key must be what athensd key has printed: name+hash+key\n")
