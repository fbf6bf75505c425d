"""How many requests to receivers may be open at once, in all projects together."""

from collections.abc import Callable, Hashable

from attrs import define, field

MOST_REQUESTS = 128
"""Some thirty busy webhooks; receivers that fail have one request each, and so cannot crowd the others out."""


@define(eq=False)
class SendRoom:
    """Places for requests; who finds none is called when there is one, in the order of asking."""

    _most: int = MOST_REQUESTS
    _used: int = 0
    _waiting: dict[Hashable, Callable[[], None]] = field(factory=dict)

    def enter(self, who: Hashable, when_free: Callable[[], None]) -> bool:
        """Take a place; if there is none, ``when_free`` is called later, once."""
        if self._used >= self._most:
            self._waiting.setdefault(who, when_free)
            return False
        self._used += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._used -= 1
        if self._waiting:
            first = next(iter(self._waiting))
            self._waiting.pop(first)()

    def forget(self, who: Hashable) -> None:
        """Call somebody no more."""
        self._waiting.pop(who, None)
