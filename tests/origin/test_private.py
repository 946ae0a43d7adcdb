"""Private modules, fetched by the real go command from real servers on loopback that want to know who asks.

``docs/private.md`` names the test for each way to log in and each version control system.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from athensd.errors import AthensError, Forbidden, NotFound, UpstreamFailed
from athensd.origin.credentials import Credentials
from athensd.origin.direct import DOWNLOAD
from athensd.origin.go_complaints import complaint
from athensd.origin.go_environment import go_environment, lay_out
from athensd.origin.go_process import GoCommand
from tests.integration.process import eventually
from tests.rig import version_control
from tests.rig.corpus import make_repository
from tests.rig.hosts import Hosts, World
from tests.rig.modules import REPOSITORIES, Commit, day, tree
from tests.rig.version_control import Ssh
from tests.rig.wall import Wall

pytestmark = pytest.mark.skipif(
    not (shutil.which("go") and shutil.which("git")), reason="there is no go command or no git"
)

LOGIN = "me:s3cret"
NETRC = "machine example.test login me password s3cret\n"
TOKEN = "ghp_t0ken"
SECRET = "example.test/secret"
GITHUB = "github.com/private/m"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    make_repository(root / f"{SECRET}.git", [Commit(tree(SECRET), day(1), tags=("v1.0.0",))])
    make_repository(root / f"{GITHUB}.git", REPOSITORIES[GITHUB])
    return root


@pytest.fixture
def hosts(corpus: Path, tmp_path: Path) -> Iterator[Hosts]:
    world = World(corpus, private={SECRET: LOGIN, "github.com/private": f"x-access-token:{TOKEN}"})
    hosts = Hosts(reactor, world, tmp_path)
    yield hosts
    blockon(DeferredList(hosts.stop()))


class Machine:
    """The operator's: a HOME, what is set in the environment, and the settings of the daemon."""

    def __init__(self, tmp_path: Path, environ: dict[str, str]) -> None:
        self.tmp_path = tmp_path
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", **environ}
        self.environ["NO_PROXY"] = "127.0.0.1,localhost"  # where the others are, which git's proxy does not know
        self.settings: dict[str, str] = {}
        self.credentials = Credentials(reactor, tmp_path / "credentials")

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A file, in HOME if its name is relative."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def start(self, **settings: str) -> None:
        """Give the daemon's settings, once."""
        directory = self.tmp_path / "credentials"
        self.credentials = Credentials(reactor, directory, home=str(self.home), **settings)
        self.credentials.start()

    def configure_git(self, *settings: tuple[str, str]) -> None:
        """Write ``~/.gitconfig``."""
        for key, value in settings:
            file = str(self.home / ".gitconfig")
            subprocess.run(["git", "config", "--file", file, "--add", key, value], check=True)

    async def answer(self, path: str, version: str = "v1.0.0") -> dict[str, Any]:
        """What ``go mod download`` says when the daemon runs it."""
        work = Path(tempfile.mkdtemp(dir=self.tmp_path))
        lay_out(work)
        environment = go_environment(self.environ, self.settings, work, self.credentials.access())
        go = GoCommand(reactor, "go")
        finished = await go.run([*DOWNLOAD, f"{path}@{version}"], environment, work / "empty", 60)
        answer: dict[str, Any] = json.loads(finished.stdout or "{}")
        return answer or {"Error": finished.stderr.decode()}

    async def refusal(self, path: str, version: str = "v1.0.0") -> AthensError:
        """What a client is told; there must be something."""
        answer = await self.answer(path, version)
        return complaint(answer["Error"], path=path, version=version, origin=answer.get("Origin"))


@pytest.fixture
def machine(tmp_path: Path, hosts: Hosts) -> Iterator[Machine]:
    machine = Machine(tmp_path, hosts.environment())
    yield machine
    blockon(Deferred.fromCoroutine(machine.credentials.stop()))


