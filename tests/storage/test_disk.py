"""The datastore on a disk: what only it promises."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from athensd.blob import BytesBlob, FileBlob, read_all
from athensd.errors import AthensError, Conflict, NotFound, StorageFailed
from athensd.gomod.version import ModuleVersion
from athensd.interfaces import WHOLE, Kind
from athensd.spool import Spool
from athensd.storage.disk import DiskStorage
from tests.fakes import at_once, module_files, result_of
from tests.storage.contract import M, StorageContract, files_below

WRITE_FOR_EVER = "import sys; from tests.storage.test_disk import write_for_ever; write_for_ever(*sys.argv[1:])"


@pytest.fixture
def no_fsync(monkeypatch):
    """Waiting for the disk proves nothing where the machine does not go down."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def no_links(monkeypatch):
    """A file system without hard links, where renaming takes long enough for others to come between."""
    rename = Path.rename

    def link(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def slow_rename(source, target):
        time.sleep(0.001)
        return rename(source, target)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(Path, "rename", slow_rename)


@pytest.mark.usefixtures("no_fsync")
class TestDisk(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return DiskStorage(tmp_path / "root", Spool(tmp_path / "spool"), deferToThread)


@pytest.mark.usefixtures("no_links")
class TestDiskWithoutHardLinks(TestDisk):
    """All the same promises."""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def spool(root):
    return Spool(root / ".athensd" / "spool")


@pytest.fixture
def disk(root, spool):
    return DiskStorage(root, spool, at_once)


def put_whole(disk, version=M):
    """Store the three files of a version."""
    files = module_files(version)
    for kind in WHOLE:
        result_of(disk.put(version, kind, BytesBlob(files[kind])))
    return files


def blobs(spool, tmp_path):
    """The three sorts of blob that a storage gets: bytes, unfinished work of ours, and a file of somebody else's."""
    data = b"some bytes"
    ours, foreign = spool.new_path(), tmp_path / "foreign"
    ours.write_bytes(data)
    foreign.write_bytes(data)
    return [BytesBlob(data), FileBlob(ours, len(data)), FileBlob(foreign, len(data))]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_durable_before_visible(disk, root, spool, tmp_path, monkeypatch, number, links):
    """A file is on disk before it has its name; then its directory is, and each directory above that is new."""
    blob = blobs(spool, tmp_path)[number]
    events = []
    fsync, link, rename = os.fsync, os.link, Path.rename

    def recorded_fsync(descriptor):
        events.append(("durable", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def recorded_link(source, target):
        if not links:
            raise OSError(errno.ENOTSUP, "no hard links here")
        events.append(("named", Path(source), Path(target)))
        link(source, target)

    def recorded_rename(source, target):
        events.append(("named", source, target))
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "link", recorded_link)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    result_of(disk.put(M, Kind.ZIP, blob))

    target = root / "example.com/m/@v/v1.2.3.zip"
    [at] = [at for at, event in enumerate(events) if event[0] == "named"]
    assert events[at][2] == target
    assert events[:at] == [("durable", events[at][1])]
    after = [event[1] for event in events[at + 1 :]]
    assert after == [target.parent, root / "example.com/m", root / "example.com", root]


def test_bytes_decide(disk, spool):
    """Two files of the same size and time are not taken for the same."""
    first, other = spool.new_path(), spool.new_path()
    for path, data in ((first, b"first"), (other, b"other")):
        path.write_bytes(data)
        os.utime(path, (0, 0))
    result_of(disk.put(M, Kind.ZIP, FileBlob(first, 5)))
    with pytest.raises(Conflict):
        result_of(disk.put(M, Kind.ZIP, FileBlob(other, 5)))


def test_modes_are_those_of_the_umask(disk, root, spool, tmp_path):
    """Files and directories can be read by whom the umask lets read them; unfinished work only by ourselves."""
    before = os.umask(0o027)
    try:
        for kind, blob in zip((Kind.INFO, Kind.MOD, Kind.ZIP), blobs(spool, tmp_path), strict=True):
            result_of(disk.put(M, kind, blob))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (root / "example.com").rglob("*")}
    assert modes["@v"] == modes["m"] == 0o750
    assert modes["v1.2.3.info"] == 0o640
    for path in (root / ".athensd/spool", *(root / ".athensd/spool").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_nothing_is_left_in_the_spool(disk, root, spool, tmp_path):
    """Neither a success nor a refusal leaves a file of the storage's own behind."""
    for blob in blobs(spool, tmp_path):
        result_of(disk.put(M, Kind.MOD, blob))
    owned = spool.new_path()
    owned.write_bytes(b"other")
    (tmp_path / "foreign").write_bytes(b"other")
    for blob in (BytesBlob(b"other"), FileBlob(tmp_path / "foreign", 5), FileBlob(owned, 5)):
        with pytest.raises(Conflict):
            result_of(disk.put(M, Kind.MOD, blob))
    # Those that were given to it as files of the spool belong to the giver.
    assert len(files_below(root / ".athensd")) == 2


@pytest.fixture
def nobody():
    """A user who may not write everywhere, whoever runs the tests."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def open_place():
    """A directory that everybody can reach."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    yield place
    for above, directories, _ in os.walk(place):
        for name in directories:
            Path(above, name).chmod(0o700)
    shutil.rmtree(place)


def test_read_only_root(open_place, request):
    """A root that cannot be written is a failure of the storage, and no conflict; what is in it can still be read."""
    root = open_place / "root"
    spool = Spool(open_place / "spool")
    disk = DiskStorage(root, spool, at_once)
    files = put_whole(disk)
    (open_place / "spool").chmod(0o777)
    for path in (open_place / "spool").iterdir():
        path.chmod(0o777)
    root.chmod(0o555)
    request.getfixturevalue("nobody")
    with pytest.raises(StorageFailed, match=r"example.org/new@v1.0.0 mod could not be stored: Permission denied"):
        result_of(disk.put(ModuleVersion("example.org/new", "v1.0.0"), Kind.MOD, BytesBlob(b"x")))
    with pytest.raises(StorageFailed):
        result_of(disk.check())
    assert result_of(read_all(result_of(disk.open(M, Kind.MOD)))) == files[Kind.MOD]


def test_unreadable(open_place, request):
    """A directory that may not be entered is a failure: it is not known what is in it."""
    root = open_place / "root"
    disk = DiskStorage(root, Spool(open_place / "spool"), at_once)
    put_whole(disk)
    (root / "example.com/m/@v").chmod(0)
    request.getfixturevalue("nobody")
    for work in (disk.open(M, Kind.MOD), disk.versions(M.path), disk.page("", 10)):
        with pytest.raises(StorageFailed) as caught:
            result_of(work)
        assert str(open_place) not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EXDEV])
def test_failing_disk(disk, root, monkeypatch, number):
    """Whatever the disk complains about, nothing is to be seen, and no path of this machine is told."""

    def link(source, target):
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageFailed) as caught:
        result_of(disk.put(M, Kind.ZIP, BytesBlob(b"x")))
    assert str(caught.value) == f"example.com/m@v1.2.3 zip could not be stored: {os.strerror(number)}"
    monkeypatch.undo()
    with pytest.raises(NotFound):
        result_of(disk.open(M, Kind.ZIP))
    result_of(disk.put(M, Kind.ZIP, BytesBlob(b"y")))


