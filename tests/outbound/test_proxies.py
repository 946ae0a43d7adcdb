"""Which proxy a request goes by, as net/http decides it."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from athensd.outbound.proxies import Proxies, ProxyURL, read_proxies

PROXY = ProxyURL("http", "proxy.test", 3128)
NO_PROXY = (
    "firm.test, .sub.test, *.star.test, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1,"
    "[2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64, ported.test:8080, ,:80, UPPER.test"
)


@pytest.mark.parametrize(
    ("host", "by_proxy"),
    [
        # Nothing on this machine.
        ("localhost", False),
        ("localhost:3000", False),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("[::1]", False),
        ("[::ffff:127.0.0.1]", False),
        ("[::2]", True),
        ("localhost.test", True),
        ("local.localhost", True),
        # Addresses, with and without a port, and networks.
        ("192.168.1.1", False),
        ("192.168.1.1:8080", False),
        ("192.168.1.2", True),
        ("192.168.1.2:81", False),
        ("192.168.1.3", False),
        ("192.168.1.4", True),
        ("10.0.0.2", False),
        ("10.0.0.4", True),
        ("[2001:db8::52:0:1]", False),
        ("[2001:db8::52:0:2]", True),
        ("[2001:db8::52:0:3]", False),
        ("[2002:db8:a::123]", False),
        ("[2002:db8:a:1::123]", True),
        ("[fe80::424b:c8be:1643:a1b6]", True),
        # Names: alone and with all below, only those below, and never a part of a word.
        ("firm.test", False),
        ("www.firm.test", False),
        ("myfirm.test", True),
        ("sub.test", True),
        ("www.sub.test", False),
        ("a.www.sub.test", False),
        ("star.test", True),
        ("nested.star.test", False),
        ("astar.test", True),
        ("ported.test", True),
        ("ported.test:8080", False),
        ("upper.test", False),
        ("Firm.Test", False),
        ("other.test", True),
    ],
)
def test_no_proxy(host: str, by_proxy: bool) -> None:
    """Names, suffixes, addresses, networks and ports, as the tests of golang.org/x/net/http/httpproxy have them."""
    proxies = read_proxies({"HTTP_PROXY": "http://proxy.test:3128", "NO_PROXY": NO_PROXY})
    assert proxies.proxy_for(f"http://{host}/a/b?c") == (PROXY if by_proxy else None)


def test_no_proxy_for_anything() -> None:
    """A star is everything, wherever it stands."""
    proxies = read_proxies({"HTTPS_PROXY": "proxy.test", "NO_PROXY": "other.test, *"})
    for host in ("any.test", "10.0.0.1", "[2001:db8::1]:8443"):
        assert proxies.proxy_for(f"https://{host}/") is None


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.test:3128", PROXY),
        ("http://proxy.test:3128/", PROXY),
        ("proxy.test:3128", PROXY),
        ("proxy.test", ProxyURL("http", "proxy.test", 80)),
        ("https://proxy.test", ProxyURL("https", "proxy.test", 443)),
        ("127.0.0.1:8080", ProxyURL("http", "127.0.0.1", 8080)),
        ("http://[::1]:8080", ProxyURL("http", "::1", 8080)),
        ("", None),
    ],
)
def test_the_url_of_a_proxy(text: str, proxy: ProxyURL | None) -> None:
    """Without a scheme it is http, without a port that of the scheme; empty is none."""
    assert read_proxies({"HTTPS_PROXY": text}) == Proxies(https=proxy)


@pytest.mark.parametrize(
    ("login", "sent"),
    [("user:secret@", "user:secret"), ("us%40er:p%3Aa%2Fss@", "us@er:p:a/ss"), ("user@", "user:"), (":x@", ":x")],
)
def test_a_login(login: str, sent: str) -> None:
    """User and password go into a header, decoded, and are not in the proxy's text."""
    proxy = read_proxies({"HTTP_PROXY": f"http://{login}proxy.test:3128"}).http
    assert proxy is not None
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")).decode() == sent
    assert str(proxy) == "the proxy proxy.test:3128"
    assert proxy.authorization not in repr(proxy)


def test_the_variables() -> None:
    """Capitals win, empty is not set, each scheme has its own, and no other scheme has one."""
    proxies = read_proxies({"HTTP_PROXY": "a.test", "http_proxy": "b.test", "HTTPS_PROXY": "", "https_proxy": "c.test"})
    assert (proxies.http and proxies.http.host, proxies.https and proxies.https.host) == ("a.test", "c.test")
    assert proxies.proxy_for("http://x.test") == proxies.http
    assert proxies.proxy_for("https://x.test") == proxies.https
    assert proxies.proxy_for("ftp://x.test") is None
    assert read_proxies({"ALL_PROXY": "a.test", "all_proxy": "a.test"}) == Proxies()
    assert read_proxies({"NO_PROXY": "x.test", "no_proxy": "y.test"}).no_proxy == ("x.test",)


