"""The waiting loop: as many waits as it takes, from where the one before ended."""

from collections.abc import Iterator

from cco_sidecar.client.asking import ask, object_of
from cco_sidecar.client.desk import Desk
from cco_sidecar.client.errors import NotASidecar, Refused
from cco_sidecar.client.values import Json, Pause, Request, Steps, build, route
from cco_sidecar.client.waiting import LONGEST_WAIT_MS, Events, Standing, Wanted

_SHORTEST_WAIT_MS = 1000
_SHORTEST_SECONDS = 0.001  # the sidecar counts in milliseconds
_MARGIN_SECONDS = 10.0
"""So long before its token's end a wait comes back, so that it is answered, and not refused."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


def wait(desk: Desk, wanted: Wanted, standing: Standing, timeout_ms: int, limit: int | None = None) -> Steps[Events]:
    """Wait until events come or time is up."""
    deadline = desk.monotonic() + timeout_ms / 1000
    pause = _FIRST_PAUSE_SECONDS
    while not standing.has_more:
        answer = yield from _one_wait(desk, wanted, standing, deadline, limit)
        standing.take(answer)
        left = deadline - desk.monotonic()
        if left < _SHORTEST_SECONDS or standing.replay not in {None, "running"}:
            break
        if not (answer["events"] or answer.get("timeout") or answer.get("gap")):
            # Ended before its time: the sidecar stops, or another wait on the same place has taken over.
            yield Pause(min(pause * (0.5 + desk.chance()), left))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return standing.drain()


def fill(desk: Desk, wanted: Wanted, standing: Standing, poll_ms: int, limit: int | None = None) -> Steps[None]:
    """Wait, however long it takes, until the place has events to take or it is known that some are missing."""
    pause = _FIRST_PAUSE_SECONDS
    while not standing.has_more:
        answer = yield from _one_wait(desk, wanted, standing, desk.monotonic() + poll_ms / 1000, limit, for_ever=True)
        standing.take(answer)
        if answer.get("gap"):
            return
        if not (answer["events"] or answer.get("timeout")):
            yield Pause(pause * (0.5 + desk.chance()))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _one_wait(
    desk: Desk,
    wanted: Wanted,
    standing: Standing,
    deadline: float,
    limit: int | None,
    *,
    for_ever: bool = False,
) -> Steps[Json]:
    def request(is_doubtful: bool) -> Request:
        left_ms = max(0, round((deadline - desk.monotonic()) * 1000))
        milliseconds = min(left_ms, LONGEST_WAIT_MS, _until_token_ends_ms(desk))
        query = {
            **standing.place(is_doubtful),
            "timeout": milliseconds,
            "filter": wanted.filter,
            "topic": wanted.topic,
            "limit": limit,
            "subscription": wanted.subscription,
            "project": wanted.project,
        }
        path = route("api", "events", "wait", wanted.types)
        return build("GET", path, query=query, seconds=milliseconds / 1000)

    while True:
        try:
            answer = object_of((yield from ask(desk, request, for_ever=for_ever)))
        except Refused as refused:
            if refused.details.get("parameter") not in {"ack", "since"} or not standing.forget():
                raise
            continue  # the sidecar has another storage now, in which this place is not known
        if not isinstance(answer.get("events"), list):
            raise NotASidecar("What answered is not the sidecar: a wait was answered without a list of events.")
        return answer


def slices(desk: Desk, wait_ms: int | None) -> Iterator[int | None]:
    """Cut a wait for something else than events: gives how long to wait now, until it is over; at least once."""
    if not wait_ms:
        yield wait_ms
        return
    deadline = desk.monotonic() + wait_ms / 1000
    while (left_ms := round((deadline - desk.monotonic()) * 1000)) > 0:
        yield min(left_ms, LONGEST_WAIT_MS, _until_token_ends_ms(desk))


def _until_token_ends_ms(desk: Desk) -> int:
    desk.tokens.current()  # the file may have a newer one
    left = desk.tokens.seconds_left
    if left is None:
        return LONGEST_WAIT_MS
    margin = min(_MARGIN_SECONDS, desk.tokens.lifetime_seconds / 10)
    return max(_SHORTEST_WAIT_MS, round((left - margin) * 1000))
