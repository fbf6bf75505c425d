"""The filter language of events: every sentence of contract section 5, every refusal, and the properties of both."""

import re
from collections.abc import Mapping
from typing import Any, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.filter_parser import MAX_DEPTH, MAX_KEYS, MAX_TERMS, parse_filter
from cco_sidecar.core.events.filters import glob_matches, quoted
from cco_sidecar.errors import InvalidFilter

ENVELOPE: dict[str, object] = {
    "event_id": "evt-1",
    "sequence": 7,
    "event_type": "agent_completed",
    "topic": "implementation",
    "publisher": "agent-1",
    "agent_type": "python-specialist",
    "project_id": "demo",
    "issue_id": "issue-123",
    "correlation_id": None,
    "references": ["evt-0", "evt-9"],
    "priority": "high",
    "ttl_seconds": 86400,
    "timestamp": "2026-01-02T03:04:05.678Z",
}

DATA: dict[str, object] = {
    "status": "done",
    "title": "fix the build",
    "path": 'C:\\x "y"',
    "stars": "a*b",
    "topic": "from-data",
    "ok": True,
    "nothing": None,
    "code": 200,
    "one": 1.0,
    "big": 10**30,
    "huge": 10**5000,
    "metrics": {"coverage": 91.5, "runs": [70, 80], "data": {"deep": "yes"}},
    "tags": ["red", ["green", 3, None]],
    "none": [],
    "items": [{"name": "x", "size": 1}, {"name": "y"}, "z", [{"name": "w"}]],
    "literal.key": {"inner": 1, "in.ner": "dotted"},
    "event": {"topic": "nested"},
    "url": "http://host/a:1",
    "ключ": "значение",
}


