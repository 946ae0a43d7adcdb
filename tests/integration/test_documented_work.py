"""The pages for whoever runs athensd, followed as in ``test_documentation``."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pymysql
import pytest

from athensd.gomod.ziphash import h1_of_mod
from tests import servers
from tests.integration.go import needs_go
from tests.integration.goproxy_tree import Upstream, add_version
from tests.integration.jaeger import running_jaeger
from tests.integration.process import eventually, free_ports, serving
from tests.integration.reader import Reader
from tests.test_documentation import ROOT, Text

pytestmark = [pytest.mark.slow, needs_go]

UUID, OLD, NEW, OURS = "github.com/google/uuid", "v0.3.0", "v0.21.0", "example.test/us/m"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the pages ask for, made up."""
    modules = [(UUID, "v1.6.0"), ("golang.org/x/text", OLD), ("golang.org/x/text", NEW), (OURS, "v1.0.0")]
    for path, version in modules:
        files = {"go.mod": f"module {path}\n".encode(), "a.go": b"package a\n"}
        add_version(tmp_path / "tree", path, version, files)
    return tmp_path / "tree"


@pytest.fixture
def upstream(tree: Path) -> Iterator[Upstream]:
    server = Upstream(tree)
    yield server
    server.stop()


def status(url: str, authorization: str = "") -> int:
    """What GET is answered with."""
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        return str(response.read().decode())


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def own_etc(reader: Reader) -> Path:
    """What is ``/etc/athensd`` for the reader, beside the files of the checkout."""
    (reader.place / "etc").unlink()
    (reader.place / "etc/athensd").mkdir(parents=True)
    (reader.place / "etc/athens.toml").symlink_to(ROOT / "etc/athens.toml")
    return reader.place / "etc/athensd"


def needs(program: str) -> pytest.MarkDecorator:
    """The test is skipped without it; ``script/test-servers`` installs it."""
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


@needs("htpasswd")
def test_access(tmp_path: Path, upstream: Upstream) -> None:
    """docs/access.md: the user and the token that are made there come in, and the rules of the page hold for them."""
    reader = Reader(tmp_path / "checkout", "docs/access.md", upstream.url)
    etc = own_etc(reader)
    reader.elsewhere = {" -o athensd ": " "}
    users, tokens = reader.blocks
    reader.run(users, answers="hunter2\nhunter2\n")
    token = reader.run(f'{tokens}printf %s "$token"')
    [rules] = [re.sub("^ +", "", block, flags=re.MULTILINE) for block in page("access", "group pay")]
    (etc / "rules").write_text(rules[rules.index("group") :])
    files = {f"ATHENS_{kind.upper()}_FILE": str(etc / kind) for kind in ("users", "tokens", "rules")}
    with reader.daemon("script/server", **files) as url:
        asked = f"{url}/{OURS}/@v/v1.0.0.info"
        who = [basic("alice:hunter2"), f"Bearer {token}", basic(f"ci:{token}"), basic("alice:hunter3"), ""]
        assert [status(asked, each) for each in who] == [200, 200, 200, 401, 401]
        hidden = f"{url}/corp.example/payments/@v/list"
        assert status(hidden, f"Bearer {token}") == 404
        assert status(f"{url}/golang.org/x/text/@v/{NEW}.info") == 200


def page(name: str, word: str) -> list[str]:
    """The blocks of a page, other than of a shell, that have a word in them."""
    return [block for block in Text.of(ROOT / f"docs/{name}.md").code if word in block]


