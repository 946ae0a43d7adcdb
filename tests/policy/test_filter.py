"""The filter file: which rule holds for a module and a version."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athensd.gomod.version import is_valid
from athensd.policy.filter import Action, Filter, Verdict, parse_filter

SAMPLE = Path(__file__).parents[2] / "etc" / "filter.conf"
INCLUDE, EXCLUDE, DIRECT = Action.INCLUDE, Action.EXCLUDE, Action.DIRECT
PSEUDO = "v0.0.0-20200102030405-abcdefabcdef"


def action(text, path, version=None):
    """What a file with this text does."""
    return parse_filter(text, "filter.conf").verdict(path, version).action


def covers(qualifiers, version):
    """Whether a rule with these versions is for this one."""
    return action(f"- x.y/m {qualifiers}", "x.y/m", version) is EXCLUDE


def problems(text):
    """The complaints about a file with this text."""
    with pytest.raises(ValueError) as caught:
        parse_filter(text, "filter.conf")
    return str(caught.value).split("\n")


@pytest.mark.parametrize("rules", [Filter(), parse_filter("", "f"), parse_filter("# +\n\n \t\r\n  # x y z a", "f")])
def test_no_rules(rules):
    """Where no rule is, everything is included, and no rule is named."""
    assert rules.verdict("github.com/a", "v1.0.0") == rules.verdict("x.y", None) == Verdict(INCLUDE, "")


@pytest.mark.parametrize(
    "path, expected",
    [
        ("github.com/a", INCLUDE),
        ("github.com/a/b", DIRECT),
        ("github.com/a/bc", INCLUDE),
        ("github.com/a/b/v2", DIRECT),
        ("github.com/a/b/c", EXCLUDE),
        ("github.com/a/b/c/d", EXCLUDE),
        ("github.com/a/B/c", INCLUDE),
        ("github.com/A", EXCLUDE),
        ("github.com", EXCLUDE),
        ("github.com.au/a", EXCLUDE),
        ("gopkg.in/yaml.v2", INCLUDE),
        ("gopkg.in/yaml.v3", EXCLUDE),
        ("gopkg.in/user/pkg.v1", DIRECT),
        ("example.com/m", EXCLUDE),
        ("example.com/m/v2", INCLUDE),
        ("example.com/m/v20", EXCLUDE),
    ],
)
def test_paths(path, expected):
    """The rule with the longest path holds for it and all below it: by whole elements, and with its capitals."""
    text = """
