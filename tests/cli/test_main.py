"""The edges of the command: what it says, and the status it ends with."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from athensd import __version__
from athensd.cli.main import main
from tests.cli.command import ATHENSD, Command
from tests.integration.goproxy_tree import add_version
from tests.integration.process import eventually, free_ports

VERBS = [
    ["fsck"],
    ["copy"],
    ["import"],
    ["export"],
    ["key"],
    ["warm"],
    ["evict"],
    ["explain"],
    ["revoke"],
    ["who"],
    ["config", "check"],
    ["config", "show"],
]


def add(root: Path, *names: str) -> None:
    for name in names:
        path = f"example.test/{name}"
        add_version(root, path, "v1.0.0", {"go.mod": f"module {path}\n".encode(), "m.go": b"package m\n"})


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def stored(root: Path) -> set[str]:
    return {path.parent.parent.name for path in root.glob("example.test/*/@v/*.zip")}


@pytest.mark.parametrize("verb", [[], *VERBS])
def test_help(verb: list[str]) -> None:
    """Each verb says what it does and how it ends, without a reactor and in no time."""
    for option in ("-h", "--help"):
        done = CliRunner().invoke(main, [*verb, option])
        assert done.exit_code == 0
        assert ("Exit status: 0 " in done.output) == bool(verb)
        assert all(len(line) <= 100 for line in done.output.splitlines())


def test_version() -> None:
    """It is that of the daemon."""
    assert CliRunner().invoke(main, ["--version"]).output == f"athensd, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fsk"],
        ["fsck", "extra"],
        ["fsck", "--jobs", "0"],
        ["copy", "disk:a"],
        ["import"],
        ["import", "/nonexistent"],
        ["import", __file__],
        ["import", __file__, "--key", "k", "--sums"],
        ["import", "/tmp", "--key", "k"],
        ["export", "--output", "a.bundle"],
        ["export", "--key", __file__],
        ["key"],
        ["warm"],
        ["explain"],
        ["config", "look"],
        ["config", "show", "a.toml", "b.toml"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    """That is told from finding faults."""
    assert CliRunner().invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, command: Command) -> None:
    """The shells are told by click, as the documentation says."""
    environment = {**command.environment, "_ATHENSD_COMPLETE": f"{shell}_source"}
    done = subprocess.run([ATHENSD], env=environment, capture_output=True, text=True, check=False)
    assert "_ATHENSD_COMPLETE" in done.stdout


def test_import_copy_fsck(command: Command, tmp_path: Path) -> None:
    """The three, one after the other, over a store that is new; the second time there is nothing to do."""
    add(tmp_path / "tree", "one", "two")
    tree = tmp_path / "tree"
    assert command.run("import", tree) == (0, [f"{tree}: a module cache, 2 versions", "copied: 2, faults: 0"], "")
    assert command.run("import", tree)[1][-1] == "already there: 2, faults: 0"
    assert command.run("copy", "env:", "disk:other") == (0, ["copied: 2, faults: 0"], "")
    assert command.run("copy", "env:", "disk:other") == (0, ["already there: 2, faults: 0"], "")
    assert command.run("fsck", "--repair") == (0, ["complete: 2, faults: 0"], "")
    assert stored(tmp_path / "store") == stored(tmp_path / "other") == {"one", "two"}


def test_some_modules(command: Command, tmp_path: Path) -> None:
    """A pattern is one of GOPRIVATE, for each verb."""
    add(tmp_path / "tree", "one", "two", "three")
    assert command.run("import", "tree", "--module", "example.test/t*")[1][-1] == "copied: 2, faults: 0"
    assert command.run("copy", "env:", "disk:other", "--module", "*/three")[1] == ["copied: 1, faults: 0"]
    assert stored(tmp_path / "other") == {"three"}
    assert command.run("fsck", "--module", "*/two,*/four")[1] == ["complete: 1, faults: 0"]


def test_a_disk_store_of_athens(command: Command, tmp_path: Path) -> None:
    """It is recognized, and each of its zips gets a hash."""
    add(tmp_path / "tree", "one", "two")
    for name in ("one", "two"):
        files, place = tmp_path / f"tree/example.test/{name}/@v", tmp_path / f"athens/example.test/{name}/v1.0.0"
        place.mkdir(parents=True)
        for theirs, ours in (("go.mod", "v1.0.0.mod"), ("source.zip", "v1.0.0.zip"), ("v1.0.0.info", "v1.0.0.info")):
            (files / ours).rename(place / theirs)
    status, lines, _ = command.run("import", "athens")
    assert (status, lines) == (0, ["athens: a disk store of Athens, 2 versions", "copied: 2, faults: 0"])
    assert len(list((tmp_path / "store").glob("example.test/*/@v/*.ziphash"))) == 2
    assert command.run("fsck")[:2] == (0, ["complete: 2, faults: 0"])


def test_settings_name_the_stores(command: Command, tmp_path: Path) -> None:
    """Each file is read by itself: the environment would make one store of two."""
    add(tmp_path / "tree", "one")
    for name in ("first", "second"):
        (tmp_path / f"{name}.toml").write_text(f'StorageType = "disk"\n[Storage.Disk]\nRootPath = "{name}"\n')
    (tmp_path / "first").mkdir()
    assert command.run("copy", "disk:tree", "first.toml")[0] == 0
    assert command.run("copy", "first.toml", "second.toml") == (0, ["copied: 1, faults: 0"], "")
    assert stored(tmp_path / "second") == {"one"}
    assert not (tmp_path / "store").exists()


def test_what_is_wrong_is_a_line(command: Command, tmp_path: Path) -> None:
    """It is named on standard output, the rest goes on, and the status says so."""
    add(tmp_path / "tree", "one", "two")
    (tmp_path / "tree/example.test/one/@v/v1.0.0.zip").write_bytes(b"junk")
    status, lines, _ = command.run("import", "tree", "-j", "1")
    assert status == 1
    assert lines[1:] == [
        "example.test/one@v1.0.0: this is not a zip: it has no directory",
        "damaged: 1, copied: 1, faults: 1",
    ]
    (tmp_path / "store/example.test/two/@v/v1.0.0.info").write_bytes(b"junk")
    (tmp_path / "store/example.test/two/@v/v1.0.0.ziphash").unlink()
    assert command.run("fsck")[:2] == (
        1,
        ["example.test/two@v1.0.0: the .info document is not JSON", "complete: 1, wrong: 1, faults: 1"],
    )


def refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('StorageType = "disk"\nStoragType = "s3"\n')
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "memory.toml").write_text("")
    (tmp_path / "external.toml").write_text(
        'StorageType = "external"\n[Storage.External]\nURL = "http://127.0.0.1:1"\n'
    )
    (tmp_path / "down.toml").write_text(
        f'StorageType = "minio"\n[Storage.Minio]\nEndpoint = "127.0.0.1:{free_ports(1)[0]}"\n'
        'Key = "key"\nSecret = "the secret"\nBucket = "modules"\n'
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fsck", "there is no directory"),
        ("fsck -c bad.toml", "bad.toml: StoragType is no setting"),
        ("fsck -c nowhere.toml", "nowhere.toml cannot be read"),
        ("copy disk:nowhere disk:one", "there is no directory nowhere"),
        ("copy nowhere.toml disk:one", "nowhere.toml cannot be read: No such file"),
        ("copy bad.toml disk:one", 'bad.toml: StorageType "disk" needs Storage.Disk.RootPath'),
        ("copy disk:one disk:one/../one", "are the same store"),
        ("copy disk:one disk:", "disk: needs a directory"),
        ("copy memory.toml disk:one", 'StorageType "memory" is gone with its process'),
        ("copy down.toml disk:one", "refused"),
        ("copy disk:one down.toml", "refused"),
        ("copy external.toml disk:one", 'a store of StorageType "external" cannot say what it holds'),
        ("fsck -c external.toml", 'a store of StorageType "external" cannot say what it holds'),
        ("import empty", "empty has no module in it"),
        ("import one --sums", "GOSUMDB is off"),
    ],
)
def test_what_cannot_be_done(command: Command, tmp_path: Path, arguments: str, said: str) -> None:
    """One clear line on standard error, which names what it is about and no secret."""
    refused(tmp_path)
    if "-c" in arguments:
        del command.environment["ATHENS_STORAGE_TYPE"]
    status, lines, error = command.run(*arguments.split())
    assert status == 2
    assert lines == []
    assert said in error
    assert "the secret" not in error
    assert all(line.startswith("athensd: ") for line in error.splitlines())


def test_nobody_reads_to_the_end(command: Command, tmp_path: Path) -> None:
    """As with head: it ends as others do, by the status of a broken pipe, and complains of nothing."""
    add(tmp_path / "tree", "one")
    with command.start("import", "tree") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(command: Command, tmp_path: Path, number: signal.Signals) -> None:
    """It stops at once, leaves nothing half done, and goes on when it is started again."""
    add(tmp_path / "tree", *(f"m{count}" for count in range(150)))
    with command.start("import", "tree", "-j", "1") as process:
        eventually(lambda: len(stored(tmp_path / "store")) > 3)
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode in {130, -number}
    assert 3 < len(stored(tmp_path / "store")) < 150
    assert list((tmp_path / "store/.athensd/spool").iterdir()) == []
    assert command.run("fsck")[1][-1].endswith("faults: 0")
    status, lines, _ = command.run("import", "tree")
    assert status == 0
    assert "already there" in lines[-1]
    assert len(stored(tmp_path / "store")) == 150


def test_somebody_elses_work_place(command: Command, tmp_path: Path) -> None:
    """Whoever is not the daemon's user could leave files that it cannot read: that is refused, with advice."""
    place = tmp_path / "store/.athensd/spool"
    place.mkdir(parents=True)
    try:
        os.chown(place, 65534, 65534)
    except PermissionError:
        pytest.skip("only root can give files away")
    status, _, error = command.run("fsck")
    assert status == 2
    assert "it belongs to another user; be the user that the daemon runs as" in error