def says(filter_text: str, data: object = DATA, envelope: Mapping[str, object] = ENVELOPE) -> bool:
    return parse_filter(filter_text).matches(envelope, data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # field:value, as text, case-sensitive, whole
        ("status:done", True),
        ("status:Done", False),
        ("status:don", False),
        ("Status:done", False),
        ("ключ:значение", True),
        ("url:http://host/a:1", True),
        # `,` is and, `|` is or, `,` binds tighter
        ("status:done,code:200", True),
        ("status:done,code:201", False),
        ("status:open|code:200", True),
        ("status:open|code:201", False),
        ("status:done|code:201,ok:false", True),
        ("code:201,ok:false|status:done", True),
        ("(status:done|code:201),ok:false", False),
        # ! negates a term or a parenthesis
        ("!status:done", False),
        ("!status:open,code:200", True),
        ("!(status:done,code:201)", True),
        ("!(status:open|code:200)", False),
        ("!!status:done", True),
        ("!(!(status:done))", True),
        ("! ! !status:done", False),
        # * is any run of characters, also none
        ("status:d*e", True),
        ("status:*done*", True),
        ("status:d*x", False),
        ("status:do*one", False),
        ("title:fix*build", True),
        ("code:2*", True),
        ("nothing:nu*", True),
        ("status:**", True),
        # quotes: spaces, escapes, and * is itself
        ('title:"fix the build"', True),
        (r'path:"C:\\x \"y\""', True),
        ('stars:"a*b"', True),
        ('title:"fix*build"', False),
        ('status:"done"', True),
        # comparisons of JSON numbers only
        ("metrics.coverage:>90", True),
        ("metrics.coverage:>=91.5", True),
        ("metrics.coverage:>91.5", False),
        ("metrics.coverage:<91.5", False),
        ("metrics.coverage:<=9.15e1", True),
        ("metrics.coverage:>-1", True),
        ("status:>0", False),
        ("ok:>0", False),
        ("ok:>=1", False),
        ("nothing:<=0", False),
        ("big:>999999999999999999999999999999", True),
        ("big:<=1000000000000000000000000000000", True),
        ("big:>1000000000000000000000000000000", False),
        ("huge:>1e300", True),
        ("metrics:>0", False),
        ("sequence:>6", True),
        ("sequence:<7", False),
        ("timestamp:>0", False),
        # data first, else the envelope
        ("topic:from-data", True),
        ("topic:implementation", False),
        ("issue_id:issue-123", True),
        ("issue_id:issue-*", True),
        # data. and event. name one or the other
        ("event.topic:implementation", True),
        ("event.topic:nested", False),
        ("data.event.topic:nested", True),
        ("data.topic:from-data", True),
        ("data.issue_id:issue-123", False),
        ("event.status:done", None),
        ("event.data.status:done", True),
        ("data.metrics.data.deep:yes", True),
        # literals
        ("ok:true", True),
        ("ok:True", False),
        ("ok:1", False),
        ("nothing:null", True),
        ("correlation_id:null", True),
        ("code:200", True),
        ('code:"200"', True),
        ("code:200.0", False),
        ("one:1.0", True),
        ("one:1", False),
        ("big:1000000000000000000000000000000", True),
        # arrays: one element does, at any depth, also on the way
        ("tags:red", True),
        ("tags:green", True),
        ("tags:3", True),
        ("tags:null", True),
        ("tags:blue", False),
        ("!tags:red", False),
        ("tags:g*n", True),
        ("metrics.runs:>75", True),
        ("metrics.runs:>80", False),
        ("references:evt-9", True),
        ("items.name:y", True),
        ("items.name:w", True),
        ("items.name:z", False),
        ("items:z", True),
        ("items.size:>=1", True),
        ("items.name:x,items.name:y", True),
        # a missing field matches nothing, so its negation is true
        ("missing:*", False),
        ("missing:null", False),
        ("!missing:x", True),
        ("missing:<1", False),
        ("metrics.missing:*", False),
        ("status.deeper:*", False),
        ("none:*", False),
        ("!none:x", True),
        # keys with dots; objects
        ("literal.key.inner:1", False),
        ("literal.key:*", True),
        ("metrics:*", True),
        ("metrics:*c*", False),
        ("huge:*", True),
        ("huge:1*", False),
        # space around separators
        (" status : done , ( code : > 199 | ok : false ) ", True),
        ("\tstatus\n:\ndone", True),
    ],
)
def test_example(text: str, expected: bool | None) -> None:
    """Every sentence of the contract holds for an event (None: the filter itself is refused)."""
    if expected is None:
        with pytest.raises(InvalidFilter):
            parse_filter(text)
        return
    assert says(text) is expected


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("a.b:1", {"a.b": 1}, True),
        ("a.b:1", {"a.b": 2, "a": {"b": 1}}, True),
        ("x.a.b:1", {"x": {"a.b": 1}}, True),
        ("issue_id:issue-123", {"issue_id": "other"}, False),
        ("issue_id:issue-123", {"issue_id": None}, False),
        ("issue_id:issue-123", {"issue_id": []}, False),
        ("references:evt-0", [{"other": 1}], True),
        ("data:hello", "hello", True),
        ("data:>2", [1, 2, 3], True),
        ("event.data:3", [1, 2, 3], True),
        ("data:x", {"data": "x"}, True),
        ("data.x:1", {"data": {"x": 1}}, False),
        ("data.data.x:1", {"data": {"x": 1}}, True),
        ("name:x", [{"name": "x"}], True),
        ("name:x", None, False),
        ("a:100.0", {"a": 1e2}, True),
        ("a:1e+16", {"a": 1e16}, True),
        ("a:-0.0", {"a": -0.0}, True),
    ],
)
def test_lookup(text: str, data: object, expected: bool) -> None:
    """A field is found in data of every shape, and data that has it hides the envelope."""
    assert says(text, data) is expected


