"""Fields of events, as filters and indexes name them (contract section 5).

- A field without a prefix is searched in the data first; only if the data has nothing there, in the envelope. So
  ``publisher:sidecar`` believes data that says so; ``event.publisher:sidecar`` does not.
- ``a.b`` is the key ``b`` inside ``a``, and also the key ``"a.b"``: a key with dots is found as the end of a path.
- Arrays are looked into wherever they stand: ``items.name`` finds ``x`` in ``{"items": [{"name": "x"}]}``.
- ``data`` (if the data has no such key) and ``event.data`` are the whole data, so that data need not be an object.
- Numbers are written as Python's ``json`` writes them: ``200``, ``1.0``, ``100.0`` for ``1e2``, ``1e+16``.
- ``null`` is a value like others; an object has no text, and only ``field:*``, "whatever it is", matches it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from attrs import define, field

ENVELOPE_FIELDS = frozenset({
    *("event_id", "sequence", "event_type", "topic", "publisher", "agent_type", "project_id", "issue_id", "data"),
    *("correlation_id", "references", "priority", "ttl_seconds", "timestamp", "replayed_from"),
    "extensions",
})  # fmt: skip
"""What ``event.`` can name."""

_Steps = tuple[tuple[str, str], ...]


def text_of(value: object) -> str | None:
    """Write a JSON value that is neither array nor object as the text that filters compare; None if it has none."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (int, float)):
        return None
    try:
        return repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits, and no filter is as long
        return None


def _steps(path: str) -> _Steps:
    keys = path.split(".")
    return tuple((key, ".".join(keys[depth:])) for depth, key in enumerate(keys))


@lru_cache(maxsize=4096)
def _ways(name: str) -> tuple[_Steps | None, _Steps | None]:
    """Give the way of a field into the data and the one into the envelope."""
    scope, _dot, path = name.partition(".")
    if scope == "data" and path:
        return _steps(path), None
    if scope == "event" and path:
        return None, _steps(path)
    return _steps(name), _steps(name)


def _elements(values: Sequence[object]) -> Iterator[object]:
    """Give the values, with the elements of arrays (at any depth) in place of the arrays."""
    pending = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple)):
            pending.extend(value)
        else:
            yield value


def _descend(root: object, steps: _Steps) -> list[object]:
    """Give what lies at the end of the path; every node is visited once at most, so this is linear in the event."""
    level, ends = [root], []
    for key, rest in steps:
        below: list[object] = []
        for node in _elements(level):
            if not isinstance(node, dict):
                continue
            if key in node:
                below.append(node[key])
            if rest != key and rest in node:
                ends.append(node[rest])
        level = below
        if not level:
            break
    return ends + level


@define(eq=False)
class EventFields:
    """What the fields of one event hold; every filter and every index over events looks values up here.

    Each field is looked up once, so make one per event and ask it for all filters. ``data`` is as a JSON decoder
    gives it (dict, list, str, int, float, bool, None).
    """

    _envelope: Mapping[str, object]
    _data: object
    _values: dict[str, tuple[object, ...]] = field(factory=dict, init=False)
    _texts: dict[str, frozenset[str]] = field(factory=dict, init=False)

    def values(self, name: str) -> tuple[object, ...]:
        """Give all values of a field, those of arrays one by one; none if it is missing."""
        known = self._values.get(name)
        if known is None:
            known = self._values[name] = tuple(_elements(self._looked_up(name)))
        return known

    def texts(self, name: str) -> frozenset[str]:
        """Give the values of a field as the texts that ``field:text`` matches."""
        known = self._texts.get(name)
        if known is None:
            texts = (text_of(value) for value in self.values(name))
            known = self._texts[name] = frozenset(text for text in texts if text is not None)
        return known

    def _looked_up(self, name: str) -> list[object]:
        in_data, in_envelope = _ways(name)
        found = _descend(self._data, in_data) if in_data else []
        if found or not in_envelope:
            return found
        (first, _rest), *others = in_envelope
        if first == "data":
            return _descend(self._data, tuple(others))
        return _descend(self._envelope[first], tuple(others)) if first in self._envelope else []
