"""JSON as a person wrote it, with comments and commas at the end: changed in places, untouched everywhere else.

What is added can be taken out again to the byte. An object or array that was there before, and empty, has a blank at
the end of the line that it begins with while it holds something of ours (`_WAS_EMPTY`): so it is told from one that was
made for it, and stays.
"""

import json
import re
from collections.abc import Sequence

from attrs import frozen

MOST_DEPTH = 64
Path = Sequence[str | int]

_BLANK = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"[-+.\w]+")
_WAS_EMPTY = re.compile(r"(.*) \n[ \t]*", re.DOTALL)


class NotJson(ValueError):
    """The text is not JSON; the message has the line and column."""


@frozen
class Member:
    """One of an object's members, or of an array's items; ``start`` is that of its key where it has one."""

    key: str | int
    start: int
    node: "Node"


@frozen
class Node:
    """A value and where it stands; ``value`` is what it means, ``members`` are those of an object or array."""

    start: int
    end: int
    value: object
    members: tuple[Member, ...] = ()

    def child(self, key: str | int) -> Member | None:
        """Give a member; of several by one name the last, as every reader does."""
        found = [member for member in self.members if member.key == key]
        return found[-1] if found else None


def parse(text: str) -> Node:
    """Read a text.

    :raises NotJson: it is none.
    """
    at = _skip(text, 0)
    root = _value(text, at, 0)
    end = _skip(text, root.end)
    if end != len(text):
        raise _wrong(text, end, "nothing may follow here")
    return root


def get(text: str, path: Path) -> Node | None:
    """Give what stands at ``path``; None when there is nothing, as in an empty text."""
    if not text:
        return None
    node = parse(text)
    for key in path:
        member = node.child(key)
        if member is None:
            return None
        node = member.node
    return node


def put(text: str, path: Path, value: object) -> str:
    """Give the text with ``value`` at ``path``: replaced there, or added behind its siblings.

    What already means the same stays as it is. Objects that the path needs and that are not there are made; so is all
    of a text that is empty.

    :raises NotJson: the text is none, or something on the path is no object.
    """
    if not text:
        for key in reversed(path):
            value = {key: value}
        return _rendered(value, "", "  ") + "\n"
    node = parse(text)
    for depth, key in enumerate(path):
        if not isinstance(node.value, dict if isinstance(key, str) else list):
            raise _wrong(text, node.start, f"an object is needed here, for {'.'.join(map(str, path[depth:]))}")
        member = node.child(key)
        if member is None:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _added(text, node, key, value)
        node = member.node
    if _same(node.value, value):
        return text
    return text[: node.start] + _rendered(value, _indent_at(text, node.start), _unit(text)) + text[node.end :]


def append(text: str, path: Path, value: object) -> str:
    """Give the text with ``value`` behind the items of the array at ``path``, which is made if it is not there.

    :raises NotJson: the text is none, or there is something else than an array.
    """
    node = get(text, path)
    if node is None:
        return put(text, path, [value])
    if not isinstance(node.value, list):
        raise _wrong(text, node.start, f"{'.'.join(map(str, path))} must be an array")
    return _added(text, node, len(node.members), value)


def drop(text: str, path: Path) -> str:
    """Give the text without what stands at ``path`` and what was made for it; empty if nothing else is left."""
    while path:
        holder = get(text, path[:-1])
        member = None if holder is None else holder.child(path[-1])
        if holder is None or member is None:
            return text
        before = _before_first(text, holder)
        is_alone = len(holder.members) == 1 and not text[member.node.end : holder.end - 1].strip(" \t\r\n,")
        if is_alone and before is not None:
            return text[: holder.start + 1] + before + text[holder.end - 1 :]
        text = _without(text, holder, member)
        path = path[:-1]
        left = get(text, path)
        assert left is not None
        if left.members or text[left.start + 1 : left.end - 1].strip():
            return text
    return "" if text.strip() == "{}" else text