@pytest.mark.parametrize(
    ("text", "position", "suggestion"),
    [
        ("issue_id==issue-123", 8, "issue_id:issue-123"),
        ("issue_id=issue-123", 8, "issue_id:issue-123"),
        ("issue_id = issue-123", 9, "issue_id:issue-123"),
        ("a:==b", 2, "a:b"),
        ("a::b", 2, "a:b"),
        ("a!=b", 1, "!a:b"),
        ("x:y,a:!b", 6, "x:y,!a:b"),
        ("a<>b", 1, "!a:b"),
        ("a>90", 1, "a:>90"),
        ("a => 90", 2, "a:>=90"),
        ("a:=<90", 2, "a:<=90"),
        ("a=~b", 1, None),
        ("a~b", 1, None),
        ("a:>>5", 2, None),
        ("", 0, None),
        ("  ", 0, None),
        ("a", 1, None),
        ("a ", 2, None),
        (":b", 0, None),
        ("*:b", 0, None),
        ("a*:b", 1, None),
        ("items[0].name:x", 5, None),
        ("!", 1, None),
        ("a:", 2, None),
        ("a:,b:c", 2, None),
        ('a:""', 2, None),
        ("a:(b| c*)", 2, "a:b|a:c*"),
        ("x:y,a:(b|c)", 6, "x:y,(a:b|a:c)"),
        ("a:()", 2, None),
        ("a:b AND c:d", 4, "a:b,c:d"),
        ("a:b and not c:d or e:f", 4, "a:b,!c:d|e:f"),
        ("NOT a:b", 0, "!a:b"),
        ("not(a:b)", 0, "!a:b"),
        ("a:b && c:d", 4, "a:b,c:d"),
        ("a:b&&c:d", 3, "a:b,c:d"),
        ("a:b & c:d", 4, "a:b,c:d"),
        ("a:b;c:d", 3, "a:b,c:d"),
        ("a:b || c:d", 5, "a:b|c:d"),
        ("a:b c:d", 4, "a:b,c:d"),
        ("a:b !c:d", 4, "a:b,!c:d"),
        ('a:"b" c:d', 6, "a:b,c:d"),
        ('a:"b" c', 6, None),
        ("(a:b) c", 6, None),
        ("a:b (c:d|e:f)", 4, "a:b,(c:d|e:f)"),
        ("a:b,", 3, "a:b"),
        ("a:b | ", 4, "a:b"),
        ("(a:b,)", 4, "a:b"),
        (",a:b", 0, "a:b"),
        ("a:b,,c:d", 4, "a:b,c:d"),
        ("a:b,|c:d", 4, None),
        ("(a:b", 0, "a:b"),
        ("x:y,(a:b|c:d", 4, "x:y,(a:b|c:d)"),
        ("a:b)", 3, "a:b"),
        ("()", 1, None),
        ("a:hello world", 8, 'a:"hello world"'),
        ("a:hello world AND c:d", 8, 'a:"hello world",c:d'),
        ("a:rock and roll", 7, 'a:"rock and roll"'),
        ("a:see http://x", 6, 'a:"see http://x"'),
        ("a:hello w*", 8, None),
        ("a:f(x)", 3, 'a:"f(x)"'),
        ("a:x?b&c", 5, 'a:"x?b&c"'),
        ('a:b"c', 3, r'a:"b\"c"'),
        ("a:'b c'", 2, 'a:"b c"'),
        ("a:“b c”", 2, 'a:"b c"'),
        ("a:'b", 2, None),
        ('"a":"b"', 0, "a:b"),
        ('a:"b c', 2, 'a:"b c"'),
        ('a:"b,c:d', 2, None),
        ('a:"b\\', 2, None),
        (r'a:"b \n"', 5, r'a:"b \\n"'),
        (r"a:C:\x", 4, r'a:"C:\\x"'),
        (r"a:b\*c", 3, 'a:"b*c"'),
        (r"a:b\,c", 3, 'a:"b,c"'),
        (r"a:b\n*", 3, None),
        ("a:>", 3, None),
        ("a:>abc", 3, None),
        ("a:>nan", 3, None),
        ("a:>NaN", 3, None),
        ("a:<Infinity", 3, None),
        ("a:>inf", 3, None),
        ("a:>true", 3, None),
        ("a:>-", 3, None),
        ("a:>1e999", 3, None),
        ("a:>0x10", 3, None),
        ("a:>٣", 3, None),
        ("a:>090", 3, "a:>90"),
        ("a:>.5", 3, "a:>0.5"),
        ("a:>5.", 3, "a:>5"),
        ("a:>00", 3, "a:>0"),
        ("a:>+5e3", 3, "a:>5e3"),
        ("a:>1_000", 3, "a:>1000"),
        ("a:>90%", 3, "a:>90"),
        ('a:>"90"', 3, "a:>90"),
        ("a:>90 b:c", 6, "a:>90,b:c"),
        ("a..b:c", 2, "a.b:c"),
        (".a:b", 0, "a:b"),
        ("data.:c", 4, "data:c"),
        ("...:c", 0, None),
        ("event.type:x", 6, "event.event_type:x"),
        ("event.isue_id:x", 6, "event.issue_id:x"),
        ("event.zzz:x", 6, None),
        ("a==b && c == d || !e=f", 1, "a:b,c:d|!e:f"),
        ("a:\ud800", 2, None),
    ],
)
def test_slip(text: str, position: int, suggestion: str | None) -> None:
    """Every slip is refused with its place, and with the right spelling where there is one."""
    with pytest.raises(InvalidFilter) as refused:
        parse_filter(text)
    assert refused.value.code == "EVT_003"
    assert refused.value.details["position"] == position
    assert refused.value.details.get("suggestion") == suggestion
    assert ("suggestion" in refused.value.details) is (suggestion is not None)
    assert f"position {position}" in refused.value.message
    if suggestion is not None:
        assert suggestion in refused.value.message
        assert parse_filter(suggestion).text == suggestion


