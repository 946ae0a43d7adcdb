"""``athensd config``."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from athensd.config.keys import KEYS
from tests.cli.command import Command
from tests.integration.go import needs_go


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@needs_go
def test_nothing_is_wrong(command: Command) -> None:
    """That is said, with the status for it."""
    assert command.run("config", "check") == (0, ["problems: 0"], "")


def test_all_settings_at_once(command: Command, tmp_path: Path) -> None:
    """Each problem of a file is a line."""
    (tmp_path / "bad.toml").write_text('Prt = 3\nTimeout = "soon"\nLogLevel = "loud"\n')
    status, lines, error = command.run("config", "check", "bad.toml")
    assert (status, error) == (1, "")
    assert [line.split(" ")[1] for line in lines[:-1]] == ["Prt", "Timeout", "LogLevel"]
    assert lines[-1] == "problems: 3"


@needs_go
def test_what_the_settings_name_is_read(command: Command, tmp_path: Path) -> None:
    """All of it, whatever is wrong with the other files; no line has a secret."""
    for name in ("filter", "modes", "users", "tokens", "cert", "key"):
        (tmp_path / name).write_text("nonsense\n")
    (tmp_path / "athens.toml").write_text(
        """
        FilterFile = "filter"
        DownloadMode = "file:modes"
        BasicAuthPass = "hunter2"
        UsersFile = "users"
        TokensFile = "tokens"
        TLSCertFile = "cert"
        TLSKeyFile = "key"
        NETRCPath = "no-netrc"
        HGRCPath = "no-hgrc"
        SumDBs = ["nonsense.test+1+hunter2"]
        StoragePinned = ["example.test/m@main"]
        """
    )
    command.environment["GOPROXY"] = "ftp://user:hunter2@host"
    status, lines, error = command.run("config", "check")
    text = "\n".join(lines)
    assert (status, error) == (1, "")
    for said in (
        "filter:1",
        "modes:",
        "users, line 1",
        "tokens, line 1",
        "cert holds no certificate",
        "no-netrc",
        "no-hgrc",
    ):
        assert said in text
    for said in ("BasicAuthUser and BasicAuthPass", "SumDBs: value 1", "StoragePinned: 'example.test/m@main'"):
        assert said in text
    assert "GOPROXY" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("there", [["cert"], ["key"], []])
def test_half_a_certificate(command: Command, tmp_path: Path, there: list[str]) -> None:
    """Which file cannot be read is said, or which setting is missing."""
    for name in there:
        (tmp_path / name).write_text("")
    command.environment["ATHENS_TLSCERT_FILE"] = "cert"
    assert "TLSCertFile and TLSKeyFile are needed both, or none of them" in command.run("config", "check")[1]
    command.environment["ATHENS_TLSKEY_FILE"] = "key"
    said = "\n".join(command.run("config", "check")[1])
    assert ("holds no certificate" if there == ["cert"] else "in cert cannot be read: No such file") in said


@needs_go
def test_certificates(command: Command, tmp_path: Path) -> None:
    """One with its own key will do; the key of another one will not, nor one that has a password."""
    authority = trustme.CA()
    for name in ("one", "other"):
        leaf = authority.issue_cert(f"{name}.test")
        leaf.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.crt")
        leaf.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    key = load_pem_private_key((tmp_path / "one.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    (tmp_path / "locked.key").write_bytes(locked)
    command.environment["ATHENS_TLSCERT_FILE"] = "one.crt"
    wrong = {
        "one": [],
        "other": ["the key in other.key is not that of the certificate in one.crt"],
        "locked": ["locked.key holds no key in PEM that can be used"],
    }
    for name, problems in wrong.items():
        command.environment["ATHENS_TLSKEY_FILE"] = f"{name}.key"
        lines = [*problems, f"problems: {len(problems)}"]
        assert command.run("config", "check") == (1 if problems else 0, lines, "")


@needs_go
def test_endpoints(command: Command, tmp_path: Path) -> None:
    """Each that cannot be listened at is named, as the start would do it; what the certificate lacks is said once."""
    (tmp_path / "athens.toml").write_text(
        'Listen = ["tcp:x", "tls:tcp:0", "tcp:0", "ssl:0:privateKey=nowhere", "tpc:0"]\n'
    )
    status, lines, _ = command.run("config", "check")
    assert (status, lines[-1]) == (1, "problems: 4")
    assert [line.split(" ")[1] for line in lines[:-1]] == ["tcp:x", "tls:tcp:0", "ssl:0:privateKey=nowhere", "tpc:0"]
    assert lines[1] == "Listen: tls:tcp:0 needs TLSCertFile and TLSKeyFile"
    (tmp_path / "athens.toml").write_text('Listen = ["tls:tcp:0", "tcp:0"]\nTLSCertFile = "cert"\nTLSKeyFile = "key"\n')
    assert command.run("config", "check")[1] == [
        "the certificate in cert cannot be read: No such file or directory",
        "problems: 1",
    ]
    leaf = trustme.CA().issue_cert("one.test")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    leaf.private_key_pem.write_to_path(tmp_path / "key")
    assert command.run("config", "check")[1] == ["problems: 0"]
    command.environment["ATHENS_LISTEN"] = "tcp:0"
    assert command.run("config", "check")[1][0].startswith("Listen has nothing with tls: before it")


def test_show(command: Command, tmp_path: Path) -> None:
    """Each setting is a line with where it comes from; what was changed can be had alone, and no secret."""
    (tmp_path / "athens.toml").write_text('Timeout = 300\nGithubToken = "hunter2"\n')
    status, lines, error = command.run("config", "show")
    assert (status, len(lines), error) == (0, sum(bool(key.field) for key in KEYS), "")
    assert "Timeout = 300  # athens.toml" in lines
    assert command.run("config", "show", "--changed")[1] == [
        'StorageType = "disk"  # ATHENS_STORAGE_TYPE',
        'GithubToken = "***"  # athens.toml',
        f'Storage.Disk.RootPath = "{tmp_path}/store"  # ATHENS_DISK_STORAGE_ROOT',
    ]


def test_show_what_cannot_be_used(command: Command, tmp_path: Path) -> None:
    """There is nothing to show, and it is said why."""
    (tmp_path / "bad.toml").write_text('Timeout = "soon"\n')
    status, lines, error = command.run("config", "show", "bad.toml")
    assert (status, lines) == (2, [])
    assert error.startswith("athensd: bad.toml: Timeout")


def test_explain(command: Command) -> None:
    """A setting, by its key or its variable, as a file would have it; of one that is not there the nearest."""
    status, lines, error = command.run("config", "explain", "aws_session_token")
    assert (status, error) == (0, "")
    comment = '# The token of a session, if the key belongs to one.  AWS_SESSION_TOKEN, default "".'
    assert lines == ["[Storage.S3]", comment, 'Token = ""']
    status, lines, error = command.run("config", "explain", "Timeot")
    assert (status, lines) == (2, [])
    assert "Timeot is no setting; the nearest one is Timeout" in error
