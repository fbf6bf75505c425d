"""A tool that takes its time, on a stream of Server-Sent Events: signs of life while it waits, then its response.

Clients give up a request that is silent too long (many after 60 to 100 s); a sign of life starts their clock anew.
"""

from collections.abc import Callable, Mapping

import msgspec
from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from cco_sidecar.web.mcp.messages import Id
from cco_sidecar.web.request import SidecarRequest

EVENT_STREAM = b"text/event-stream; charset=utf-8"
HEADERS = {b"X-Accel-Buffering": b"no"}
BEAT_SECONDS = 5.0


def frame(message: Mapping[str, object]) -> bytes:
    """Write a message as a Server-Sent Event; its JSON has no line break."""
    return b"event: message\ndata: " + msgspec.json.encode(message) + b"\n\n"


def progress(token: Id, seconds: float) -> dict[str, object]:
    """Make a sign of life for a client that asked for one; it counts the seconds."""
    params = {"progressToken": token, "progress": seconds, "message": "Still waiting."}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


@define(eq=False)
class Waiting:
    """A response that is not known yet."""

    _clock: IReactorTime
    _token: Id | None
    _response: "Deferred[dict[str, object]]"

    async def run(self, request: SidecarRequest) -> None:
        """Write signs of life, then the response; whoever hangs up ends what is waited for."""
        write: Callable[[bytes], None] = request.write
        began = self._clock.seconds()

        def beat() -> None:
            seconds = round(self._clock.seconds() - began, 3)
            write(b": still here\n\n" if self._token is None else frame(progress(self._token, seconds)))

        beats = LoopingCall(beat)
        beats.clock = self._clock
        beats.start(BEAT_SECONDS, now=False)
        try:
            response = await self._response
        finally:
            beats.stop()
        write(frame(response))
