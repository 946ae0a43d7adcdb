"""Download modes: what the setting and its file mean for each module."""

import sys
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athensd.policy.download_mode import DownloadMode, Rule, parse_download_mode, redirect_target

SAMPLE = Path(__file__).parents[2] / "etc" / "download.hcl"
SYNC, ASYNC, NONE = DownloadMode.SYNC, DownloadMode.ASYNC, DownloadMode.NONE
REDIRECT, ASYNC_REDIRECT = DownloadMode.REDIRECT, DownloadMode.ASYNC_REDIRECT
TOP, OTHER, SETTING = "https://top.example", "https://other.example/go", "https://setting.example"


def no_file(path):
    """The files of a machine that has none."""
    raise FileNotFoundError(2, "No such file or directory", path)


def modes(text, url=""):
    """What a file with this text means."""
    return parse_download_mode("file:/etc/download.hcl", url, {"/etc/download.hcl": text}.__getitem__)


def problems(setting, url="", read=no_file):
    """The complaints about a setting."""
    with pytest.raises(ValueError) as caught:
        parse_download_mode(setting, url, read)
    return str(caught.value).split("\n")


def problems_in(text, url=""):
    """The complaints about a file with this text."""
    return problems("file:d.hcl", url, lambda path: text)


@pytest.mark.parametrize("mode", DownloadMode)
def test_a_word(mode):
    """A word is the mode of all modules, and leads where DownloadURL says."""
    assert parse_download_mode(mode.value, TOP, no_file).of("github.com/a/b") == Rule(mode, TOP)


@pytest.mark.parametrize("mode", [SYNC, ASYNC, NONE])
@pytest.mark.parametrize("url", ["", "nowhere"])
def test_a_word_that_leads_nowhere_needs_no_url(mode, url):
    """And it does not matter which URL there is."""
    assert parse_download_mode(mode.value, url, no_file).of("github.com/a/b").mode is mode


@pytest.mark.parametrize("word", ["redirect", "async_redirect"])
@pytest.mark.parametrize(
    "url, words",
    [
        ("", "as in https://"),
        ("gomods.io", "as in https://"),
        ("//gomods.io", "as in https://"),
        ("ftp://gomods.io", "as in https://"),
        ("https://", "as in https://"),
        ("https:///path", "as in https://"),
        ("https://a b", "as in https://"),
        ("https://a\r\nb", "as in https://"),
        ("https://a:b", "no URL"),
        ("https://[::1", "no URL"),
        ("https://me:secret@a.b", "user and password"),
        ("https://a.b/?c", "before ? and #"),
        ("https://a.b/#c", "before ? and #"),
    ],
)
def test_a_word_that_leads_elsewhere_needs_a_url(word, url, words):
    """The setting is named and what would be right, and a password in the URL is not said again."""
    [problem] = problems(word, url)
    assert problem.startswith("DownloadURL ")
    assert (words in problem, word in problem, "secret" in problem) == (True, True, False)


@pytest.mark.parametrize("setting", ["", "snyc", "SYNC", "files:x", " sync"])
def test_no_such_mode(setting):
    """What is no mode is told with all that could be meant."""
    [problem] = problems(setting)
    assert "DownloadMode" in problem
    assert "sync, async, redirect, async_redirect, none, file:PATH, custom:BASE64" in problem


@pytest.mark.parametrize(
    "path, mode",
    [
        ("github.com/gomods/athens", SYNC),
        ("github.com/gomods/athens/pkg/mode", SYNC),
        ("github.com/gomods", ASYNC),
        ("github.com/gomodsy/athens", ASYNC),
        ("go.example.com/m", NONE),
        ("go.example.com/m/v2", NONE),
        ("example.com/m", ASYNC),
        ("x.y/a1", REDIRECT),
        ("x.y/a12", ASYNC),
        ("x.y/Abc", NONE),
        ("x.y/abc", ASYNC),
    ],
)
def test_patterns(path, mode):
    """A pattern is for what begins like it, by whole elements; the first that matches holds, else the top level."""
    text = f"""
mode = "async"
downloadURL = "{TOP}"
download "github.com/gomods/*" {{ mode = "sync" }}
download "github.com/gomods/athens" {{ mode = "none" }}
download "*.example.com/m" {{ mode = "none" }}
download "x.y/a[0-9]" {{ mode = "redirect" }}
download "x.y/A?c/" {{ mode = "none" }}
"""
    assert modes(text).of(path).mode is mode