def fetched(answer: dict[str, Any]) -> bool:
    """Whether go made the zip; what it says instead is shown."""
    assert "Error" not in answer, answer["Error"]
    return Path(answer["Zip"]).stat().st_size > 0


# git, and the page that go reads by itself


@ensureDeferred
async def test_netrc_setting(machine: Machine) -> None:
    """NETRCPath is for git and for go's own page; HOME keeps its own file, which is not looked at."""
    theirs = machine.write(".netrc", "machine example.test login me password old\n")
    file = machine.write(str(machine.tmp_path / "elsewhere/netrc"), NETRC)
    machine.start(netrc=str(file))
    assert fetched(await machine.answer(SECRET))
    assert theirs.read_text() == "machine example.test login me password old\n"


@ensureDeferred
async def test_netrc_of_home(machine: Machine) -> None:
    """Without the setting it is ~/.netrc."""
    machine.write(".netrc", NETRC)
    assert fetched(await machine.answer(SECRET))


@ensureDeferred
async def test_netrc_is_read_each_time(machine: Machine) -> None:
    """A new password is used without a restart."""
    file = machine.write(str(machine.tmp_path / "netrc"), NETRC.replace("s3cret", "old"))
    machine.start(netrc=str(file))
    assert isinstance(await machine.refusal(SECRET), NotFound)
    file.write_text(NETRC)
    assert fetched(await machine.answer(SECRET))


@ensureDeferred
async def test_netrc_setting_leaves_the_rest_of_home(machine: Machine) -> None:
    """With NETRCPath the settings of git in HOME hold as ever."""
    machine.configure_git(("url.https://example.test/.insteadOf", "https://github.com/else/"))
    file = machine.write(str(machine.tmp_path / "netrc"), NETRC)
    machine.start(netrc=str(file))
    answer = await machine.answer("github.com/else/secret")
    assert fetched(answer)


@ensureDeferred
async def test_github_token(machine: Machine) -> None:
    """The token opens github.com."""
    machine.start(github_token=TOKEN)
    assert fetched(await machine.answer(GITHUB))


@ensureDeferred
async def test_github_token_and_netrc(machine: Machine) -> None:
    """Both settings may be there; an entry for github.com that is refused does not keep the token from being used."""
    file = machine.write(str(machine.tmp_path / "netrc"), f"{NETRC}machine github.com login me password old\n")
    machine.start(github_token=TOKEN, netrc=str(file))
    assert fetched(await machine.answer(GITHUB))
    assert fetched(await machine.answer(SECRET))


