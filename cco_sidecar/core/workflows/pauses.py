"""Pauses that end when what pauses is closed."""

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater


@define(eq=False)
class Pauses:
    """Makes pauses; once it is closed, those under way are cancelled and there are no more."""

    _clock: IReactorTime
    closed: bool = False
    _under_way: "dict[Deferred[None], None]" = field(factory=dict)

    async def pause(self, seconds: float) -> None:
        """Wait.

        :raises CancelledError: it was closed meanwhile.
        """
        pause: Deferred[None] = deferLater(self._clock, seconds)
        self._under_way[pause] = None
        try:
            await pause
        finally:
            del self._under_way[pause]

    def close(self) -> None:
        """End all pauses."""
        self.closed = True
        for pause in list(self._under_way):
            pause.cancel()