@pytest.mark.parametrize(
    ("fits", "exceeds", "position"),
    [
        ("a:" + "b" * 1022, "a:" + "b" * 1023, 1024),
        ("a:" + "é" * 511, "a:" + "é" * 512, 513),
        (",".join(["a:b"] * MAX_TERMS), ",".join(["a:b"] * (MAX_TERMS + 1)), 4 * MAX_TERMS),
        ("(" * MAX_DEPTH + "a:b" + ")" * MAX_DEPTH, "(" * 500 + "a:b" + ")" * 500, MAX_DEPTH),
        (".".join("a" * MAX_KEYS) + ":b", ".".join("a" * (MAX_KEYS + 1)) + ":b", 0),
    ],
)
def test_bounds(fits: str, exceeds: str, position: int) -> None:
    """Bytes, terms, depth and path each have a bound: the last that fits is taken, the first beyond is refused."""
    assert parse_filter(fits)
    with pytest.raises(InvalidFilter) as refused:
        parse_filter(exceeds)
    assert refused.value.details == {"position": position}


def test_many_groups() -> None:
    """Groups side by side are not nested."""
    assert parse_filter(",".join(["(a:b|c:d)"] * MAX_DEPTH))
    assert parse_filter("|".join(["(a:b)"] * MAX_TERMS))


def test_many_negations() -> None:
    """A long chain of negations does not nest."""
    assert says("!" * 1000 + "status:done")
    assert not says("!" * 1001 + "status:done")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" a : b , c : > 1 | ( d:e ) ", "a:b,c:>1|d:e"),
        ('a:"b",c:"d e"', 'a:b,c:"d e"'),
        ("a:b**c", "a:b*c"),
        ("((a:b,c:d),e:f)", "a:b,c:d,e:f"),
        ("!( a:b | c:d )", "!(a:b|c:d)"),
        ("!!a:b", "a:b"),
        ("!(!a:b)", "a:b"),
        ("!(!(a:b|c:d)),e:f", "(a:b|c:d),e:f"),
        ('a:"b*",a:">1",a:"!",a:"\'"', 'a:"b*",a:">1",a:"!",a:"\'"'),
    ],
)
def test_canonical(text: str, canonical: str) -> None:
    """Filters that differ in spelling only are one and the same key."""
    parsed = parse_filter(text)
    assert parsed.text == canonical
    assert parsed == parse_filter(canonical)
    assert hash(parsed) == hash(parse_filter(canonical))
    assert parsed != parse_filter("other:filter")


@pytest.mark.parametrize(
    ("text", "anchors"),
    [
        ("a:b", {("a", "b")}),
        ('a:"b*"', {("a", "b*")}),
        ("a:b*", None),
        ("a:>1", None),
        ("!a:b", None),
        ("a:b|c:d", {("a", "b"), ("c", "d")}),
        ("a:b|c:*", None),
        ("a:>1,c:d", {("c", "d")}),
        ("(a:b|c:d),e:f", {("e", "f")}),
        ("(a:b,x:>1)|c:d", {("a", "b"), ("c", "d")}),
    ],
)
def test_anchors(text: str, anchors: set[tuple[str, str]] | None) -> None:
    """The pairs that an index may hang a filter under are those of which one must be in the event."""
    assert parse_filter(text).anchors() == anchors