@ensureDeferred
async def test_github_token_is_kept_by_nobody(machine: Machine) -> None:
    """A helper of the operator's that writes accepted passwords to a file is given those of other hosts only."""
    machine.configure_git(("credential.helper", "store"))
    kept = machine.write(".git-credentials", f"https://{LOGIN}@example.test\n")
    machine.start(github_token=TOKEN)
    assert fetched(await machine.answer(GITHUB))
    assert "Error" in await machine.answer("github.com/private/none")
    assert kept.read_text() == f"https://{LOGIN}@example.test\n"
    assert not [file for file in machine.tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


@ensureDeferred
async def test_github_token_is_for_github(machine: Machine, hosts: Hosts) -> None:
    """Another host that asks for a login does not get the token."""
    hosts.world.private[SECRET] = f"x-access-token:{TOKEN}"
    hosts.world.pages["example.test/page"] = f"git https://{SECRET}"
    machine.start(github_token=TOKEN)
    assert "asks for a login" in str(await machine.refusal("example.test/page"))


@ensureDeferred
async def test_credential_helper(machine: Machine, hosts: Hosts) -> None:
    """A helper in ~/.gitconfig, named as it is in a shell."""
    machine.write("bin/helper", "#!/bin/sh\necho username=me\necho password=s3cret\n", 0o700)
    machine.configure_git(("credential.https://example.test.helper", "!~/bin/helper"))
    hosts.world.pages["example.test/page"] = f"git https://{SECRET}"
    assert fetched(await machine.answer("example.test/page"))


@ensureDeferred
async def test_credential_store(machine: Machine, hosts: Hosts) -> None:
    """git's own ``store``, with NETRCPath set for another host."""
    machine.configure_git(("credential.helper", "store"))
    machine.write(".git-credentials", f"https://{LOGIN}@example.test\n")
    file = machine.write(str(machine.tmp_path / "netrc"), "machine other.test login me password x\n")
    machine.start(netrc=str(file))
    hosts.world.pages["example.test/page"] = f"git https://{SECRET}"
    assert fetched(await machine.answer("example.test/page"))


@ensureDeferred
async def test_askpass(machine: Machine, hosts: Hosts) -> None:
    """GIT_ASKPASS is asked where no helper answers."""
    script = machine.write("askpass", '#!/bin/sh\ncase "$1" in User*) echo me ;; *) echo s3cret ;; esac\n', 0o700)
    machine.environ["GIT_ASKPASS"] = str(script)
    hosts.world.pages["example.test/page"] = f"git https://{SECRET}"
    assert fetched(await machine.answer("example.test/page"))


@ensureDeferred
async def test_extra_header(machine: Machine, hosts: Hosts) -> None:
    """A header that ~/.gitconfig has git send, as CI systems use it."""
    header = "Authorization: Basic bWU6czNjcmV0"
    machine.configure_git(("http.https://example.test/.extraHeader", header))
    hosts.world.pages["example.test/page"] = f"git https://{SECRET}"
    assert fetched(await machine.answer("example.test/page"))


@pytest.mark.parametrize("how", ["file", "environment", "setting"])
@ensureDeferred
async def test_instead_of(machine: Machine, how: str) -> None:
    """``insteadOf`` with a login in the URL: in ~/.gitconfig, in the environment, and in GoBinaryEnvVars."""
    key, value = f"url.https://{LOGIN}@example.test/.insteadOf", "https://github.com/else/"
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": value}
    if how == "file":
        machine.configure_git((key, value))
    elif how == "environment":
        machine.environ |= given
    else:
        machine.settings |= given
    assert fetched(await machine.answer("github.com/else/secret"))


@pytest.mark.parametrize("how", ["netrc", "git", "command"])
@ensureDeferred
async def test_goauth(machine: Machine, hosts: Hosts, how: str) -> None:
    """GOAUTH logs go in to its page: from netrc, from git's helpers, or with what a command prints."""
    hosts.world.private["example.test/page"] = LOGIN
    hosts.world.pages["example.test/page"] = "git https://github.com/open/m"
    make_repository(hosts.world.root / f"github.com/open/{how}.git", [Commit(tree("x"), day(1), tags=("v1.0.0",))])
    hosts.world.pages["example.test/page"] = f"git https://github.com/open/{how}"
    if how == "netrc":
        machine.environ["GOAUTH"] = "netrc"
        machine.write(".netrc", NETRC)
    elif how == "git":
        machine.environ["GOAUTH"] = f"git {machine.home}"
        machine.configure_git(("credential.helper", "store"))
        machine.write(".git-credentials", f"https://{LOGIN}@example.test\n")
    else:
        said = "https://example.test\\n\\nAuthorization: Basic bWU6czNjcmV0\\n\\n"
        machine.environ["GOAUTH"] = str(machine.write("auth", f"#!/bin/sh\nprintf '{said}'\n", 0o700))
    assert fetched(await machine.answer("example.test/page"))


@ensureDeferred
async def test_wrong_login(machine: Machine, hosts: Hosts) -> None:
    """A login that is refused is as good as none, and neither it nor the host's words are shown."""
    machine.write(".netrc", NETRC.replace("s3cret", "wr0ng"))
    hosts.world.pages["example.test/page"] = f"git https://{SECRET}"
    machine.start(github_token="ghp_wr0ng")
    for path in (GITHUB, SECRET, "example.test/page"):
        refusal = await machine.refusal(path)
        assert isinstance(refusal, NotFound)
        assert "asks for a login" in str(refusal)
        assert "wr0ng" not in str(refusal)
        assert "internal" not in str(refusal)


# The way there


# A path that ends so is a repository's to go, which then reads no page.
PLAIN = "example.test/open.git"


@pytest.fixture
def plain(hosts: Hosts) -> None:
    """A repository without a login."""
    if not (hosts.world.root / PLAIN).exists():
        make_repository(hosts.world.root / PLAIN, [Commit(tree(PLAIN), day(1), tags=("v1.0.0",))])


@pytest.mark.parametrize("how", ["variable", "setting", "git", "insecure"])
@ensureDeferred
async def test_own_authority(machine: Machine, plain: None, how: str) -> None:
    """Go has SSL_CERT_FILE, git GIT_SSL_CAINFO or what its own configuration says; without them nothing is trusted."""
    file = machine.environ.pop("GIT_SSL_CAINFO")
    path = PLAIN
    if how == "insecure":
        machine.environ["GIT_SSL_CAINFO"] = machine.environ.pop("SSL_CERT_FILE")
        path = "example.test/open"
    assert isinstance(await machine.refusal(path), UpstreamFailed)
    if how == "insecure":
        machine.environ["GOINSECURE"] = "example.test"
    elif how == "variable":
        machine.environ["GIT_SSL_CAINFO"] = file
    elif how == "setting":
        machine.settings["GIT_SSL_CAINFO"] = file
    else:
        machine.configure_git(("http.sslCAInfo", file))
    assert fetched(await machine.answer(path))


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "git"])
@ensureDeferred
async def test_proxy(machine: Machine, plain: None, hosts: Hosts, name: str) -> None:
    """go and git go by the proxy that is named, git also by others; the host cannot be had without."""
    path = "example.test/open" if name.lower() == "https_proxy" else PLAIN
    proxy = machine.environ.pop("HTTPS_PROXY")
    assert isinstance(await machine.refusal(path), UpstreamFailed)
    assert not hosts.world.asked
    if name == "git":
        machine.configure_git(("http.proxy", proxy))
    else:
        machine.environ[name] = proxy
    assert fetched(await machine.answer(path))