def test_athensd(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """docs/athensd.md: what is warmed is stored, the explanation is the one on the page, and bash knows the command."""
    reader = Reader(tmp_path / "checkout", "docs/athensd.md", upstream.url)
    warm, evict, explain, completion = reader.blocks
    mod = (tree / f"{UUID}/@v/v1.6.0.mod").read_bytes()
    (reader.place / "go.mod").write_text(f"module example.com/program\n\nrequire {UUID} v1.6.0\n")
    (reader.place / "go.sum").write_text(f"{UUID} v1.6.0/go.mod {h1_of_mod(mod)}\n")
    with reader.daemon("script/server") as url:
        reader.elsewhere = {"https://proxy.our.example": url}
        asked = len(upstream.requests)
        assert "faults: 0" in reader.run(warm, ATHENS_PORT=f"127.0.0.1:{reader.port}")
        assert {f"/{UUID}/@v/v1.6.0.zip", f"/golang.org/x/text/@v/{OLD}.zip"} <= set(upstream.requests[asked:])
        assert [status(f"{url}/{OURS}/@v/v1.0.0.{kind}") for kind in ("info", "mod", "zip")] == [200] * 3
    (reader.place / "filter").write_text(f"# ours\n\n+ {OURS.rpartition('/')[0]}\n")
    (reader.place / "users").write_text(f"alice:$2y$05${'a' * 53}\n")
    (reader.place / "rules").write_text("group us alice\nallow us example.test\n")
    (reader.place / "download.hcl").write_text('mode = "none"\n\ndownload "example.test/*" {\n  mode = "sync"\n}\n')
    settings = {
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": "var/storage",
        "ATHENS_FILTER_FILE": "filter",
        "ATHENS_USERS_FILE": "users",
        "ATHENS_RULES_FILE": "rules",
        "ATHENS_DOWNLOAD_MODE": "file:download.hcl",
        "GOPRIVATE": "example.test",
        "GOSUMDB": "sum.golang.org",
    }
    assert reader.run(evict, **settings).startswith("private: 1, faults: 0, bytes that would be left: ")
    [shown] = page("athensd", "filter: let through")
    assert masked(reader.run(explain, **settings)) == masked(shown)
    assert reader.run(f"{completion}complete -p athensd").endswith("athensd\n")


def masked(text: str) -> list[str]:
    """Its lines without what is different for each module: lengths and hashes."""
    return [re.sub(r"\(\d+ bytes\)|h1:.*", "", line.strip()) for line in text.strip().splitlines()]


@needs("rsync")
def test_operations(tmp_path: Path, upstream: Upstream) -> None:
    """docs/operations.md: the level of the log changes while it runs, and the store can be had again from a copy."""
    reader = Reader(tmp_path / "checkout", "docs/operations.md", upstream.url)
    start, change, rsync, copy, check, restore = reader.blocks
    settings, store = reader.place / "athens.toml", reader.place / "var/lib/athensd/modules"
    settings.write_text(f'LogLevel = "info"\nStorageType = "disk"\n[Storage.Disk]\nRootPath = "{store}"\n')
    (reader.place / "backup").mkdir()
    with reader.daemon(start) as url:
        reader.run(change)
        eventually(lambda: "configuration read again" in (reader.place / "log").read_text())
        assert status(f"{url}/{UUID}/@v/v1.6.0.zip") == 200
        assert " debug " in (reader.place / "log").read_text()
        assert status(f"{url}/{UUID}/@v/v1.6.0.info") == 200
        reader.run(rsync)
        assert "already there: 1" in reader.run(copy)
    assert "complete: 1" in reader.run(check)
    shutil.rmtree(store)
    assert "copied: 1" in reader.run(restore)
    assert (store / f"{UUID}/@v/v1.6.0.zip").exists()


def test_incident(tmp_path: Path, tree: Path, upstream: Upstream) -> None:
    """docs/incident.md: the version is refused in the words of the page, and had again; it is known who had it."""
    bad, version = "github.com/x/y", "v1.2.3"
    add_version(tree, bad, version, {"a.go": b"package a\n"})
    reader = Reader(tmp_path / "checkout", "docs/incident.md", upstream.url)
    revoke, undo, who = reader.blocks
    [shown] = page("incident", "403 Forbidden")
    settings = 'StorageType = "disk"\nAuditFile = "audit"\n[Storage.Disk]\nRootPath = "store"\n'
    (reader.place / "athens.toml").write_text(settings)
    with reader.daemon("twistd -n athens") as url:
        asked = f"{url}/{bad}/@v/{version}.zip"
        assert status(asked) == 200
        assert "revoked github.com/x/y@v1.2.3" in reader.run(revoke)
        eventually(lambda: status(asked) == 403)
        refused = subprocess.run(
            ["go", "mod", "download", f"{bad}@{version}"],
            env={**reader.environment, "GOPROXY": url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        said, word = refused.stderr.strip().splitlines(), f"{bad}@{version}: revoked on this proxy since "
        assert [line.strip()[: len(word)] for line in said][2] == word
        assert len(said) == len(shown.strip().splitlines())
        assert "SEC-12: published with a stolen token" in reader.run(undo)
        eventually(lambda: status(asked) == 200)
    answered = reader.run(who).splitlines()
    assert [line.partition("x ")[0].rpartition(" ")[0] for line in answered] == [
        "127.0.0.1 200 zip",
        "127.0.0.1 403 info,zip",
        "visitors:",
    ]


@needs("sqlite3")
def test_index(tmp_path: Path, upstream: Upstream) -> None:
    """docs/index.md: a copy of SQLite's file has the lines; in the others its users may do what is needed."""
    reader = Reader(tmp_path / "checkout", "docs/index.md", upstream.url)
    backup, *extras = reader.blocks
    store, copy = reader.place / "var/lib/athensd/modules", reader.place / "backup/index.sqlite"
    copy.parent.mkdir()
    with reader.daemon("script/server", ATHENS_INDEX_TYPE="sqlite", ATHENS_DISK_STORAGE_ROOT=str(store)) as url:
        assert status(f"{url}/{UUID}/@v/v1.6.0.zip") == 200
        eventually(lambda: read(f"{url}/index"))
        reader.run(backup)
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM indexes").fetchone() == (1,)
    for block in extras:
        assert "already satisfied" in reader.run(block, PIP_NO_INDEX="1")
    postgres, mysql = (block.replace("…", "pencil") for block in page("index", "CREATE USER"))
    with ExitStack() as stack:
        (tmp_path / "postgres").mkdir()
        (tmp_path / "mariadb").mkdir()
        one = stack.enter_context(servers.postgres(tmp_path / "postgres"))
        at = {"host": one.host, "port": one.port, "user": one.user, "password": one.password}
        with psycopg.connect(**at, dbname="postgres", autocommit=True) as connection:  # type: ignore[arg-type]
            for statement in statements(postgres):
                connection.execute(statement)
        two = stack.enter_context(servers.mariadb(tmp_path / "mariadb"))
        at = {"host": two.host, "port": two.port, "user": two.user, "password": two.password}
        with pymysql.connect(**at) as root:  # type: ignore[arg-type]
            for statement in statements(mysql):
                root.cursor().execute(statement)
        for kind, server in (("POSTGRES", one), ("MYSQL", two)):
            given = {"HOST": server.host, "PORT": str(server.port), "USER": "athensd", "PASSWORD": "pencil"}
            settings = {f"ATHENS_INDEX_{kind}_{name}": value for name, value in given.items()}
            with reader.daemon("script/server", ATHENS_INDEX_TYPE=kind.lower(), **settings) as url:
                assert status(f"{url}/{UUID}/@v/v1.6.0.zip") == 200
                eventually(lambda at=f"{url}/index": read(at))
            shutil.rmtree(reader.place / "var/storage")


def statements(sql: str) -> list[str]:
    return [each.strip() for each in sql.split(";\n") if each.strip()]


@needs("prometheus")
def test_walkthrough(tmp_path: Path, upstream: Upstream) -> None:
    """docs/walkthrough.md without Docker: Jaeger has the traces, its absence costs a line, and Prometheus scrapes."""
    reader = Reader(tmp_path / "checkout", "docs/walkthrough.md", upstream.url)
    cold, warm, without, again, lost, server, prometheus, traces = reader.blocks
    log = reader.place / "log"
    *ports, metrics = free_ports(8)
    jaeger, watcher = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{metrics}"
    reader.elsewhere = {"localhost:16686": f"127.0.0.1:{ports[2]}", "127.0.0.1:9090": f"127.0.0.1:{metrics}"}
    with reader.daemon(server, ATHENS_TRACE_EXPORTER_URL=jaeger) as url:
        with running_jaeger(tmp_path, ports):
            reader.run(cold)
            reader.run(f"cd hello\n{warm}", GOPROXY=url)
            eventually(lambda: json.loads(reader.run(traces))["data"])
        reader.run(f"cd hello\n{without}", GOPROXY=url)
        eventually(lambda: "traces are not delivered" in log.read_text())
        with running_jaeger(tmp_path, ports):
            reader.run(f"cd hello\n{again}", GOPROXY=url)
            eventually(lambda: "traces are delivered again" in log.read_text())
        assert float(reader.run(lost).split()[1]) > 0
        *files, start = prometheus.strip().splitlines()
        reader.run("\n".join(files))
        command = ["bash", "-euc", f"cd {reader.place}\nexec {reader.here(start)}"]
        with serving(command, f"{watcher}/-/ready", tmp_path / "prometheus.log"):
            eventually(lambda: f'"scrapeUrl":"{url}/metrics"' in read(f"{watcher}/api/v1/targets"))
