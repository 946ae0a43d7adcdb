"""Servers of version control systems other than git, and of ssh, as processes on loopback.

Each has one module ``path`` of one package at ``v1.0.0``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rig.modules import tree

# What the tools may not find is the settings of whoever runs the tests.
ENVIRONMENT = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HGRCPATH": os.devnull, "USER": "rig", "LC_ALL": "C.UTF-8"}
WHO = "rig <rig@example.test>"


def need(*commands: str) -> None:
    """Skip the test where one of these is not installed."""
    for command in commands:
        if shutil.which(command, path=ENVIRONMENT["PATH"]) is None:
            pytest.skip(f"{command} is not installed")


@contextmanager
def hg(directory: Path, path: str) -> Iterator[int]:
    """The port of ``hg serve``."""
    need("hg")
    repository = _files(directory / "hg", path)
    _run(repository, "hg", "init", ".")
    _run(repository, "hg", "commit", "--addremove", "--message", "first", "--user", WHO)
    _run(repository, "hg", "tag", "v1.0.0", "--user", WHO)
    with _serving(
        directory, "hg", "serve", "--address", "127.0.0.1", "--port", "{port}", "-R", str(repository)
    ) as port:
        yield port


@contextmanager
def svn(directory: Path, path: str, login: str = "") -> Iterator[int]:
    """The port of ``svnserve``, whose repository has a ``trunk``; with a ``user:password`` it asks for that."""
    need("svn", "svnserve", "svnadmin")
    files = _files(directory / "files", path)
    repository = directory / "svn"
    _run(directory, "svnadmin", "create", str(repository))
    _run(directory, "svn", "import", "--message", "first", str(files), f"file://{repository}/trunk")
    if login:
        user, _, password = login.partition(":")
        rules = "[general]\nanon-access = none\npassword-db = passwd\nrealm = rig\n"
        (repository / "conf/svnserve.conf").write_text(rules)
        (repository / "conf/passwd").write_text(f"[users]\n{user} = {password}\n")
    command = ("svnserve", "--daemon", "--foreground", "--listen-host", "127.0.0.1", "--listen-port", "{port}")
    with _serving(directory, *command, "--root", str(repository)) as port:
        yield port


def bzr_branch(directory: Path, path: str) -> Path:
    """A branch of bzr, which can be served as it is by http."""
    need("bzr", "brz")
    branch = _files(directory / "bzr", path)
    _run(branch, "brz", "init", ".", BRZ_EMAIL=WHO)
    _run(branch, "brz", "add", ".", BRZ_EMAIL=WHO)
    _run(branch, "brz", "commit", "-m", "first", BRZ_EMAIL=WHO)
    _run(branch, "brz", "tag", "v1.0.0", BRZ_EMAIL=WHO)
    return branch


@contextmanager
def fossil(directory: Path, path: str) -> Iterator[int]:
    """The port of ``fossil server``."""
    need("fossil")
    files = _files(directory / "fossil", path)
    repository = str(directory / "repo.fossil")
    _run(directory, "fossil", "init", "--sha1", "--admin-user", "rig", repository)
    _run(files, "fossil", "open", "--force", repository)
    _run(files, "fossil", "addremove")
    _run(files, "fossil", "commit", "-m", "first", "--no-warnings", "--tag", "v1.0.0", "--user-override", "rig")
    with _serving(directory, "fossil", "server", "--localhost", "--port", "{port}", repository) as port:
        yield port


class Ssh:
    """What an ``sshd`` and those who log in to it have: ``key`` opens it, ``config`` is a client's without a key."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.key = directory / "id"
        self.config = directory / "ssh_config"

    def client(self, *more: str) -> str:
        """The words for ``GIT_SSH_COMMAND``; nothing of whoever runs the tests is used."""
        return " ".join(["ssh", "-F", str(self.config), "-p", str(self.port), *more])


@contextmanager
def sshd(directory: Path) -> Iterator[Ssh]:
    """An ssh server for the user that runs the tests."""
    need("sshd", "ssh", "ssh-keygen", "ssh-agent", "ssh-add")
    for name in ("id", "host"):
        _run(directory, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
    settings = directory / "sshd_config"
    ssh = Ssh(directory, free_port())
    settings.write_text(
        f"Port {ssh.port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\n"
        f"AuthorizedKeysFile {directory}/id.pub\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n"
    )
    host_key = (directory / "host.pub").read_text()
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{ssh.port} {host_key}")
    ssh.config.write_text(
        f"UserKnownHostsFile {directory}/known_hosts\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
        "IdentityFile none\nBatchMode yes\nConnectTimeout 5\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it puts its part that has no rights
    program = shutil.which("sshd", path=ENVIRONMENT["PATH"]) or ""
    with _serving(directory, program, "-D", "-e", "-f", str(settings), port=ssh.port):
        yield ssh


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _serving(directory: Path, *command: str, port: int = 0) -> Iterator[int]:
    """The port that stands for ``{port}`` in a command, while it runs and listens there."""
    port = port or free_port()
    argv = [word.format(port=port) if word == "{port}" else word for word in command]
    log = directory / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env={**ENVIRONMENT, "HOME": str(directory)}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        _await_port(port, process, log)
        yield port
    finally:
        process.kill()
        process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        assert process.poll() is None, f"it did not start: {log.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < until, f"nothing listens: {log.read_text()}"
            time.sleep(0.05)
        else:
            return


def _files(directory: Path, path: str) -> Path:
    directory.mkdir()
    for name, data in tree(path).items():
        (directory / name).write_bytes(data)
    return directory


def _run(cwd: Path, *command: str, **environ: str) -> None:
    environment: Mapping[str, str] = {**ENVIRONMENT, "HOME": str(cwd), **environ}
    arguments: Sequence[str] = command
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