@pytest.mark.parametrize("system", ["hg", "bzr", "fossil", "svn"])
@ensureDeferred
async def test_proxy_of_others(machine: Machine, hosts: Hosts, system: str) -> None:
    """The others take http_proxy too; svn has its own file."""
    version_control.need(system)
    machine.environ |= {"http_proxy": machine.environ.pop("HTTP_PROXY"), "GOPRIVATE": "example.test"}
    if system == "svn":
        port = hosts.proxy
        machine.write(".subversion/servers", f"[global]\nhttp-proxy-host = 127.0.0.1\nhttp-proxy-port = {port}\n")
    hosts.world.pages["example.test/page"] = f"{system} http://example.test/behind"
    assert "Error" in await machine.answer("example.test/page", "latest")
    assert any("example.test/behind" in asked for asked in hosts.world.asked)


@pytest.mark.parametrize("name", ["GOPRIVATE", "GOVCS"])
@ensureDeferred
async def test_govcs(machine: Machine, hosts: Hosts, name: str) -> None:
    """Other systems than git and hg are for private modules only, unless GOVCS says otherwise."""
    hosts.world.pages["example.test/page"] = "fossil http://127.0.0.1:9/"
    assert isinstance(await machine.refusal("example.test/page"), Forbidden)
    machine.environ[name] = {"GOPRIVATE": "example.test", "GOVCS": "*:fossil"}[name]
    assert isinstance(await machine.refusal("example.test/page"), UpstreamFailed)


# ssh


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[Ssh]:
    directory = tmp_path / "ssh"
    directory.mkdir()
    with version_control.sshd(directory) as ssh:
        yield ssh