-
+ github.com/a
D github.com/a/b
- github.com/a/b/c
+ gopkg.in/yaml.v2
D gopkg.in/user
+ example.com/m/v2
"""
    assert action(text, path) is expected
    assert action(text, path, "v1.2.3") is expected


@pytest.mark.parametrize(
    "line",
    [
        "- x.y/m v1",
        "-  x.y/m  v1",
        "-\tx.y/m\tv1",
        " - x.y/m v1\r",
        "- /x.y/m/ v1",
        "- x.y/m v1 # why",
        "- x.y/m v1\t#",
    ],
)
def test_spelling(line):
    """Any blanks separate fields, slashes around a path do not count, and a comment may follow."""
    rules = parse_filter(f"\n{line}\n", "f")
    assert [rules.verdict("x.y/m", version).action for version in ("v1.5.0", "v2.0.0")] == [EXCLUDE, INCLUDE]


def test_the_rule_is_named():
    """A verdict says which line it comes from."""
    rules = parse_filter("#\n-\n+   github.com/x \t v1,v2\r\n", "f")
    assert rules.verdict("github.com/x", "v1.0.0").rule == "+ github.com/x v1,v2 (line 3)"
    assert rules.verdict("github.com/x", "v3.0.0").rule == "- (line 2)"


@pytest.mark.parametrize(
    "qualifiers, inside, outside",
    [
        ("v1", "v1.0.0 v1.20.3 v1.0.0-rc.1 v1.0.1-0.20200102030405-abcdefabcdef", "v0.1.0 v10.0.0 v2.1.0"),
        ("v1.", "v1.20.3", "v10.0.0"),
        ("v1.*", "v1.20.3", "v10.0.0"),
        ("v1*", "v1.20.3", "v10.0.0"),
        ("v0", f"v0.1.0 {PSEUDO}", "v1.0.0"),
        ("v1.2", "v1.2.0 v1.2.30 v1.2.0-rc.1", "v1.20.0 v1.3.2"),
        ("v1.2.*", "v1.2.0 v1.2.30", "v1.20.0 v1.3.2"),
        ("v0.4.1", "v0.4.1 v0.4.1+incompatible", "v0.4.10 v0.4.1-rc.1 v0.4.1-0.20200102030405-abcdefabcdef"),
        ("v2.0.0+incompatible", "v2.0.0+incompatible", "v2.0.0"),
        ("v1.2.3-rc.1", "v1.2.3-rc.1", "v1.2.3 v1.2.3-rc.10"),
        (PSEUDO, PSEUDO, "v0.0.0"),
        ("v0.4.1*", "v0.4.1 v0.4.10 v0.4.1-rc.1", "v0.4.2 v0.41.0"),
        ("v0.4.1-*", "v0.4.1-rc.1", "v0.4.1 v0.4.10"),
        ("v0.0.0-2020*", PSEUDO, "v0.0.0-20190102030405-abcdefabcdef v0.0.0"),
        ("~v1.2.3", "v1.2.3 v1.2.10 v1.2.4-rc.1 v1.2.3+incompatible", "v1.2.2 v1.3.3 v1.2.3-rc.1 v1.20.3"),
        ("^v1.2.3", "v1.2.3 v1.3.0 v1.10.2 v1.4.0-rc.1", "v1.2.2 v1.2.3-rc.1 v2.2.3 v10.2.3"),
        ("^v2.3.4", "v2.4.0+incompatible", "v2.3.3+incompatible"),
        ("<v1.2.3", f"v1.2.2 v0.58.9 v1.2.3-rc.1 v1.1.9+incompatible {PSEUDO}", "v1.2.3 v1.2.10 v1.10.0 v2.0.0"),
        ("<v1.2.3-rc.2", "v1.2.3-rc.1 v1.2.2", "v1.2.3-rc.2 v1.2.3"),
        ("<=v1.2.3", "v1.2.3 v1.2.2 v0.58.9 v1.2.3+incompatible", "v1.2.4 v1.3.0"),
        ("1.2.3", "v1.2.3", "v1.2.4"),
        ("~12.2.3", "v12.2.4", "v2.2.4"),
        ("<1.2.3", "v1.2.2", "v1.2.3"),
        ("v1,~v2.3.40,<v0.5.0", "v1.9.9 v2.3.45 v0.4.9", "v2.3.20 v2.4.0 v0.5.0"),
        ("*", "v1.0.0 v2.0.0-rc.1", ""),
        ("v1,*", "v1.0.0 v2.0.0", ""),
    ],
)
def test_versions(qualifiers, inside, outside):
    """A rule is for the versions that its qualifiers mean by the table in docs/policy.md, and for no other."""
    assert [version for version in inside.split() if not covers(qualifiers, version)] == []
    assert [version for version in outside.split() if covers(qualifiers, version)] == []


def test_a_rule_that_is_for_other_versions_is_passed_over():
    """The next one above it holds then; of those for one path the last whose versions fit."""
    text = "-\n+ a.b/c v1\nD a.b/c/d v1.2,v0.8\n+ a.b/e\n- a.b/e v1\nD a.b/e v1.5\n"
    asked = [("a.b/c/d", version) for version in ("v1.2.3", "v1.3.4", "v2.0.0")]
    asked += [("a.b/e", version) for version in ("v1.5.0", "v1.4.0", "v2.0.0")]
    assert [action(text, *each) for each in asked] == [DIRECT, INCLUDE, EXCLUDE, DIRECT, EXCLUDE, INCLUDE]


def test_versions_of_everything():
    """A rule for everything may be for some versions."""
    assert [action("- / v0", "a.b/c", version) for version in ("v0.1.0", "v1.0.0", None)] == [EXCLUDE, INCLUDE, INCLUDE]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("- a.b/c v1", INCLUDE),
        ("- a.b/c", EXCLUDE),
        ("- a.b/c *", EXCLUDE),
        ("-\n+ a.b/c v1", INCLUDE),
        ("-\n+ a.b/c v1\n- a.b/c/d", EXCLUDE),
        ("-\n- a.b/c v1", EXCLUDE),
        ("-\nD a.b/c v1", DIRECT),
        ("D a.b/c v1", INCLUDE),
        ("D\n+ a.b/c v1", DIRECT),
        ("-\n+ a.b v1\n- a.b/c v2", INCLUDE),
        ("+ a.b v1\n- a.b/c", EXCLUDE),
    ],
)
@pytest.mark.parametrize("version", [None, "", "main", "v1", "v1.2", "latest", "v1.2.3+meta"])
def test_without_a_version(text, expected, version):
    """A list, a branch or a part of a version is excluded only where no rule lets any version through."""
    assert action(text, "a.b/c/d", version) is expected


@pytest.mark.parametrize(
    "line, words",
    [
        ("some_random_line", ['"some_random_line"', "+, - or D"]),
        ("d github.com/x", ['"d"', "+, - or D"]),
        ("+github.com/x", ['"+github.com/x"', "a blank"]),
        ("- github.com/x v1, v2", ["three fields", "commas"]),
        ("- github.com/x v1,", ['""', "v1.2.3"]),
        ("- github.com/x ,", ['""', "v1.2.3"]),
        ("- github.com/x main", ['"main"', "v1.2.3"]),
        ("- github.com/x v1.2.3.4", ['"v1.2.3.4"', "v1.2.3"]),
        ("- github.com/x v1.2.3.*", ['"v1.2.3.*"', "v1.2.3"]),
        ("- github.com/x v01", ['"v01"', "v1.2.3"]),
        ("- github.com/x >v1.2.3", ['">v1.2.3"', "<v1.2.3"]),
        ("- github.com/x ~v1.2", ['"~v1.2"', "~v1.2.3"]),
        ("- github.com/x <=v1.2.*", ['"<=v1.2.*"', "<=v1.2.3"]),
        ("- github.com/x/*", ['"github.com/x/*"', "invalid char '*'", "below it"]),
        ("- GitHub.com/x", ['"GitHub.com/x"', "invalid char 'G'", "go.mod"]),
        ("- github.com/!azure", ['"github.com/!azure"', "go.mod"]),
        ("- github.com//x", ['"github.com//x"', "double slash"]),
        ("- golang", ['"golang"', "missing dot"]),
        ("- x.y/\u00e9", ["\\u00e9", "go.mod"]),
    ],
)
def test_a_bad_line_is_named(line, words):
    """What could never do anything is an error, which names the line, what is wrong and what would be right."""
    [problem] = problems(f"+\n\n{line}\n")
    assert problem.startswith("filter.conf:3: ")
    assert [word for word in words if word not in problem] == []


def test_all_problems_are_told():
    """Each on a line of its own."""
    assert [line.partition(": ")[0] for line in problems("x\n+\n- a.b ~v1\n- a")] == [
        "filter.conf:1",
        "filter.conf:3",
        "filter.conf:4",
    ]


def test_the_sample():
    """The sample in etc/ does what its comments say."""
    text = SAMPLE.read_text()
    expected = {
        ("rsc.io/quote", "v1.0.0"): INCLUDE,
        ("github.com/Azure/go-autorest", "v1.0.0"): EXCLUDE,
        ("github.com/Azure/azure-sdk-for-go/sdk/azcore", "v1.0.0"): INCLUDE,
        ("golang.org/x/tools/gopls", None): DIRECT,
        ("github.com/gomods/athens", "v0.4.1"): INCLUDE,
        ("github.com/gomods/athens", "v0.4.10"): EXCLUDE,
        ("github.com/gomods/athens", None): INCLUDE,
        ("example.com/parser", "v1.2.2"): EXCLUDE,
        ("example.com/parser", "v1.2.3"): INCLUDE,
        ("example.com/parser", "v1.4.7"): EXCLUDE,
    }
    assert {asked: action(text, *asked) for asked in expected} == expected


def test_many_rules_cost_no_more_than_few():
    """Each of 10,000 rules is found, and so often as there are that takes far less than a second."""
    text = "".join(f"- github.com/org{number}/repo v1\n" for number in range(10_000))
    rules = parse_filter(text, "f")
    started = time.process_time()
    found = [rules.verdict(f"github.com/org{number}/repo/sub", "v1.2.3").action for number in range(10_000)]
    assert time.process_time() - started < 1
    assert set(found) == {EXCLUDE}


def test_a_long_path_costs_little():
    """A path of a stranger's choice is looked at no further than there are rules."""
    rules = parse_filter("- x.y/a/a", "f")
    path = "x.y" + "/a" * 20_000
    started = time.process_time()
    assert {rules.verdict(path, None).action for _ in range(20)} == {EXCLUDE}
    assert time.process_time() - started < 1


