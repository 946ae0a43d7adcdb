"""Request targets as an attacker would send them: for the tests in memory, and for anybody's server by a socket."""

from __future__ import annotations

import random
from collections.abc import Iterator

_ODD = r"""
    .. . ... %2e%2e %2E. .%2e %252e%252e ..%2f.. ..%5c.. ..\ %c0%ae%c0%ae %00 %0a %0d%0aX-Injected:1 %7f %ff
    %e2%80%ae %C3%A9 ~ ~root etc passwd @v @latest @ ! !! !A !1 %21 %21%21 CON con aux.txt nul %20 a%20b - -rf
    --upload-pack=x $(id) `id` ;id |id & ' " <script> {{7*7}} ${jndi:x} %s%n % %z %2 %u002e v1.0.0 V1.0.0 v2 v1
    m Upper example.test EXAMPLE.test 127.0.0.1 [::1] localhost 169.254.169.254 2130706433 0x7f.1 github.com a.b
    a..b .hidden trailing. * ? # .athensd spool a:80 user:pw@host git+ssh: file: http: \\host c: con. a~1 _ + ,
"""
_SEGMENTS = (*_ODD.split(), "", "a b", "x" * 300)
_ODD_ENDS = """
    /@v/list /@latest /@v/v1.0.0.info /@v/v1.0.0.mod /@v/v1.0.0.zip /@v/v1.0.0.ziphash /@v/..zip /@v/../../x.zip
    /@v/..%2f..%2fx.zip /@v/%2e%2e.info /@v/-x.info /@v/--output=x.zip /@v/.mod /@v/v1!.zip /@v/v1.0.0%00.zip
    /@v/a%2fb.info /@v/latest.info /@v/main.zip /@v/v1.0.0.zip/ /@v/HEAD.info /@v/ /@v/@{u}.info
    /@v/refs%2fheads%2fx.info /@v/%ff.mod /@v/:x.mod /@v/$(id).zip /@v/list%00 /
    /@v/v1.0.0-0.20240101000000-abcdefabcdef.info /@v/list?x=../.. #/@v/list
"""
_ENDS = (*_ODD_ENDS.split(), "", f"/@v/{'9' * 400}.info", f"/@v/{'a' * 250}.zip")
_PLAIN = ("m", "lib", "go-x", "v2", "a.b", "!upper", "x_y", "sub")
_ODD_BEGINNINGS = r"""
    // /./ /../ * http://x/ https://x:1/ //x/ /%2f /\ /catalog?token= /index?since= /index?limit=
    /catalog?pagesize= /robots.txt /healthz/ /readyz? /version/../
"""
_BEGINNINGS = (*_ODD_BEGINNINGS.split(), "")


def hostile_targets(count: int, seed: int = 1) -> Iterator[bytes]:
    """``count`` request targets, the same ones for a seed; none holds what would end a request line (space, CR, LF)."""
    chance = random.Random(seed)
    for _ in range(count):
        yield _spoiled(_target(chance), chance)


def _target(chance: random.Random) -> bytes:
    pool = chance.choice((_SEGMENTS, _SEGMENTS, (*_PLAIN * 20, *_SEGMENTS), _PLAIN))
    segments = chance.choices(pool, k=chance.choice((0, 1, 2, 2, 3, 3, 4, 6, 12)))
    host = chance.choice(("", "", "example.test/", "github.com/", "example.test/!big/m/", "127.0.0.1/"))
    text = chance.choice(("/", chance.choice(_BEGINNINGS))) + host + "/".join(segments) + chance.choice(_ENDS)
    return text.replace(" ", "%20").encode()


def _spoiled(target: bytes, chance: random.Random) -> bytes:
    """Now and then with a byte more, raw or percent-encoded, with some bytes encoded, or very long."""
    at = chance.randrange(len(target) + 1)
    match chance.randrange(12):
        case 0:
            return (
                target[:at]
                + bytes([chance.choice([*range(1, 10), 11, 12, *range(14, 32), *range(33, 256)])])
                + target[at:]
            )
        case 1:
            return target[:at] + b"%%%02x" % chance.randrange(256) + target[at:]
        case 2:
            return b"".join(b"%%%02X" % byte if chance.random() < 0.2 else bytes([byte]) for byte in target)
        case 3 if chance.random() < 0.1:
            return target[:at] + b"a/" * chance.choice((500, 1000, 5000, 32_000)) + target[at:]
        case _:
            return target or b"/"