def test_a_cgi_program() -> None:
    """There HTTP_PROXY may be what a client sent as a header "Proxy"; HTTPS_PROXY cannot."""
    proxies = read_proxies(
        {"HTTP_PROXY": "a.test", "http_proxy": "a.test", "HTTPS_PROXY": "b.test", "REQUEST_METHOD": "GET"}
    )
    assert proxies == Proxies(https=ProxyURL("http", "b.test", 80))


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http://secret@",
        "http://secret@:80",
        "secret:x",
        "http://secret:pass@proxy.test:x",
        "a b",
        "http://[::1",
    ],
)
def test_what_is_no_proxy(text: str) -> None:
    """The variable is named, what is in it may be a secret."""
    with pytest.raises(ValueError, match="HTTPS_PROXY is not the URL of a proxy") as error:
        read_proxies({"HTTPS_PROXY": text})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "ftp"])
def test_a_proxy_of_another_kind(scheme: str) -> None:
    """SOCKS is refused in words, and not passed over."""
    with pytest.raises(ValueError, match=f"http_proxy begins with {scheme}://, but only http:// and https://"):
        read_proxies({"http_proxy": f"{scheme}://user:secret@proxy.test:1080"})


def ours(environ: Mapping[str, str], url: str) -> str:
    proxy = read_proxies(environ).proxy_for(url)
    if proxy is None:
        return ""
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return f"{proxy.scheme}://{host}:{proxy.port}"


@pytest.mark.slow
def test_as_go_decides(tmp_path: Path) -> None:
    """What net/http itself says, to thousands of questions; it refuses what we pass over in a CGI program."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("the go command is not installed")
    program = tmp_path / "program"
    source = Path(__file__).parent / "differential" / "main.go"
    environ = {**os.environ, "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", program, source], check=True, env=environ, cwd=tmp_path)

    chance = random.Random(20260)
    names = [
        "firm.test",
        "www.firm.test",
        "myfirm.test",
        "x.y.firm.test",
        "firm",
        "a.b",
        "Firm.TEST",
        "localhost",
        "1.2",
    ]
    addresses = ["10.0.0.1", "10.0.0.77", "127.0.0.1", "127.255.0.1", "0.0.0.0", "192.168.1.1", "[::1]", "[::]"]
    addresses += ["[2001:db8::1]", "[2001:db8:1::]", "[::ffff:10.0.0.1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]"]
    bare = [address.strip("[]") for address in addresses]
    entries = [*names, *addresses, *bare, "", "*.", ".", "*", "%", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.5/0", "::/0"]
    entries += [
        "::ffff:10.0.0.0/104",
        "::ffff:0:0/95",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/",
        "2001:db8::/32",
    ]
    entries += ["/8", "a:b:c", "firm.test:x", "firm.test:", "[firm.test]:80", "[10.0.0.1]:80", "010.0.0.1", "10.1"]
    questions = []
    for _ in range(400):
        picked = [chance.choice(entries) for _ in range(chance.randrange(1, 5))]
        if chance.random() < 0.9:
            picked = [entry for entry in picked if entry != "*"]
        varied = [
            chance.choice(["", "", ".", "*."]) + entry + chance.choice(["", "", ":80", ":443", ":8080"])
            for entry in picked
        ]
        hosts = [
            chance.choice([*names, *addresses]) + chance.choice(["", "", ":80", ":443", ":8080"]) for _ in range(12)
        ]
        urls = [f"{chance.choice(['http', 'https'])}://{host}/x" for host in hosts]
        questions.append(
            ({"HTTP_PROXY": "http://one.test:1", "https_proxy": "two.test:2", "NO_PROXY": ",".join(varied)}, urls)
        )
    lines = "".join(
        json.dumps({"environ": [f"{name}={value}" for name, value in environ.items()], "urls": urls}) + "\n"
        for environ, urls in questions
    )
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    found = 0
    differences = []
    for (environ, urls), line in zip(questions, done.stdout.splitlines(), strict=True):
        for url, theirs in zip(urls, json.loads(line), strict=True):
            found += theirs != ""
            if ours(environ, url) != theirs:
                differences.append((environ["NO_PROXY"], url, theirs))
    assert 0 < found < 400 * 12
    assert differences == []