ELEMENTS = st.sampled_from(["a", "b", "A", "v2"])
PATHS = st.lists(ELEMENTS, max_size=3).map(lambda elements: "/".join(["x.y", *elements]))
PARTS = st.sampled_from(["v1", "v1.2", "v2", "v0"])
RULES = st.tuples(st.sampled_from("+-D"), PATHS | st.just("/"), st.lists(PARTS, max_size=2, unique=True))
VERSIONS = st.sampled_from(["v0.0.1", "v1.0.0", "v1.2.0", "v1.2.9-rc.1", "v2.3.4+incompatible", "v3.0.0"])


@given(st.lists(RULES, max_size=8), PATHS, VERSIONS)
def test_the_tree_finds_what_a_search_finds(rules, path, version):
    """The verdict is that of all lines gone through one by one."""
    best = (0, 0, INCLUDE)
    for number, (sign, beginning, parts) in enumerate(rules, 1):
        beginning = beginning.strip("/")
        fits = not beginning or f"{path}/".startswith(f"{beginning}/")
        if fits and (not parts or any(version.startswith(f"{part}.") for part in parts)):
            best = max(best, (len(beginning), number, Action(sign)), key=lambda each: each[:2])
    text = "\n".join(f"{sign} {beginning} {','.join(parts)}" for sign, beginning, parts in rules)
    verdict = parse_filter(text, "f").verdict(path, version)
    assert verdict.action is best[2]
    assert verdict.rule.endswith(f"(line {best[1]})" if best[1] else "")


