"""The index of parked polls: an event finds those that may want it by its type and its fields, not by looking at all.

A poll lies under every (type, field, text) of which a wanted event must have one (`Selection.index_keys`); polls that
cannot be filed so finely lie under their type alone. With 10,000 filtered polls parked, an event that one of them
wants is matched against one, not against 10,000.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from attrs import define, field

from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.fields import EventFields
from cco_sidecar.core.events.selection import Key

if TYPE_CHECKING:
    from cco_sidecar.core.events.waiting import Waiter


@define(eq=False)
class InterestIndex:
    """Parked polls by what they want, in the order they came."""

    _polls: "dict[Key, dict[Waiter, None]]" = field(factory=dict)
    _fields: dict[str | None, dict[str, int]] = field(
        factory=dict
    )  # by type: fields in use, and how many keys have them

    def add(self, waiter: "Waiter") -> None:
        """File a poll."""
        for key in waiter.keys:
            polls = self._polls.get(key)
            if polls is None:
                polls = self._polls[key] = {}
                self._count(key, 1)
            polls[waiter] = None

    def remove(self, waiter: "Waiter") -> None:
        """Take a poll out, if it is in."""
        for key in waiter.keys:
            polls = self._polls.get(key)
            if polls is None or waiter not in polls:
                continue
            del polls[waiter]
            if not polls:
                del self._polls[key]
                self._count(key, -1)

    def _count(self, key: Key, change: int) -> None:
        kind, name, _text = key
        if name is None:
            return
        names = self._fields.setdefault(kind, {})
        names[name] = names.get(name, 0) + change
        if not names[name]:
            del names[name]
        if not names:
            del self._fields[kind]

    def wanting(self, event: Event) -> "list[Waiter]":
        """Give the polls that want ``event``, in the order they came."""
        if not self._polls:
            return []
        fields: EventFields | None = None

        def fields_once() -> EventFields:
            nonlocal fields
            if fields is None:
                fields = event.fields()
            return fields

        found = [polls for key in self._keys_of(event, fields_once) if (polls := self._polls.get(key))]
        # Many poll with the same selection: it is asked once.
        verdicts: dict[str, bool] = {}
        wanting: list[Waiter] = []
        for polls in found:
            for waiter in polls:
                key = waiter.selection.key
                verdict = verdicts.get(key)
                if verdict is None:
                    verdict = verdicts[key] = waiter.selection.matches_fields(event, fields_once)
                if verdict:
                    wanting.append(waiter)
        return wanting if len(found) < 2 else sorted(dict.fromkeys(wanting), key=_number)

    def _keys_of(self, event: Event, fields: Callable[[], EventFields]) -> Iterator[Key]:
        for kind in (event.body.event_type, None):
            yield kind, None, None
            for name in self._fields.get(kind, ()):
                for text in fields().texts(name):
                    yield kind, name, text


def _number(waiter: "Waiter") -> int:
    return waiter.number
