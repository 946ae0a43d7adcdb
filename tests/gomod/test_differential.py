"""What Go itself says: the same questions for golang.org/x/mod and for ``athensd.gomod``, thousands of them."""

import io
import json
import os
import random
import re
import shutil
import string
import subprocess
import unicodedata
from datetime import UTC
from pathlib import Path

import pytest

from athensd.errors import InvalidPath, VerificationFailed
from athensd.gomod import escape, info, path, pattern, version, ziphash
from athensd.gomod.version import ModuleVersion

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent / "differential"
VERSION = ModuleVersion("example.com/m", "v1.2.3")
# Go and Python may know different versions of Unicode; what was assigned by 3.2 is known to all of them.
# Three pairs that only newer Unicode tables hold for equal; Go's and Python's come from different years.
FOLDED_SINCE_UNICODE_15_1 = "\u0390\u1fd3\u03b0\u1fe3\ufb05\ufb06"
ASSIGNED = [char for char in map(chr, range(0x20000)) if unicodedata.ucd_3_2_0.category(char) not in {"Cn", "Cs"}]


@pytest.fixture(scope="session")
def go_says(tmp_path_factory):
    """A function from questions to Go's answers."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("the go command is not installed")
    program = tmp_path_factory.mktemp("differential") / "differential"
    environ = os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    if subprocess.run([go, "mod", "download"], cwd=HERE, env=environ, capture_output=True).returncode:
        pytest.skip("the module golang.org/x/mod cannot be downloaded here")
    subprocess.run([go, "build", "-o", program, "."], cwd=HERE, env=environ, check=True)

    def ask(questions):
        lines = "".join(json.dumps(question) + "\n" for question in questions)
        answered = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in answered.stdout.split("\n") if line]

    return ask


def differences(go_says, operation, ours, questions):
    """The questions on which ``ours`` gives another answer than Go; prints how many were asked.

    ``ours`` returns what Go's program returns: (yes or no, values, reason); a reason of None is not compared.
    """
    questions = list(dict.fromkeys(questions))
    answers = go_says([operation, *question] for question in questions)
    found = []
    for question, answer in zip(questions, answers, strict=True):
        ok, values, reason = ours(*question)
        theirs = answer["ok"], answer["values"] if values is not None else None
        if (ok, values) != theirs or (reason is not None and reason != answer["reason"]):
            found.append((question, (ok, values, reason), answer))
    yes = sum(answer["ok"] for answer in answers)
    print(f"{operation}: {len(questions)} compared, {yes} yes, {len(found)} differences")
    assert yes > 0, "questions that all have one answer compare little"
    return found


def yes_or_no(function):
    return lambda *args: (bool(function(*args)), None, None)


def checked(function):
    """Verdict and value of a function that raises ``InvalidPath``."""

    def ours(*args):
        try:
            value = function(*args)
        except InvalidPath:
            return False, None, None
        return True, None if value is None else [value], None

    return ours


# ------------------------------------------------------------------------------------------------- generated questions


def words(text):
    return text.split()


ELEMENTS = words(
    """
    example.com github.com gopkg.in gopkg.in/yaml.v2 gopkg.in/x.v0 gopkg.in/x.v1 gopkg.in/x.v01
    gopkg.in/check.v1-unstable gopkg.in/user/pkg.v3 gopkg.in/x-unstable gopkg.in/.v2 GitHub.com localhost
    127.0.0.1 -x.com x.com. .x.com a..b v0 v1 v2 v02 v10 v1.2 v2.0 v2. v x/v2 v2/v3 vendor internal ... . ..
    .git a~1 a~12.go a~x ~ ~1 a~ a~1b x~1.y~2 con CON con.txt Con.tar.gz nul aux prn com1 com0 COM9 lpt1.x lpt10
    conx acon BurntSushi UPPER a_b a-b -a a- _ a+b a=b a@b a!b a%b a b a:b a\\b a*b é K 世界 ſ ☃ İ ŉ a\u0301 ² Ⅳ ª
    ʼ 𝐀 𐐀 go.mod GO.MOD LICENSE 0 007 x.v2 .v2 v2-unstable
    """
)
VERSIONS = words(
    """
    v0.0.0 v1 v1.2 v1.2.3 v2 v2.0.0 v01.2.3 v1.02.3 v1.2.03 1.2.3 V1.2.3 v1.2.3.4 v1.2-pre v1-pre v1.2+meta
    v1.2.3- v1.2.3+ v1.2.3-pre v1.2.3-pre.1 v1.2.3-pre.01 v1.2.3-0 v1.2.3-01 v1.2.3-00a v1.2.3-0-0 v1.2.3-a..b
    v1.2.3-.a v1.2.3-- v1.2.3+meta v1.2.3+meta.01 v1.2.3+incompatible v2.0.0+incompatible v2.0.0+incompatible.1
    v3.1.4-rc.1+incompatible v1.2.3-pre+meta v1.2.3-beta.2 v1.2.3-beta.11 v1.2.3-alpha.beta v1.2.3-1 v1.2.3-2
    v1.2.3-11 v1.2.3-A v1.2.3-a v99999999999999999999.0.0 v100000000000000000000.0.0 v1.2.3-99999999999999999999
    v1.2.3-100000000000000000000 v0.0.0-20191109021931-daa7c04131f5 v2.0.0-20191109021931-daa7c04131f5
    v1.0.1-0.20191109021931-daa7c04131f5 v1.2.3-pre.0.20191109021931-daa7c04131f5
    v1.2.3-0.20191109021931-daa7c04131f5+incompatible v1.2.3-20191109021931-daa7c04131f5
    v0.0.0-20191301021931-daa7c04131f5 v0.0.0-20200229000000-abc v0.0.0-20190229000000-abc
    v0.0.0-00010101000000-000000000000 v0.1.0-20191109021931-abc v0.0.1-20191109021931-abc
    v1.0.0-20191109021931-abc-def v0.0.0-2019110902193-abcdef v1.2.3-pre-0.20191109021931-abc
    v1.2.3-pre.0.20191109021931-abc+meta v0.0.0-20191109250000-abc v1.2.3-x.y.0.20191109021931-abc master main
    latest upgrade patch none v1.x release/1 feature-x HEAD abcdef123456 v1.2.3! !v1 con v1.2.3~1 . ..
    v1.2.3\u00e9
    """
)
SPICE = "aZ09.-_~/!@+ v1\\:*?'\"é世☃K"
GLOBS = words(
    """
    * ? a* *a a*b *a*b* ** a**b [a] [^a] [a-c] [c-a] [^c-a] [a-] [-a] [] []a] [^] [^]a] [\\]] [\\-a] [a\\-c] [[]
    []] ] a] [a \\ \\* \\a a\\ [*] [?] *[^x]*b *[^x]b a/b a/* */b */*/* /a a/ // , github.com github.com/
    github.com/*/x github.com/a,*.corp.com *.corp.com [a-z]*.com/?/* git[h]ub.com/[^a]* é [é-世] *.*.* a*a*a
    [a-c-e] [^^] [^a^] [a\\] rsc.io/[qu]* **/x *.corp.com/ [!a] [/] a[/]b {a,b}
    """
)
TARGETS = words(
    """
    a b ab aab aaab a/b a/c/d github.com github.com/a github.com/a/x github.com/b/x/y x.corp.com corp.com
    a.b.corp.com/x/y a^b rsc.io/quote rsc.io/sampler/v2 ] [ - \\ * ? a-c a* aXb xa/b /a a/ a//b c ! a]
    """
)


def spiced(rng, words, joined_by, count):
    """Words, words joined, and words with a character changed, deterministic for a seed."""
    yield from words
    for _ in range(count):
        text = joined_by.join(rng.choices(words, k=rng.choice([1, 1, 2, 2, 3])))
        for _ in range(rng.choice([0, 0, 1, 2])):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["", rng.choice(SPICE)]) + text[at + rng.randrange(2) :]
        yield text


def paths(seed, count=4000):
    rng = random.Random(seed)
    plain = ["example.com", "a", "b/c", "v2", "v3", "Upper", "x.y", "x_y", "x~y", "x-y"]
    yield from spiced(rng, ELEMENTS, "/", count)
    yield from (f"example.com/{text}" for text in spiced(rng, ELEMENTS, "/", count))
    yield from (
        f"gopkg.in/{text}" for text in spiced(rng, ["x.v1", "y", "z.v0", "v2", ".v3-unstable"], "/", count // 4)
    )
    yield from (f"example.com/{text}" for text in spiced(rng, plain, "/", count // 2))
    for _ in range(count):
        yield "".join(rng.choices(SPICE + string.ascii_lowercase, k=rng.randrange(9)))


def versions(seed, count=4000):
    rng = random.Random(seed)
    yield from spiced(rng, VERSIONS, rng.choice(["", "-", "+"]), count)
    for _ in range(count):
        numbers = ".".join(
            rng.choices(["0", "1", "2", "9", "10", "01", "20191109021931"], k=rng.choice([1, 2, 3, 3, 3, 4]))
        )
        words = rng.choices(
            ["0", "1", "a", "B", "-", "rc", "0a", "00", "", "20191109021931", "-0", "9" * 21], k=rng.randrange(4)
        )
        tail = rng.choice(["", "", "+incompatible", "+x.00", "-20191109021931-abc", "+"])
        yield f"v{numbers}" + ("-" + ".".join(words) if words else "") + tail


def ones(texts):
    return [(text,) for text in texts]


# ------------------------------------------------------------------------------------------------------- the questions


def test_module_paths(go_says):
    """Module paths are accepted and refused alike."""
    assert differences(go_says, "check_path", checked(path.check_path), ones(paths(1))) == []


def test_reasons(go_says):
    """The text of a refusal is Go's own wherever nothing in it needs quoting."""
    quiet = [text for text in paths(2) if text.isascii() and not set(text) & set("\\\"'")]

    def ours(text):
        try:
            path.check_path(text)
        except InvalidPath as fault:
            return False, None, str(fault)
        return True, None, None

    assert differences(go_says, "check_path", ours, ones(quiet)) == []


def test_file_paths(go_says):
    """Names of files are accepted and refused alike, letters of all scripts included."""
    named = [f"a{char}" for char in random.Random(3).sample(ASSIGNED, k=5000)]
    ours = yes_or_no(lambda text: path.file_path_fault(text) is None)
    assert differences(go_says, "check_file", ours, ones([*paths(4), *named])) == []


def test_split(go_says):
    """Paths are split from their major version alike."""

    def ours(text):
        split = path.split_path_version(text)
        return split is not None, list(split or (text, "")), None

    assert differences(go_says, "split", ours, ones(paths(5))) == []


@pytest.mark.parametrize("operation, texts", [("path", paths), ("version", versions)])
def test_escapes(go_says, operation, texts):
    """Paths and versions are escaped and unescaped alike, and refused alike."""
    plain = list(texts(6))
    escaped = [escape._escape(text) for text in plain]
    for direction, questions in [("escape", plain), ("unescape", plain + escaped)]:
        name = f"{direction}_{operation}"
        assert differences(go_says, name, checked(getattr(escape, name)), ones(questions)) == []


@pytest.mark.parametrize("operation", ["is_valid", "is_pseudo", "is_prerelease"])
def test_kinds_of_versions(go_says, operation):
    """Valid versions, pseudo-versions and pre-releases are told alike."""
    assert differences(go_says, operation, yes_or_no(getattr(version, operation)), ones(versions(7))) == []


def test_canonical(go_says):
    """Versions have the same canonical form."""
    ours = lambda text: (True, [version.canonical(text)], None)  # noqa: E731
    assert differences(go_says, "canonical", ours, ones(versions(8))) == []


def test_pseudo_time(go_says):
    """Pseudo-versions tell the same time, and the same ones tell none."""
    rng = random.Random(9)
    stamps = ["".join(rng.choices("0123456789", k=14)) for _ in range(500)]
    stamps += [f"20{rng.randrange(100):02}{rng.randrange(14):02}{rng.randrange(33):02}235959" for _ in range(2000)]
    made = [f"v0.0.0-{stamp}-abc" for stamp in stamps if not stamp.startswith("0000")]

    def ours(text):
        try:
            return True, [version.pseudo_time(text).isoformat().replace("+00:00", "Z")], None
        except ValueError:
            return False, None, None

    assert differences(go_says, "pseudo_time", ours, ones([*made, *versions(10)])) == []


def test_versions_of_paths(go_says):
    """The same versions belong to the same paths."""
    rng = random.Random(11)
    some = [text for text in paths(12) if answers(path.check_path, text) or rng.random() < 0.1]
    pairs = [(rng.choice(some), text) for text in versions(13) for _ in range(2)]

    def ours(module, text):
        verdict = answers(path.check_path, module) and answers(version.check_version_for, module, text)
        if text == version.canonical(text):
            assert version.is_canonical_for(module, text) == verdict
        return verdict, None, None

    assert differences(go_says, "check", ours, pairs) == []


def answers(function, *args):
    """Whether a function that raises ``InvalidPath`` does not."""
    try:
        function(*args)
    except InvalidPath:
        return False
    return True


def test_order(go_says):
    """Versions compare alike, and whole lists sort alike, ties included."""
    rng = random.Random(14)
    pool = list(versions(15))
    valid = [text for text in pool if version.is_valid(text)]
    pairs = [(rng.choice(valid), rng.choice(valid)) for _ in range(6000)]
    pairs += [(rng.choice(pool), rng.choice(pool)) for _ in range(2000)]
    ours = lambda a, b: (True, [str(version.compare(a, b))], None)  # noqa: E731
    assert differences(go_says, "compare", ours, pairs) == []
    lists = [tuple(rng.choices(pool, k=rng.randrange(1, 40))) for _ in range(300)]
    sort = lambda *texts: (True, sorted(texts, key=version.sort_key), None)  # noqa: E731
    assert differences(go_says, "sort", sort, lists) == []


def test_patterns(go_says):
    """Globs match the same paths, malformed ones none."""
    rng = random.Random(16)
    targets = [text for text in spiced(rng, TARGETS, "/", 300) if text.isascii()]
    pairs = [(glob, target) for glob in GLOBS for target in TARGETS]
    pairs += [(glob, rng.choice(targets)) for glob in spiced(rng, GLOBS, "", 6000)]
    small = lambda alphabet, most: "".join(rng.choices(alphabet, k=rng.randrange(most)))  # noqa: E731
    pairs += [(small("ab*?[]^-/\\", 9), small("ab-/]", 7)) for _ in range(10000)]
    assert differences(go_says, "matches", yes_or_no(pattern.matches), pairs) == []


LENIENT = re.compile(r"T[0-9]:|[+-](2[4-9]|[3-9][0-9]):[0-9]{2}$|[+-][0-9]{2}:[6-9][0-9]$")  # go.dev/issue/54580


def test_times(go_says):
    """The Time of an .info document is read as Go reads it, but for what Go takes although RFC 3339 does not."""
    rng = random.Random(17)
    good = ["2019-11-09T02:19:31Z", "2019-11-09T02:19:31.123456789Z", "2020-02-29T00:00:00+05:30"]
    texts = [*good, "", "2019-11-09", "2019-11-09 02:19:31Z", "2019-02-29T00:00:00Z", "2019-11-09T02:19:60Z"]
    for _ in range(3000):
        text = rng.choice(good)
        at = rng.randrange(len(text))
        texts.append(text[:at] + rng.choice("0123456789-+:.TZtz ") + text[at + rng.randrange(3) :])
    texts = [text for text in texts if not LENIENT.search(text)]

    def ours(text):
        try:
            time = info.parse_time(text).astimezone(UTC)
        except ValueError:
            return False, None, None
        return True, [time.isoformat(timespec="microseconds")[:26].rstrip("0").rstrip(".") + "Z"], None

    assert differences(go_says, "json_time", ours, ones(texts)) == []


def test_folding(go_says):
    """Exactly the characters that are equal but for case in Go are folded into one here."""
    stable = [char for char in ASSIGNED if char not in FOLDED_SINCE_UNICODE_15_1]
    (answer,) = go_says([["fold", "".join(stable)]])
    theirs, ours = {}, {}
    for char, least in zip(stable, answer["values"][0], strict=True):
        theirs.setdefault(least, []).append(char)
        ours.setdefault(ziphash.simple_fold(char), []).append(char)
    print(f"fold: {len(stable)} compared")
    assert {*map(tuple, ours.values())} ^ {*map(tuple, theirs.values())} == set()


def damaged(rng, data):
    """The zip with a few bytes changed, more often than not in its headers."""
    data = bytearray(data)
    headers = [at for at in range(len(data) - 3) if data[at : at + 2] == b"PK"]
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.choice(headers) + rng.randrange(60) if rng.random() < 0.8 else rng.randrange(len(data))
        data[at % len(data)] = rng.choice([0, 1, 8, 255, rng.randrange(256)])
    return bytes(data[: rng.choice([len(data)] * 9 + [rng.randrange(len(data))])])


def test_zips(go_says, tmp_path, zip_of, legal_zips, hostile_zips):
    """Legal zips have the same hash, hostile and damaged ones are refused alike."""
    rng = random.Random(18)
    names = ["é", "straße/x", "straSSe/x", "世界.go", "A/b", "c d", "x.go", "go.mod", "z/LICENSE", "deep/er/and/er"]
    zips = [*legal_zips.values(), *hostile_zips.values()]
    for _ in range(150):
        files = {name: rng.randbytes(rng.randrange(40)) * rng.randrange(2000) for name in rng.sample(names, k=4)}
        files["go.mod"] = b"module example.com/m\n"
        zips.append(zip_of(files, method=rng.choice([0, 8])))
    zips += [damaged(rng, data) for data in legal_zips.values() for _ in range(800)]
    questions = []
    for number, data in enumerate(zips):
        (tmp_path / f"{number}.zip").write_bytes(data)
        questions.append((VERSION.path, VERSION.version, str(tmp_path / f"{number}.zip")))

    def ours(_path, _version, file):
        try:
            found = ziphash.check_zip(io.BytesIO(Path(file).read_bytes()), VERSION)
        except VerificationFailed:
            return False, None, None
        return True, [found.h1, (found.go_mod or b"").decode(errors="replace")], None

    assert differences(go_says, "zip", ours, questions) == []