@given(st.lists(RULES, max_size=8), PATHS)
def test_a_module_is_not_excluded_while_a_version_is_not(rules, path):
    """Whatever version is let through, the list that could show it is too."""
    text = "\n".join(f"{sign} {beginning} {','.join(parts)}" for sign, beginning, parts in rules)
    parsed = parse_filter(text, "f")
    versions = ["v0.0.1", "v1.0.0", "v1.2.0", "v2.0.0", "v3.0.0"]
    if {parsed.verdict(path, version).action for version in versions} != {EXCLUDE}:
        assert parsed.verdict(path, None).action is not EXCLUDE


NOISE = st.text(st.sampled_from("+-D #/.,*~^<=v012ax\t\n\r\u2028\u00e9\ud800\"'"), max_size=40)


@given(NOISE | st.text(), st.text(), st.none() | st.text())
def test_any_text_is_read_or_refused(text, path, version):
    """A file is a filter with a verdict on anything, or a ValueError whose every line names a line of it."""
    try:
        parsed = parse_filter(text, "f")
    except ValueError as error:
        lines = str(error).split("\n")
        assert all(line.startswith("f:") and 1 <= int(line.split(":")[1]) <= text.count("\n") + 1 for line in lines)
        assert str(error).isascii()
    else:
        assert parsed.verdict(path, version).action in Action


@given(st.from_regex(r"(~|\^|<|<=|)v?[0-9.]{1,6}(-rc\.?[0-9]?)?\*?", fullmatch=True))
def test_no_qualifier_is_taken_that_stands_for_nothing(qualifier):
    """What is accepted is for at least one version: its own, or what begins like it."""
    try:
        parse_filter(f"- x.y/m {qualifier}", "f")
    except ValueError:
        return
    bound = f"v{qualifier.strip('~^<=*v').removesuffix('.')}"
    near = [f"{bound}{more}" for more in ("", ".0", ".0.0", "0", "-0")] + ["v0.0.0-0"]
    assert any(covers(qualifier, version) for version in near if is_valid(version))


def test_whether_there_is_any_rule():
    """Comments alone are none; a rule for everything and one for a path each are."""
    assert not Filter()
    assert not parse_filter("# - example.com\n\n", "f")
    assert parse_filter("-", "f")
    assert parse_filter("+ example.com", "f")
