"""Accounts: every answer is counted and logged once, later, and never too many at a time."""

import json
from io import BytesIO

from twisted.internet.task import Clock

from cco_sidecar.access_log import AccessLog, Entry
from cco_sidecar.web.accounts import LATER_SECONDS, MOST_AT_ONCE, MOST_WAITING, Accounts
from cco_sidecar.web.measurements import Measurements


def made() -> tuple[Clock, BytesIO, Measurements, Accounts]:
    clock, stream = Clock(), BytesIO()
    measurements = Measurements(clock)
    return clock, stream, measurements, Accounts(clock, measurements, AccessLog(stream))


def add(accounts: Accounts, first: int, many: int) -> None:
    for number in range(first, first + many):
        entry = Entry("route", "GET", "/", 200, 0.0, 0.001, 0.0, f"r{number}", None, None)
        accounts.add(lambda entry=entry: entry)  # type: ignore[misc]


def logged(stream: BytesIO) -> list[str]:
    return [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()]


def counted(measurements: Measurements) -> float | None:
    return measurements.registry.get_sample_value("sidecar_requests_total", {"route": "route", "status": "200"})


def test_later_in_order_and_once() -> None:
    """Nothing is done while answers are given; a moment later all are there, in the order they came."""
    clock, stream, measurements, accounts = made()
    add(accounts, 0, 2 * MOST_AT_ONCE + 1)
    assert (logged(stream), counted(measurements)) == ([], None)
    seen_by_others: list[int] = []
    clock.callLater(LATER_SECONDS, lambda: seen_by_others.append(len(logged(stream))))
    clock.advance(LATER_SECONDS)
    assert seen_by_others == [MOST_AT_ONCE]
    assert logged(stream) == [f"r{number}" for number in range(2 * MOST_AT_ONCE + 1)]
    assert counted(measurements) == 2 * MOST_AT_ONCE + 1
    assert clock.getDelayedCalls() == []


def test_a_crowd_is_bounded() -> None:
    """When very many wait, some are handed over at once: neither the queue nor a pause grows with the crowd."""
    _, stream, _, accounts = made()
    add(accounts, 0, MOST_WAITING)
    assert logged(stream) == []
    add(accounts, MOST_WAITING, 1)
    assert len(logged(stream)) == MOST_AT_ONCE
    add(accounts, MOST_WAITING + 1, 3 * MOST_WAITING)
    accounts.finish()
    assert logged(stream) == [f"r{number}" for number in range(4 * MOST_WAITING + 1)]


def test_whoever_reads_the_numbers_waits_for_no_log() -> None:
    """Numbers are up to date when they are read; the lines come in their time, in order and once."""
    clock, stream, measurements, accounts = made()
    add(accounts, 0, MOST_AT_ONCE + 1)
    accounts.settle()
    assert (logged(stream), counted(measurements)) == ([], MOST_AT_ONCE + 1)
    add(accounts, MOST_AT_ONCE + 1, 1)
    clock.advance(LATER_SECONDS)
    assert logged(stream) == [f"r{number}" for number in range(MOST_AT_ONCE + 2)]
    assert counted(measurements) == MOST_AT_ONCE + 2