@pytest.mark.parametrize(
    "path, url",
    [
        ("github.com/a/b", OTHER),
        ("github.com/c/d", TOP),
        ("x.y/m", TOP),
        ("x.y/n", OTHER),
    ],
)
def test_urls(path, url):
    """The URL is that of the first block that matches and has one, perhaps another than gives the mode."""
    text = f"""
mode = "redirect"
downloadURL = "{TOP}"
download "github.com/a" {{
  mode = "async_redirect"
  downloadURL = ""
}}
download "github.com/a/b" {{
  mode = "none"
  downloadURL = "{OTHER}"
}}
download "x.y/n" {{
  mode = "redirect"
  downloadURL = "{OTHER}"
}}
"""
    assert modes(text).of(path).url == url


def test_a_file_without_a_url():
    """The setting's URL holds then, for its blocks too, and where neither is needed none must be there."""
    text = 'mode = "sync"\ndownload "x.y" { mode = "redirect" }'
    assert modes(text, SETTING).of("x.y/m") == Rule(REDIRECT, SETTING)
    assert modes('mode = "sync"\ndownloadURL = ""').of("x.y/m") == Rule(SYNC, "")
    assert modes(f'mode = "redirect"\ndownloadURL = "{TOP}"', SETTING).of("x.y/m") == Rule(REDIRECT, TOP)


@pytest.mark.parametrize(
    "text",
    [
        'mode="none"',
        '# sync\nmode = "none" // sync\n/* mode = "sync"\n*/\n',
        '\r\nmode\t=  "none"\r\n',
        'mode = "n\\u006fne"',
    ],
)
def test_spelling(text):
    """Comments, line ends and escapes are those of HCL."""
    assert modes(text).of("x.y/m").mode is NONE


CUSTOM = b64encode(b'mode = "none"\n').decode()


@pytest.mark.parametrize("text", [CUSTOM, f"{CUSTOM[:8]}\n{CUSTOM[8:]}\n"])
def test_custom(text):
    """The text of a file may stand in the setting itself, in base64, as `base64` writes it."""
    assert parse_download_mode(f"custom:{text}", "", no_file).of("x.y/m") == Rule(NONE)


@pytest.mark.parametrize("rest", ["", "mode", f"{CUSTOM[:8]}!{CUSTOM[8:]}", CUSTOM[:-1], b64encode(b"\xff").decode()])
def test_custom_that_is_none(rest):
    """What is no base64 of a file is told with the setting's name."""
    assert all("DownloadMode custom" in problem for problem in problems(f"custom:{rest}"))