def test_file_where_a_directory_should_be(disk, root):
    """A foreign file in the way of a module is a failure of the storage, not other bytes of that module."""
    root.mkdir(exist_ok=True)
    (root / "example.com").write_bytes(b"")
    with pytest.raises(StorageFailed):
        result_of(disk.put(M, Kind.MOD, BytesBlob(b"x")))
    with pytest.raises(NotFound):
        result_of(disk.open(M, Kind.MOD))
    assert list(result_of(disk.versions(M.path))) == []


def test_too_long_to_be_stored(disk):
    """A name that no file can have cannot be stored either."""
    with pytest.raises(StorageFailed, match="File name too long"):
        result_of(disk.put(ModuleVersion(f"example.com/{'x' * 300}", "v1.0.0"), Kind.MOD, BytesBlob(b"x")))


def test_foreign_files_are_ignored(disk, root):
    """What else lies in the store, such as what a module cache has, is in no list and no catalog."""
    put_whole(disk)
    place = root / "example.com/m/@v"
    for name in ("list", "list.lock", "v1.2.3.lock", "v1.2.3.ziphash", "v9.9.9.info", ".DS_Store", "README.md", "x~"):
        (place / name).write_bytes(b"")
    for stem in ("main", "v1", "v1.0", "v1.0.0+meta", "V1.0.0", "v1.0.0 (copy)", "v1.0.0-a!", "v1.0.0-A"):
        for kind in WHOLE:
            (place / f"{stem}.{kind.value}").write_bytes(b"")
    for elsewhere in ("lost+found", "example.com/UPPER/@v", "example.com/.git/@v", "nodot/m/@v", "sumdb", "@v"):
        (root / elsewhere).mkdir(parents=True)
        for kind in WHOLE:
            (root / elsewhere / f"v1.0.0.{kind.value}").write_bytes(b"")
    (root / "a.file").write_bytes(b"")
    assert list(result_of(disk.versions(M.path))) == [M.version]
    assert list(result_of(disk.page("", 10)).versions) == [M]