@pytest.fixture
def agent(ssh: Ssh, tmp_path: Path) -> Iterator[str]:
    """The socket of an agent that holds the key."""
    address = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", address], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: Path(address).exists())
        environment = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": address}
        subprocess.run(["ssh-add", "-q", str(ssh.key)], env=environment, check=True)
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["key", "agent"])
def client(request: pytest.FixtureRequest, machine: Machine, ssh: Ssh) -> str:
    """The words of an ssh that may log in, by a key that they name or by the agent of the machine."""
    if request.param == "key":
        return ssh.client("-i", str(ssh.key))
    machine.environ["SSH_AUTH_SOCK"] = request.getfixturevalue("agent")
    return ssh.client()


def use_ssh(machine: Machine, hosts: Hosts, ssh: Ssh) -> None:
    """Have ~/.gitconfig lead from https://github.com to ssh."""
    base = f"ssh://127.0.0.1:{ssh.port}{hosts.world.root}/github.com/"
    machine.configure_git((f"url.{base}.insteadOf", "https://github.com/"))


@ensureDeferred
async def test_ssh(machine: Machine, hosts: Hosts, ssh: Ssh, client: str) -> None:
    """git runs what GIT_SSH_COMMAND says, also where NETRCPath is set."""
    use_ssh(machine, hosts, ssh)
    machine.environ["GIT_SSH_COMMAND"] = client
    assert fetched(await machine.answer(GITHUB))
    machine.start(netrc=str(machine.write("netrc", NETRC)))
    assert fetched(await machine.answer(GITHUB))


@pytest.mark.slow
@ensureDeferred
async def test_ssh_by_hg(machine: Machine, hosts: Hosts, ssh: Ssh, client: str, tmp_path: Path) -> None:
    """hg runs what ``ui.ssh`` says."""
    with version_control.hg(tmp_path, "example.test/hg"):
        hosts.world.pages["example.test/hg"] = f"hg ssh://127.0.0.1:{ssh.port}/{tmp_path}/hg"
        machine.write(".hgrc", f"[ui]\nssh = {client}\n")
        assert fetched(await machine.answer("example.test/hg"))


@pytest.mark.slow
@ensureDeferred
async def test_ssh_by_svn(machine: Machine, hosts: Hosts, client: str, tmp_path: Path) -> None:
    """svn runs what SVN_SSH says."""
    with version_control.svn(tmp_path, "example.test/svn"):
        hosts.world.pages["example.test/svn"] = f"svn svn+ssh://127.0.0.1{tmp_path}/svn/trunk"
        machine.environ |= {"GOPRIVATE": "example.test", "SVN_SSH": client}
        assert fetched(await machine.answer("example.test/svn", "latest"))


@pytest.mark.slow
@ensureDeferred
async def test_ssh_by_bzr(machine: Machine, hosts: Hosts, ssh: Ssh, client: str, tmp_path: Path) -> None:
    """bzr runs the program that BRZ_SSH names, without words of the operator's."""
    branch = version_control.bzr_branch(tmp_path, "example.test/bzr")
    hosts.world.pages["example.test/bzr"] = f"bzr bzr+ssh://127.0.0.1:{ssh.port}{branch}"
    script = machine.write("ssh", f'#!/bin/sh\nexec {client} "$@"\n', 0o700)
    machine.environ |= {"GOPRIVATE": "example.test", "BRZ_SSH": str(script)}
    assert fetched(await machine.answer("example.test/bzr"))


@ensureDeferred
async def test_ssh_without_key(machine: Machine, hosts: Hosts, ssh: Ssh) -> None:
    """Without a key nothing waits for a password, and the client is told why there is no module."""
    use_ssh(machine, hosts, ssh)
    machine.environ["GIT_SSH_COMMAND"] = ssh.client()
    refusal = await machine.refusal(GITHUB)
    assert isinstance(refusal, NotFound)
    assert "asks for a login" in str(refusal)


