"""Starts after starts: what lasts is there, and takes no longer to be taken up."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from tests.web.sidecar import Sidecar


@pytest.fixture
def recovered() -> Iterator[list[int]]:
    """Give how many records each start took up, of the first project."""
    seen: list[int] = []

    def observe(event: LogEvent) -> None:
        if event.get("project") == "alpha" and "records" in event:
            seen.append(event["records"])

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    yield seen
    globalLogPublisher.removeObserver(observer)


def test_restarts_do_not_add_up(start: Callable[..., Sidecar], recovered: list[int]) -> None:
    """Each start writes the whole state; the next takes up the newest of these, and the events of all segments."""
    sidecar = start()
    for number in range(20):
        sidecar.admin.post(f"/api/issues/issue-{number}", {"title": f"Title {number}"}).ok()
    sidecar.admin.publish("first")
    for number in range(3):
        sidecar.stop()
        sidecar = start()
        sidecar.admin.publish("more", n=number)
    assert recovered[1] >= 20
    assert recovered[3] - recovered[2] <= 4, "an event, and what a start writes beside it"
    assert sidecar.admin.get("/api/issues/issue-7").ok()["title"] == "Title 7"
    events = sidecar.admin.get("/api/events", order="asc").ok()["events"]
    assert [event["event_type"] for event in events] == ["first", "more", "more", "more"]