@pytest.mark.parametrize(
    "error, words",
    [
        (FileNotFoundError(2, "No such file or directory"), "No such file"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read(error, words):
    """Its path and the reason are told."""

    def read(path):
        raise error

    [problem] = problems("file:/etc/download.hcl", "", read)
    assert problem.startswith("/etc/download.hcl: ")
    assert words in problem


@pytest.mark.parametrize(
    "text, start, words",
    [
        ("", "1: mode is missing", ["sync, async"]),
        ('mode = "snyc"', '1: mode "snyc"', ["sync, async"]),
        ('mode = "sync"\nmode = "none"', "2: mode", ["twice"]),
        ("mode = sync", "1: mode", ["quotes"]),
        ("mode = 1", "1: mode", ["quotes"]),
        ('mode = ("sync")', "1: mode", ["quotes"]),
        ('mode = "${sync}"', "1: mode", ["quotes", "${}"]),
        ('mode = "s\\qnc"', "1: mode", ["quotes"]),
        ("mode = <<X\nsync\nX\n", "1: mode", ["quotes"]),
        ('mode "sync" {}', "1: mode is unknown", ["download blocks"]),
        ('mode = "sync"\nurl = "https://a.b"', "2: url is unknown", ["downloadURL"]),
        ('mode = "sync"\ndownload = "x.y"', "2: download is unknown", ["download blocks"]),
        ('mode = "sync"\ndownloads "x.y" {}', "2: downloads is unknown", ["download blocks"]),
        ('mode = "redirect"', "1: downloadURL is missing", ["redirect"]),
        ('mode = "sync"\ndownloadURL = "nowhere"', "2: downloadURL", ["https://"]),
        ('mode = "sync"\ndownload "x.y" {\n}', '2: download "x.y" mode is missing', ["sync, async"]),
        ('mode = "sync"\ndownload "x.y" {\nmode = "no"\n}', '3: download "x.y" mode "no"', ["sync, async"]),
        ('mode = "sync"\ndownload "x.y" {\nmode = "none"\nurl = ""\n}', '4: download "x.y" url is unknown', []),
        ('mode = "sync"\ndownload "x.y" {\nmode = "none"\nm {}\n}', '4: download "x.y" m is unknown', []),
        ('mode = "sync"\ndownload "x.y" { mode = "redirect" }', '2: download "x.y" downloadURL is missing', []),
        ('mode = "sync"\ndownload { mode = "none" }', "2: download needs one pattern", ["github.com/x/*"]),
        ('mode = "sync"\ndownload "" { mode = "none" }', "2: download needs one pattern", []),
        ('mode = "sync"\ndownload x { mode = "none" }', "2: download needs one pattern", ["quotes"]),
        ('mode = "sync"\ndownload "a" "b" { mode = "none" }', "2: download needs one pattern", []),
        ('mode = "sync"\n}', "2: this is not HCL", ["column 1"]),
        ('mode = "sync', "1: this is not HCL", []),
        ('mode = "sync"\ndownload "x.y" { mode = "none", downloadURL = "" }', "2: this is not HCL", []),
    ],
)
def test_a_bad_file(text, start, words):
    """The problem names the file, the line, the block and the key, and says what would be right."""
    [problem] = problems_in(text)
    assert problem.startswith(f"d.hcl:{start}")
    assert [word for word in words if word not in problem] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "[",
        "x.y/[a",
        "x.y/a\\\\",
        "x.y/[]",
        "/x.y",
        "x.y//m",
        "x.y/...",
        "a.b,c.d",
        "x.y/!a",
        "x.y/a b",
        "x.y/\u00e9",
        "/",
    ],
)
def test_a_pattern_that_can_match_nothing(pattern):
    """It is an error and not a block without effect."""
    [problem] = problems_in(f'mode = "sync"\ndownload "{pattern}" {{ mode = "none" }}')
    assert problem.startswith('d.hcl:2: download "')
    assert "go.mod" in problem


def test_the_setting_s_url_is_checked_where_it_holds():
    """It is named by its own name, for it stands in no file."""
    [problem] = problems_in('mode = "redirect"', "nowhere")
    assert problem.startswith("DownloadURL must be a URL")
    assert modes(f'mode = "redirect"\ndownloadURL = "{TOP}"', "nowhere").of("x.y").url == TOP


def test_all_problems_are_told():
    """Each on a line of its own."""
    text = 'mode = "snyc"\nurl = ""\ndownload "[" {\n  mode = 1\n}'
    assert [line.split(" ")[0] for line in problems_in(text)] == ["d.hcl:1:", "d.hcl:2:", "d.hcl:3:", "d.hcl:4:"]


def test_endless_nesting():
    """A file that is nested beyond all reason is refused like any other."""
    assert problems_in("a {" * 5000 + "}" * 5000) == ["d.hcl: its blocks are nested too deeply"]


def test_without_the_library(monkeypatch):
    """Where python-hcl2 is missing a file is refused and says so; a word needs none."""
    monkeypatch.setitem(sys.modules, "hcl2.api", None)
    assert "python-hcl2" in problems_in('mode = "sync"')[0]
    assert parse_download_mode("sync", "", no_file).of("x.y").mode is SYNC


def test_the_sample():
    """The sample in etc/ does what its comments say."""
    sample = modes(SAMPLE.read_text())
    top, mirror = "https://proxy.example.com/go", "https://mirror.example.com"
    assert sample.of("rsc.io/quote") == Rule(ASYNC_REDIRECT, top)
    assert sample.of("github.com/gomods/athens/v2") == Rule(SYNC, top)
    assert sample.of("golang.org/x/tools/gopls").mode is NONE
    assert sample.of("github.com/pkg/errors") == Rule(REDIRECT, mirror)


@pytest.mark.parametrize(
    "url, path, target",
    [
        ("https://a.b", "/x.y/m/@v/v1.0.0.zip", "https://a.b/x.y/m/@v/v1.0.0.zip"),
        ("https://a.b/", "/x.y/m/@v/v1.0.0.zip", "https://a.b/x.y/m/@v/v1.0.0.zip"),
        ("http://a.b:80/api/go/", "/x.y/@v/v1.0.0.mod", "http://a.b:80/api/go/x.y/@v/v1.0.0.mod"),
        ("https://a.b", "/x.y/!m/@v/v1.0.0.mod", "https://a.b/x.y/%21m/@v/v1.0.0.mod"),
        ("https://a.b", "/x.y/%21m/@v/v1.0.0.mod", "https://a.b/x.y/%21m/@v/v1.0.0.mod"),
        ("https://a.b", "/x.y/@v/v2.0.0+incompatible.zip", "https://a.b/x.y/@v/v2.0.0+incompatible.zip"),
        ("https://a.b", "/x.y/@v/v2.0.0%2Bincompatible.zip", "https://a.b/x.y/@v/v2.0.0+incompatible.zip"),
        ("https://a.b", "/x.y/a~b/@v/r%0D%0Ax: y.info", "https://a.b/x.y/a~b/@v/r%0D%0Ax:%20y.info"),
        ("https://a.b", "//evil.example/@v/list", "https://a.b/evil.example/@v/list"),
    ],
)
def test_redirect_target(url, path, target):
    """The path of the request stands below that of the URL, written as Go writes it, on the same host."""
    assert redirect_target(url, path) == target


WORDS = ["mode", "downloadURL", "download", "=", '"sync"', '"redirect"', '"x.y/*"', '"https://a.b"', "{", "}", "\n"]
NOISE = st.lists(
    st.sampled_from([*WORDS, "#", "/*", '"', "${", "<<X", "[", "(", "null", "1", ",", "\\", "\ud800", ":"])
)


@given(NOISE.map(" ".join) | st.text(), st.sampled_from(["", SETTING, "x"]), st.text())
def test_any_text_is_read_or_refused(text, url, path):
    """A file means a mode for anything, with a URL where it redirects, or is a ValueError that names the file."""
    try:
        rule = parse_download_mode("file:d.hcl", url, lambda path: text).of(path)
    except ValueError as error:
        assert all(line.startswith(("d.hcl:", "DownloadURL ")) for line in str(error).split("\n"))
    else:
        assert rule.url.startswith("https://") or not rule.mode.redirects


@given(st.text())
def test_any_setting_is_read_or_refused(setting):
    """A setting is a mode or a ValueError."""
    try:
        parse_download_mode(setting, "", no_file)
    except ValueError as error:
        assert str(error)