@pytest.mark.slow
@ensureDeferred
async def test_ssh_without_key_by_hg(machine: Machine, hosts: Hosts, ssh: Ssh) -> None:
    """The same is said of hg, which shows the words of ssh as if they were the host's."""
    version_control.need("hg")
    hosts.world.pages["example.test/hg"] = f"hg ssh://127.0.0.1:{ssh.port}//nowhere"
    machine.write(".hgrc", f"[ui]\nssh = {ssh.client()}\n")
    refusal = await machine.refusal("example.test/hg")
    assert isinstance(refusal, NotFound)
    assert "asks for a login" in str(refusal)


# The others.  Their pages are open, and they are behind a login.

Walled = Callable[[int | Path], Wall]


@pytest.fixture
def walled(tmp_path: Path) -> Iterator[Walled]:
    """Builds walls, all gone afterwards."""
    walls: list[Wall] = []

    def build(behind: int | Path) -> Wall:
        walls.append(Wall(reactor, behind, LOGIN, tmp_path))
        return walls[-1]

    yield build
    blockon(DeferredList([listening for wall in walls for listening in wall.stop()]))


@pytest.fixture
def hg(walled: Walled, hosts: Hosts, tmp_path: Path) -> Iterator[Wall]:
    """What example.test/hg is behind."""
    with version_control.hg(tmp_path, "example.test/hg") as port:
        wall = walled(port)
        hosts.world.pages["example.test/hg"] = f"hg https://localhost:{wall.https}/"
        yield wall


def hgrc(wall: Wall, password: str = "s3cret") -> str:
    return (
        f"[auth]\nrig.prefix = https://localhost:{wall.https}\nrig.username = me\nrig.password = {password}\n"
        f"[web]\ncacerts = {wall.authority}\n"
    )


@pytest.mark.slow
@ensureDeferred
async def test_hgrc_setting(machine: Machine, hg: Wall) -> None:
    """HGRCPath is hg's, in place of ~/.hgrc and of what HGRCPATH names."""
    theirs = machine.write(".hgrc", "[auth]\n")
    machine.environ["HGRCPATH"] = str(theirs)
    file = machine.write(str(machine.tmp_path / "hgrc"), hgrc(hg))
    machine.start(hgrc=str(file))
    assert fetched(await machine.answer("example.test/hg"))
    assert theirs.read_text() == "[auth]\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["home", "variable"])
@ensureDeferred
async def test_hgrc_of_host(machine: Machine, hg: Wall, how: str) -> None:
    """Without the setting it is ~/.hgrc, or what HGRCPATH names."""
    file = machine.write(".hgrc" if how == "home" else "rc", hgrc(hg))
    if how == "variable":
        machine.environ["HGRCPATH"] = str(file)
    assert fetched(await machine.answer("example.test/hg"))


@pytest.mark.slow
@ensureDeferred
async def test_hg_without_login(machine: Machine, hg: Wall) -> None:
    """A wrong login, and no login but the one in ~/.netrc, which hg does not read."""
    machine.write(".netrc", "machine localhost login me password s3cret\n")
    for text in (hgrc(hg, "wrong"), f"[web]\ncacerts = {hg.authority}\n"):
        machine.write(".hgrc", text)
        refusal = await machine.refusal("example.test/hg")
        assert isinstance(refusal, NotFound)
        assert "asks for a login" in str(refusal)


def remembered_by_svn(port: int) -> tuple[str, str]:
    """Name and text of the file in which svn remembers the login to a server."""
    realm = f"<svn://127.0.0.1:{port}> rig"
    said = {"passtype": "simple", "username": "me", "password": "s3cret", "svn:realmstring": realm}
    lines = [f"K {len(key)}\n{key}\nV {len(value)}\n{value}\n" for key, value in said.items()]
    return f".subversion/auth/svn.simple/{hashlib.md5(realm.encode()).hexdigest()}", "".join(lines) + "END\n"