def _same(one: object, other: object) -> bool:
    """Compare as JSON: True is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# Reading


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _wrong(text: str, at: int, reason: str) -> NotJson:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return NotJson(f"line {line}, column {column}: {reason}")


def _value(text: str, at: int, depth: int) -> Node:
    if depth > MOST_DEPTH:
        raise _wrong(text, at, f"more than {MOST_DEPTH} levels")
    first = text[at : at + 1]
    if first == "{":
        return _holder(text, at, depth, "}")
    if first == "[":
        return _holder(text, at, depth, "]")
    found = (_STRING if first == '"' else _WORD).match(text, at)
    if found is None:
        raise _wrong(text, at, "a value is needed here")
    try:
        return Node(at, found.end(), json.loads(found[0]))
    except ValueError:
        raise _wrong(text, at, f"{found[0][:40]} is no value") from None


def _holder(text: str, start: int, depth: int, closing: str) -> Node:
    members: list[Member] = []
    at = _skip(text, start + 1)
    while text[at : at + 1] != closing:
        member = _member(text, at, depth) if closing == "}" else None
        if member is None:
            member = Member(len(members), at, _value(text, at, depth + 1))
        members.append(member)
        at = _skip(text, member.node.end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != closing:
            raise _wrong(text, at, f"',' or '{closing}' is needed here")
    value: object = [member.node.value for member in members]
    if closing == "}":
        value = {member.key: member.node.value for member in members}
    return Node(start, at + 1, value, tuple(members))


def _member(text: str, at: int, depth: int) -> Member:
    found = _STRING.match(text, at)
    if found is None:
        raise _wrong(text, at, "a name in double quotes is needed here")
    colon = _skip(text, found.end())
    if text[colon : colon + 1] != ":":
        raise _wrong(text, colon, "':' is needed here")
    return Member(str(json.loads(found[0])), at, _value(text, _skip(text, colon + 1), depth + 1))


# Writing


def _indent_at(text: str, at: int) -> str:
    """Give the blanks that the line begins with on which ``at`` stands."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """Give what one level is indented by, as the text has it."""
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return found[1] if found else "  "


def _rendered(value: object, indent: str, unit: str) -> str:
    plain = json.dumps(value, indent=unit, ensure_ascii=False)
    return plain.replace("\n", "\n" + indent)


def _added(text: str, holder: Node, key: str | int, value: object) -> str:
    closing = holder.end - 1
    if not holder.members:
        return _filled(text, holder, key, value)
    at = len(text[:closing].rstrip())
    is_inline = "\n" not in text[holder.start : holder.members[0].start] + text[at:closing]
    unit = _unit(text)
    if is_inline:
        new = " " + _name(key) + json.dumps(value, ensure_ascii=False)
    else:
        inner = _indent_at(text, holder.members[0].start)
        new = "\n" + inner + _name(key) + _rendered(value, inner, unit)
    head = text[:at]
    last = holder.members[-1].node.end
    comma = _skip(text, last)
    if text[comma] == ",":
        new += ","
    else:
        head = text[:last] + "," + text[last:at]
    return head + new + text[at:]


def _filled(text: str, holder: Node, key: str | int, value: object) -> str:
    """Give the text with the first that an empty holder holds; see `_WAS_EMPTY`."""
    closing = holder.end - 1
    indent, unit = _indent_at(text, holder.start), _unit(text)
    inner = indent + unit
    new = f" \n{inner}{_name(key)}{_rendered(value, inner, unit)}\n{indent}"
    return text[:closing] + new + text[closing:]


def _before_first(text: str, holder: Node) -> str | None:
    """Give what stood in a holder that was empty before something of ours came; None if it was not, or not there."""
    found = _WAS_EMPTY.fullmatch(text, holder.start + 1, holder.members[0].start)
    return found[1] if found else None


def _name(key: str | int) -> str:
    return "" if isinstance(key, int) else json.dumps(key, ensure_ascii=False) + ": "


def _without(text: str, holder: Node, member: Member) -> str:
    before = len(text[: member.start].rstrip())
    was = _before_first(text, holder)
    if was is not None and member is holder.members[0]:
        before = holder.start + 1 + len(was) + 1
    after = _skip(text, member.node.end)
    if text[after] == ",":
        text = text[:before] + text[after + 1 :]
    else:
        text = text[:before] + text[member.node.end :]
        place = holder.members.index(member)
        if place:
            comma = _skip(text, holder.members[place - 1].node.end)
            text = text[:comma] + text[comma + 1 :]
    return _closed(text, holder.start)


def _closed(text: str, start: int) -> str:
    """Draw the brackets together that hold nothing any more."""
    end = start + 1
    while text[end : end + 1].isspace():
        end += 1
    return text[: start + 1] + text[end:] if text[end : end + 1] in {"}", "]"} else text
