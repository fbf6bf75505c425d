"""JSON as a person wrote it: what is changed means what it should, and the rest is the same to the byte."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cco_sidecar.repository import jsontext
from cco_sidecar.repository.jsontext import NotJson
from cco_sidecar.repository.settings import Reach, drop_server, drop_settings, put_server, put_settings

COMMENTED = """\
// mine
{
    "a": 1, // one
    "list": [
        "x", /* last */
    ],
    /* empty */ "e": {},
    "deep": {"b": [1, 2]} // end
}
"""


def plain(text: str) -> Any:
    """Read it as any reader of JSON with comments does."""
    return jsontext.parse(text).value


def test_put_keeps_every_other_byte() -> None:
    """A member is added behind the others, and comments stay where they are."""
    text = jsontext.put(COMMENTED, ["new", "one"], {"k": [True, None]})
    assert plain(text) == {**plain(COMMENTED), "new": {"one": {"k": [True, None]}}}
    head = COMMENTED.replace('"deep": {"b": [1, 2]} //', '"deep": {"b": [1, 2]}, //')[: -len("\n}\n")]
    assert text.startswith(head)
    assert jsontext.drop(text, ["new", "one"]) == COMMENTED


def test_put_into_an_inline_object() -> None:
    """What stands in one line stays in one line."""
    text = jsontext.put(COMMENTED, ["deep", "c"], "d")
    assert '"deep": {"b": [1, 2], "c": "d"} // end' in text


def test_put_the_same() -> None:
    """What means the same already is left as it is written."""
    assert jsontext.put(COMMENTED, ["deep"], {"b": [1, 2]}) == COMMENTED


def test_put_replaces() -> None:
    """A value is replaced where it stands."""
    assert '"a": "two", // one' in jsontext.put(COMMENTED, ["a"], "two")


def test_append_to_a_list_with_a_comma_at_its_end() -> None:
    """The new item ends as the others do."""
    text = jsontext.append(COMMENTED, ["list"], "y")
    assert plain(text)["list"] == ["x", "y"]
    assert "/* last */" in text
    assert jsontext.drop(text, ["list", 1]) == COMMENTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "line 1, column 2: a value is needed here"),
        ('{"a" 1}', "line 1, column 6: ':' is needed here"),
        ("{\n  a: 1}", "line 2, column 3: a name in double quotes is needed here"),
        ('{"a": 1 "b": 2}', "line 1, column 9: ',' or '}' is needed here"),
        ('{"a": yes}', "line 1, column 7: yes is no value"),
        ("{} x", "line 1, column 4: nothing may follow here"),
        ("[" * 100, "line 1, column 66: more than 64 levels"),
        ('{"a": {"b": 1', "line 1, column 14: ',' or '}' is needed here"),
    ],
)
def test_what_is_no_json(text: str, message: str) -> None:
    """It is refused with the place."""
    with pytest.raises(NotJson, match=f"^{re.escape(message)}$"):
        jsontext.put(text, ["x"], 1)


def test_a_path_through_something_else() -> None:
    """A member of what is no object is refused; so is an item of what is no array."""
    with pytest.raises(NotJson, match=r"an object is needed here, for b\.c"):
        jsontext.put('{"a": 1}', ["a", "b", "c"], 1)
    with pytest.raises(NotJson, match="a must be an array"):
        jsontext.append('{"a": {}}', ["a"], 1)


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
NAMES = st.sampled_from(["a", "b", "c", "ours", 'q"\\'])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
INDENTS = st.sampled_from([None, 1, 2, 4, "\t"])


@given(OBJECTS, INDENTS, st.lists(NAMES, min_size=1, max_size=3), VALUES)
def test_put_means_what_it_should(whole: dict[str, Any], indent: Any, path: list[str], value: Any) -> None:
    """Of all JSON, however it is indented: the value is there, and nothing else means anything else."""
    text = json.dumps(whole, indent=indent)
    try:
        changed = jsontext.put(text, path, value)
    except NotJson:
        return  # the path leads through something that is no object
    expected = json.loads(text)
    inner = expected
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    assert json.loads(changed) == expected
    assert jsontext.put(changed, path, value) == changed


@given(OBJECTS, INDENTS, VALUES, st.booleans())
def test_put_and_drop_leave_no_trace(whole: dict[str, Any], indent: Any, value: Any, comments: bool) -> None:
    """What was added can be taken out to the byte, also from a text with comments."""
    whole = {"mine": 1, **{name: inner for name, inner in whole.items() if name != "ours"}}
    text = json.dumps(whole, indent=indent)
    if comments and indent is not None:
        text = "// first\n" + re.sub(r"\n(?=\s*\})", " // here\n", text) + "\n/* last */\n"
    changed = jsontext.put(text, ["ours", "deep"], value)
    assert plain(changed) == {**plain(text), "ours": {"deep": value}}
    assert jsontext.drop(changed, ["ours", "deep"]) == text


@given(st.lists(SCALARS, max_size=4), INDENTS, st.data())
def test_drop_an_item(items: list[Any], indent: Any, data: st.DataObject) -> None:
    """Any item of an array can be dropped."""
    text = json.dumps({"mine": 1, "list": items}, indent=indent)
    if not items:
        return
    index = data.draw(st.integers(0, len(items) - 1))
    left = items[:index] + items[index + 1 :]
    assert json.loads(jsontext.drop(text, ["list", index])) == {"mine": 1, **({"list": left} if left else {})}


BLANKS = st.sampled_from(["", "", " ", "\n", "\n  ", "\t", " // c\n", "/* c */", " /* c\n*/ ", "\n// {\n"])
OTHERS: st.SearchStrategy[Any] = st.sampled_from(
    ["mine", 1.5, None, [], {}, [{}], {"a": []}, {"type": "command", "command": "make lint"}, "{}", "// no"]
)
GROUPS = st.lists(st.fixed_dictionaries({"hooks": st.lists(OTHERS, max_size=2)}), max_size=2)
HOOKS = st.dictionaries(st.sampled_from(["Stop", "SessionStart", "Notification"]), GROUPS, max_size=3)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "env": OTHERS,
        "hooks": HOOKS,
        "permissions": st.fixed_dictionaries({}, optional={"allow": st.lists(OTHERS, max_size=2), "deny": OTHERS}),
        "enabledMcpjsonServers": st.lists(OTHERS, max_size=2),
        "mcpServers": st.dictionaries(st.sampled_from(["a", "b"]), OTHERS, max_size=2),
    },
)
REACH = Reach("/opt/cco", "http://127.0.0.1:3001")


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """Write a value as a person might, with comments anywhere and commas at the end."""
    if not isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, dict):
        parts = [json.dumps(key) + draw(BLANKS) + ":" + draw(BLANKS) + draw(written(it)) for key, it in value.items()]
    else:
        parts = [draw(written(it)) for it in value]
    inner = ",".join(draw(BLANKS) + part + draw(BLANKS) for part in parts) or draw(BLANKS)
    if parts and draw(BLANKS) == " ":
        inner += "," + draw(BLANKS)
    return "{" + inner + "}" if isinstance(value, dict) else "[" + inner + "]"


@given(SETTINGS.flatmap(written), BLANKS, BLANKS, st.booleans())
@settings(max_examples=60, deadline=None)
@example('{"hooks": {}, "permissions": {"allow": []}, "mcpServers": {}}', "", "\n", True)
@example("{}", "", "", True)
def test_init_and_its_removal_leave_no_trace(whole: str, before: str, behind: str, again: bool) -> None:
    """Whatever was there, and however it was written: after init and `--remove` it is there again to the byte."""
    text = before + whole + behind
    for put, drop in ((put_server, drop_server), (put_settings, drop_settings)):
        changed = put(text, REACH)
        assert changed != text
        if again:
            assert put(changed, REACH) == changed
            moved = Reach("/usr/bin/cco", "http://127.0.0.1:4000")
            changed = put(put(changed, moved), REACH)
        assert drop(changed) == text
        assert drop(text) == text


def test_a_file_of_ours_goes() -> None:
    """What init made is nothing afterwards, and what it did not make stays, however empty."""
    for put, drop in ((put_server, drop_server), (put_settings, drop_settings)):
        made = put("", REACH)
        assert " \n" not in made
        assert drop(made) == ""
        assert drop("{}") == "{}"
        assert drop("") == ""


def test_a_word_of_a_person_beside_ours() -> None:
    """A comment or a member that was added to what had been empty stays."""
    text = put_server('{"mcpServers": {}}', REACH)
    assert drop_server(text.replace("  }\n", "  } // mine\n")).count("// mine") == 1
    other = jsontext.put(text, ["mcpServers", "other"], 1)
    assert plain(drop_server(other)) == {"mcpServers": {"other": 1}}
