"""The demo on paper: a line for each event as it happens, and tables at the end."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from cco_sidecar.cli.output import one_line, write
from cco_sidecar.demo.script import FIRST_EVENT
from cco_sidecar.demo.story import SUBJECTS, Json, Story

PERSON = "you"
_WHO_WIDTH = 20


def line(text: str = "") -> None:
    """Print a line at once."""
    write(f"{one_line(text)}\n")


def show_event(story: Story, event: Json, began_at: float) -> None:
    """Print what an event says, in plain words."""
    words = _WORDS.get(event["event_type"], _published)(story, event)
    at = datetime.fromisoformat(event["timestamp"]).timestamp() - began_at
    line(f"{max(0.0, at):7.2f} s  {_who(event):<{_WHO_WIDTH}}  {words}")


def _who(event: Json) -> str:
    if event["event_type"] in SUBJECTS:
        return str(event["data"]["agent_type"])
    return PERSON if event["publisher"] == "admin" else str(event["agent_type"])


def _spawned(story: Story, event: Json) -> str:
    agent_type = event["data"]["agent_type"]
    process = story.spawned.get(agent_type, {}).get("process_id")
    late = ", after the event that it waits for" if agent_type in story.late else ""
    return f"spawned{late} (process {process})"


def _context_loaded(story: Story, event: Json) -> str:
    data = event["data"]
    again = "not modified (304)" if data["not_modified"] else "changed meanwhile"
    return f"context of {_count(data['files'], 'file')}, {data['bytes'] / 1000:.0f} kB; asked again: {again}"


def _work_started(story: Story, event: Json) -> str:
    data = event["data"]
    earlier = _count(len(data["earlier"]), "earlier result")
    if "called_by" not in data:
        return f"begins; its context now has {earlier}"
    call = data["called_by"]
    how = f"woken {data['lag_ms']:.0f} ms after" if data["parked"] else "asks late and is given"
    return f"{how} {call['event_type']} (#{call['sequence']}); its context now has {earlier}"


def _published(story: Story, event: Json) -> str:
    said = event["data"].get("task") if event["event_type"] == FIRST_EVENT else None
    return f"published {event['event_type']} (#{event['sequence']})" + (f": {said}" if said else "")


def _stored(story: Story, event: Json) -> str:
    return f"stored result {event['data']['result_id']} ({event['data']['status']})"


def _ended(story: Story, event: Json) -> str:
    return f"{event['data']['status']}, exit code {event['data']['exit_code']}"


_WORDS: Mapping[str, Callable[[Story, Json], str]] = {
    "agent_spawned": _spawned,
    "context_loaded": _context_loaded,
    "work_started": _work_started,
    "result_stored": _stored,
    "agent_completed": _ended,
    "agent_failed": _ended,
}


def show_tables(story: Story) -> None:
    """Print who was there, what was said, what came of it, and where that lies."""
    types = [step.agent_type for step in story.steps]
    _table(
        ("AGENT", "STATUS", "PROCESS", "EXIT CODE", "SECONDS"),
        [_agent_row(name, story.agents[name]) for name in types if name in story.agents],
    )
    counted = Counter(str(event["event_type"]) for event in story.events)
    _table(("EVENT", "TIMES"), list(counted.items()))
    _table(
        ("RESULT OF", "STATUS", "LIES IN"),
        [(name, story.results[name]["status"], story.paths[name]) for name in types if name in story.results],
    )


def show_numbers(status: Json, requests: float) -> None:
    """Print what the sidecar measured of itself."""
    events, performance, storage = status["events"], status["performance"], status["storage"]
    line()
    line(f"From publish to wake {events['avg_delivery_time_ms']:.1f} ms on average, all of it on disk first.")
    line(
        f"{requests:.0f} requests, {performance['avg_response_time_ms']:.1f} ms on average "
        f"(95 % within {performance['p95_response_time_ms']:.1f} ms); "
        f"{events['total_published']} events published, {events['total_delivered']} delivered; "
        f"{100 * storage['cache_hit_rate']:.0f} % of the contexts from the cache."
    )


def _agent_row(name: str, agent: Json) -> Sequence[object]:
    started, ended = agent["started_at"], agent["ended_at"]
    seconds = "" if started is None or ended is None else f"{_time(ended) - _time(started):.1f}"
    return name, agent["status"], agent["process_id"], agent["exit_code"], seconds


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in columns, numbers to the right."""
    texts = [head, *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    to_right = [bool(rows) and all(isinstance(row[column], int) for row in rows) for column in range(len(head))]
    line()
    for row in texts:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, to_right, strict=True)
        ]
        line("  ".join(cells).rstrip())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