def test_lost_and_found_of_another_user(open_place, request):
    """A store that is a whole file system has a directory that nobody may read; it does not stop the catalog."""
    root = open_place / "root"
    disk = DiskStorage(root, Spool(open_place / "spool"), at_once)
    put_whole(disk)
    (root / "lost+found").mkdir(mode=0)
    request.getfixturevalue("nobody")
    assert list(result_of(disk.page("", 10)).versions) == [M]


def test_root_that_never_was(tmp_path):
    """A store in which nothing was put yet is empty; being ready, it makes its root."""
    disk = DiskStorage(tmp_path / "new" / "root", Spool(tmp_path / "spool"), at_once)
    assert list(result_of(disk.page("", 10)).versions) == []
    result_of(disk.check())
    assert (tmp_path / "new" / "root").is_dir()


@pytest.mark.skipif(not shutil.which("go"), reason="there is no go command")
def test_the_store_is_a_proxy_by_itself(disk, root, tmp_path):
    """The go command downloads from the directory as from a proxy: the names in it are Go's own."""
    version = ModuleVersion("example.com/BurntSushi/m", "v1.0.0-RC1")
    files = put_whole(disk, version)
    (tmp_path / "empty").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GOPROXY": root.as_uri(),
        "GOSUMDB": "off",
        "GOTOOLCHAIN": "local",
        "GOMODCACHE": str(tmp_path / "cache"),
        "GOFLAGS": "-modcacherw",
    }
    command = ["go", "mod", "download", "-json", str(version)]
    done = subprocess.run(
        command, cwd=tmp_path / "empty", env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert Path(answer["Zip"]).read_bytes() == files[Kind.ZIP]
    assert Path(answer["GoMod"]).read_bytes() == files[Kind.MOD]
    cached = tmp_path / "cache/cache/download/example.com"
    assert {path.relative_to(root / "example.com") for path in files_below(root / "example.com")} <= {
        path.relative_to(cached) for path in files_below(cached)
    }


def write_for_ever(root: str, seed: str) -> None:
    """Put files of 0 to 2 MB, each behind its own checksum, in four threads, until somebody ends it."""
    place = Path(root)
    spool = Spool(place / ".athensd" / "spool")
    disk = DiskStorage(place, spool, at_once)

    def write(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        while True:
            data = chance.randbytes(int(2_000_000 * chance.random() ** 4))
            data = hashlib.sha256(data).digest() + data
            blob = BytesBlob(data)
            if chance.random() < 0.5:
                path = spool.new_path()
                path.write_bytes(data)
                blob = FileBlob(path, len(data))
            version = ModuleVersion(f"example.com/m{chance.randrange(5)}", f"v1.{chance.randrange(20)}.0")
            try:
                result_of(disk.put(version, chance.choice(list(Kind)), blob))
            except Conflict:
                pass
            except AthensError as error:
                print(error, flush=True)

    for number in range(4):
        threading.Thread(target=write, args=(number,)).start()
    print("writing", flush=True)


def kill_while_writing(root: Path, seed: str, seconds: float) -> str:
    """A process that writes is killed so long after it began; what it said."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(root), seed]
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            time.sleep(seconds)
        finally:
            process.kill()
        return said + process.stdout.read()


def check_whole(root: Path) -> int:
    """Assert that every file of a module is whole; how many there are."""
    files = files_below(root / "example.com") if (root / "example.com").exists() else []
    for path in files:
        data = path.read_bytes()
        assert hashlib.sha256(data[32:]).digest() == data[:32], f"{path.name} is not whole"
        assert path.suffix[1:] in {kind.value for kind in Kind}
    return len(files)


def killed_often(root: Path, times: int) -> int:
    """Kill a writer at so many random moments and look at what it left each time; how many files were seen in all."""
    chance = random.Random(1)
    seen = 0
    for number in range(times):
        # The store is kept for some rounds, so that new processes write over what others left.
        if number % 5 == 0:
            shutil.rmtree(root / "example.com", ignore_errors=True)
        assert kill_while_writing(root, str(number), chance.uniform(0, 0.3)) == "writing\n"
        seen += check_whole(root)
        spool = Spool(root / ".athensd" / "spool")
        assert len(list((root / ".athensd" / "spool").iterdir())) == 1
        spool.close()
    return seen


def test_killed_while_writing(root):
    """Whatever moment kill -9 comes at, every file that is to be seen is whole; the next start sweeps the rest."""
    assert killed_often(root, 2) > 0


@pytest.mark.slow
def test_killed_a_hundred_times(root):
    """The same at a hundred random moments."""
    assert killed_often(root, 100) > 1000


@pytest.fixture
def whole(tmp_path):
    """A disk with one whole version."""
    disk = DiskStorage(tmp_path / "root", Spool(tmp_path / "root/.athensd"), at_once)
    for kind, data in {**module_files(M), Kind.ZIPHASH: b"h1:"}.items():
        result_of(disk.put(M, kind, BytesBlob(data)))
    return disk


def test_evicted(whole):
    """Without its zip a version is listed; whoever has opened the zip reads on; it may be put again, and deleted."""
    data = module_files(M)[Kind.ZIP]
    with result_of(whole.open(M, Kind.ZIP)).file() as file:
        for _ in range(2):
            result_of(whole.evict(M))
        assert file.read() == data
    with pytest.raises(NotFound):
        result_of(whole.open(M, Kind.ZIP))
    assert result_of(whole.versions(M.path)) == [M.version]
    assert list(result_of(whole.page("", 10)).versions) == [M]
    result_of(whole.put(M, Kind.ZIP, BytesBlob(data)))
    assert result_of(read_all(result_of(whole.open(M, Kind.ZIP)))) == data
    result_of(whole.delete(M))
    assert result_of(whole.versions(M.path)) == []


def test_evicted_and_never_incomplete(whole, monkeypatch):
    """When the zip goes, that it was there is on disk already."""
    unlink = Path.unlink
    listed = []

    def watched(path, missing_ok=False):
        listed.append(result_of(whole.versions(M.path)))
        unlink(path, missing_ok)
        listed.append(result_of(whole.versions(M.path)))

    monkeypatch.setattr(Path, "unlink", watched)
    result_of(whole.evict(M))
    assert listed == [[M.version]] * 2


def test_stock(whole, tmp_path):
    """All files of versions count, zips are in the order of their use as it was said, and nothing else is looked at."""
    other = ModuleVersion("example.com/Upper/other", "v1.0.0-RC1")
    result_of(whole.put(other, Kind.ZIP, BytesBlob(bytes(100))))
    result_of(whole.used({M: 3e9, ModuleVersion("example.com/gone", "v1.0.0"): 1e9}))
    (tmp_path / "root/.athensd/example.com/@v").mkdir(parents=True)
    (tmp_path / "root/.athensd/example.com/@v/v1.0.0.zip").write_bytes(bytes(9))
    (tmp_path / "root/example.com/m/@v/list").write_bytes(bytes(9))
    stock = result_of(whole.stock())
    assert [(each.version, each.length) for each in stock.zips] == [(other, 100), (M, len(module_files(M)[Kind.ZIP]))]
    assert stock.zips[-1].used == 3e9
    assert stock.total == 100 + len("h1:") + sum(map(len, module_files(M).values()))
    result_of(whole.evict(M))
    assert [each.version for each in result_of(whole.stock()).zips] == [other]