@given(st.text(st.characters()) | st.text("ab:,|!()*\"'\\ <>=&;.1-AND", max_size=60))
@settings(max_examples=1000)
def test_any_text(text: str) -> None:
    """Whatever the text is, it is a filter or refused; what comes back, canonical or suggested, is a filter."""
    try:
        parsed = parse_filter(text)
    except InvalidFilter as refused:
        position, suggestion = refused.details["position"], refused.details.get("suggestion")
        assert isinstance(position, int)
        assert 0 <= position <= len(text)
        if suggestion is not None:
            assert isinstance(suggestion, str)
            assert parse_filter(suggestion).text == suggestion
        return
    assert parse_filter(parsed.text).text == parsed.text
    assert len(parsed.text) <= len(text)


# A second reading of the contract, as simple as can be: trees are tuples, evaluated by recursion.

SCALARS: list[object] = ["a", "ab", "a*b", "", "true", "1", True, None, 0, 1, 1.0, 1.5, -2]
FIELDS = ["k", "k.l", "l.k", "data.k", "event.topic", "topic", "data", "k.l.k"]
VALUES = ["a", "ab", "a*b", "true", "1", "1.0", "null", "im", 'q"\\ (x)', ">1", "=", "'"]

trees = st.recursive(
    st.tuples(st.just("equals"), st.sampled_from(FIELDS), st.sampled_from(VALUES))
    | st.tuples(st.just("like"), st.sampled_from(FIELDS), st.sampled_from(["*", "a*", "*b", "a*b", "*a*", "1*", "t*e"]))
    | st.tuples(
        st.sampled_from([">", ">=", "<", "<="]),
        st.sampled_from(FIELDS),
        st.sampled_from(["0", "1", "1.0", "1e0", "-2"]),
    ),
    lambda inner: (
        st.tuples(st.just("not"), inner)
        | st.tuples(st.just("and"), st.lists(inner, min_size=1, max_size=3))
        | st.tuples(st.just("or"), st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=8,
)
json_values = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "l", "k.l", "topic", "data"]), inner)
    ),
    max_leaves=10,
)


def written(tree: Any, space: str) -> str:
    """Write a tree as a filter, with more parentheses than it takes."""
    kind, *rest = tree
    if kind == "not":
        return f"!{space}({space}{written(rest[0], space)})"
    if kind in ("and", "or"):
        separator = f"{space}{',' if kind == 'and' else '|'}{space}"
        return f"({separator.join(written(part, space) for part in rest[0])})"
    name, value = rest
    if kind == "equals":
        return f"{name}{space}:{space}{quoted(value)}"
    return f"{name}:{space}{'' if kind == 'like' else kind}{space}{value}"


def at_path(node: Any, keys: list[str]) -> list[Any]:
    if isinstance(node, list):
        return [found for element in node for found in at_path(element, keys)] if keys else [node]
    if not keys:
        return [node]
    if not isinstance(node, dict):
        return []
    whole = [node[".".join(keys)]] if len(keys) > 1 and ".".join(keys) in node else []
    return whole + (at_path(node[keys[0]], keys[1:]) if keys[0] in node else [])


def leaves(value: Any) -> list[Any]:
    return [leaf for element in value for leaf in leaves(element)] if isinstance(value, list) else [value]


def naive_values(name: str, envelope: dict[str, object], data: Any) -> list[Any]:
    scope, *keys = name.split(".")
    if scope == "data" and keys:
        found = at_path(data, keys)
    elif scope == "event" and keys:
        found = at_path({**envelope, "data": data}, keys)
    else:
        found = at_path(data, [scope, *keys]) or at_path({**envelope, "data": data}, [scope, *keys])
    return [leaf for value in found for leaf in leaves(value)]


def naive_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return {"True": "true", "False": "false", "None": "null"}.get(str(value), str(value))