@ensureDeferred
async def test_svn_login(machine: Machine, hosts: Hosts, tmp_path: Path) -> None:
    """svn has the login that it remembers in HOME, also where NETRCPath is set; without one there is no version."""
    with version_control.svn(tmp_path, "example.test/svn", LOGIN) as port:
        hosts.world.pages["example.test/svn"] = f"svn svn://127.0.0.1:{port}/trunk"
        machine.environ["GOPRIVATE"] = "example.test"
        assert isinstance(await machine.refusal("example.test/svn", "latest"), NotFound)
        machine.write(*remembered_by_svn(port))
        assert fetched(await machine.answer("example.test/svn", "latest"))
        machine.start(netrc=str(machine.write("netrc", NETRC)))
        assert fetched(await machine.answer("example.test/svn", "latest"))


@pytest.fixture
def bzr(walled: Walled, machine: Machine, hosts: Hosts, tmp_path: Path) -> None:
    """example.test/bzr is behind a login."""
    wall = walled(version_control.bzr_branch(tmp_path, "example.test/bzr"))
    hosts.world.pages["example.test/bzr"] = f"bzr http://localhost:{wall.http}/"
    machine.environ["GOPRIVATE"] = "example.test"


def write_bzr_login(machine: Machine, password: str) -> None:
    text = f"[rig]\nscheme = http\nhost = localhost\nuser = me\n{password}\n"
    machine.write(".config/breezy/authentication.conf", text)


@pytest.mark.slow
@ensureDeferred
async def test_bzr_login(machine: Machine, bzr: None) -> None:
    """bzr has the login in its authentication.conf."""
    write_bzr_login(machine, "password = s3cret")
    assert fetched(await machine.answer("example.test/bzr"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["setting", "home"])
@ensureDeferred
async def test_bzr_netrc(machine: Machine, bzr: None, how: str) -> None:
    """bzr has the password of NETRCPath or ~/.netrc where its authentication.conf says so."""
    write_bzr_login(machine, "password_encoding = netrc")
    text = "machine localhost login me password s3cret\n"
    if how == "home":
        machine.write(".netrc", text)
    else:
        machine.start(netrc=str(machine.write(str(machine.tmp_path / "netrc"), text)))
    assert fetched(await machine.answer("example.test/bzr"))


@pytest.mark.slow
@ensureDeferred
async def test_bzr_without_login(machine: Machine, bzr: None) -> None:
    """Neither a wrong login nor none is more than "not there"."""
    assert "asks for a login" in str(await machine.refusal("example.test/bzr"))
    write_bzr_login(machine, "password = wrong")
    refusal = await machine.refusal("example.test/bzr")
    assert isinstance(refusal, NotFound)
    assert "asks for a login" in str(refusal)


@ensureDeferred
async def test_fossil(machine: Machine, hosts: Hosts, walled: Walled, tmp_path: Path) -> None:
    """fossil has no login that go could use: what is open is fetched, the rest is "not there"."""
    with version_control.fossil(tmp_path, "example.test/fossil") as port:
        machine.environ["GOPRIVATE"] = "example.test"
        hosts.world.pages["example.test/fossil"] = f"fossil http://127.0.0.1:{port}/"
        assert fetched(await machine.answer("example.test/fossil"))
        hosts.world.pages["example.test/fossil"] = f"fossil http://127.0.0.1:{walled(port).http}/"
        refusal = await machine.refusal("example.test/fossil")
        assert isinstance(refusal, NotFound)
        assert "asks for a login" in str(refusal)


def test_the_table() -> None:
    """Every test that docs/private.md names is here, and it names enough of them."""
    text = (Path(__file__).parents[2] / "docs/private.md").read_text()
    named = set(re.findall(r"`(test_\w+)", text))
    assert len(named) > 20
    assert named <= globals().keys()