def naive(tree: Any, envelope: dict[str, object], data: Any) -> bool:
    kind, *rest = tree
    if kind == "not":
        return not naive(rest[0], envelope, data)
    if kind in ("and", "or"):
        answers = [naive(part, envelope, data) for part in rest[0]]
        return all(answers) if kind == "and" else any(answers)
    name, wanted = rest
    values = naive_values(name, envelope, data)
    scalars = [value for value in values if not isinstance(value, dict)]
    if kind == "equals":
        return wanted in [naive_text(value) for value in scalars]
    if kind == "like":
        pattern = re.compile(".*".join(re.escape(piece) for piece in wanted.split("*")), re.DOTALL)
        return (wanted == "*" and bool(values)) or any(pattern.fullmatch(naive_text(value)) for value in scalars)
    numbers = [value for value in scalars if type(value) in (int, float)]
    limit = float(wanted)
    tests = {">": lambda n: n > limit, ">=": lambda n: n >= limit, "<": lambda n: n < limit, "<=": lambda n: n <= limit}
    return any(tests[kind](number) for number in numbers)


@given(trees, json_values, st.sampled_from(["", " ", "\n "]))
@settings(max_examples=1000)
def test_against_naive(tree: Any, data: Any, space: str) -> None:
    """A written tree parses back, however it is spaced, and matches what a naive reading of the contract matches."""
    envelope: dict[str, object] = {"topic": "im", "k": "a", "l": ["ab", {"k": 1}]}
    parsed = parse_filter(written(tree, space))
    assert parsed.text == parse_filter(written(tree, "")).text
    expected = naive(tree, envelope, data)
    assert parsed.matches(envelope, data) is expected
    assert parse_filter(parsed.text).matches(envelope, data) is expected
    anchors = parsed.anchors()
    if expected and anchors is not None:
        fields = EventFields(envelope, data)
        assert any(text in fields.texts(name) for name, text in anchors)


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=5), st.text("ab\n", max_size=12))
@settings(max_examples=500)
def test_glob_against_re(pieces: list[str], text: str) -> None:
    """Stars match as `.*` does."""
    pattern = re.compile(".*".join(re.escape(piece) for piece in pieces), re.DOTALL)
    assert glob_matches(pieces, text) is (pattern.fullmatch(text) is not None)


class SpiedText(str):
    """A text that notes where it is searched from."""

    searched: list[int]

    def find(self, sub: str, start: SupportsIndex | None = 0, end: SupportsIndex | None = None, /) -> int:
        self.searched.append(int(start or 0))
        return super().find(sub, start, end)


def test_hostile_glob() -> None:
    """`*a*a*…*b` looks for each piece once and never goes back, however long the text is."""
    text = SpiedText("a" * 100_000)
    text.searched = []
    assert not glob_matches(["", *["a"] * 400, "ba", ""], text)
    assert len(text.searched) == 401
    assert text.searched == list(range(401))


class SpiedObject(dict[str, object]):
    """A JSON object that counts how often it is asked for a key."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_hostile_path() -> None:
    """A path that could go many ways through an event visits each object once."""
    objects = []
    node: object = 1
    for depth in range(MAX_KEYS):
        node = SpiedObject({"a": [node], ".".join("a" * (depth + 1)): [node, []], "b": 2})
        objects.append(node)
    assert says(".".join("a" * MAX_KEYS) + ":1", node, {})
    assert all(1 <= spied.asked <= 2 for spied in objects)


def test_deep_data() -> None:
    """Data nested deeper than Python recurses is searched all the same."""
    data: object = "x"
    for _ in range(5000):
        data = [data]
    assert says("a:x", {"a": data})


def test_fields_shared() -> None:
    """Filters that look at one event share what was looked up, and an index sees the same texts."""
    data = SpiedObject({"a": ["x", 1, {"b": 2}]})
    fields = EventFields({}, data)
    assert parse_filter("a:x").matches_fields(fields)
    assert parse_filter("a:>0,a:1,!a:y").matches_fields(fields)
    assert fields.texts("a") == {"x", "1"}
    assert data.asked == 1
