"""What an agent needs to go on after a restart, or after it has forgotten: the most important first, within a budget.

As JSON and as Markdown it has the same parts in the same order: its task, what it wrote down, the tasks and claims that
it has, the messages that it has not seen or not done, its results, the events that it has not had, and what the others
on its issue did. Each part may take a share of what the parts before it have left; what does not fit is counted.
"""

from collections.abc import Iterable, Sequence

import msgspec
from attrs import frozen

from cco_sidecar.core.checkpoints import Checkpoint
from cco_sidecar.core.claims.entry import ClaimRecord
from cco_sidecar.core.context.fitting import encode, fit_list, head_of
from cco_sidecar.core.context.page import Page, fenced, first_lines, inline_code, one_line, plain_text
from cco_sidecar.core.context.request import PreviousOutput
from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.unread import Unread
from cco_sidecar.core.messages.message import Delivery
from cco_sidecar.core.secrets.redacting import redact, redact_value
from cco_sidecar.core.tasks.task import Task
from cco_sidecar.core.times import rfc3339

LEAST_TOKENS = 400
DEFAULT_TOKENS = 4_000
MOST_TOKENS = 100_000
_SHOWN_DATA = 400


@frozen
class Other:
    """Another agent of the issue: how it stands, if it was started here, and its newest result, if it has one."""

    agent_id: str
    agent_type: str
    status: str | None
    result: PreviousOutput | None


@frozen
class Facts:
    """All that is known of an agent and its surroundings; lists have the most important first.

    :param tasks: those that it has a lease on.
    :param messages: those to it that are not over; looking at them here moves nothing.
    :param at: now, in seconds since the epoch.
    """

    agent_id: str
    agent_type: str | None
    issue_id: str | None
    project_id: str
    status: str | None
    task: str
    checkpoint: Checkpoint | None
    tasks: Sequence[Task]
    claims: Sequence[ClaimRecord]
    messages: Sequence[Delivery]
    results: Sequence[PreviousOutput]
    unread: Unread
    others: Sequence[Other]
    at: float


# As JSON


def briefing(facts: Facts, budget_tokens: int) -> bytes:
    """Make the JSON answer; it takes at most the budget (at least `LEAST_TOKENS`)."""
    parts: dict[str, object] = {
        "agent_id": facts.agent_id,
        "agent_type": facts.agent_type,
        "issue_id": facts.issue_id,
        "project_id": facts.project_id,
        "status": facts.status,
        "task": "",
        "checkpoint": None,
        "checkpoint_at": None if facts.checkpoint is None else rfc3339(facts.checkpoint.at),
        "tasks": [],
        "claims": [],
        "messages": [],
        "results": [],
        "unread_events": [],
        "others": [],
        "truncated": False,
        "omitted": {},
        "budget_tokens": budget_tokens,
        "timestamp": rfc3339(facts.at),
    }
    lists = _lists(facts)
    # With each count in it, so that there is room for them.
    parts["omitted"] = {name: 10_000 for name, _, _ in lists} | {"checkpoint": 1, "task": 1, "older_events": 1}
    left = budget_tokens * BYTES_PER_TOKEN - len(encode(parts))
    omitted: dict[str, int] = {}
    task = plain_text(redact(facts.task)[0])
    parts["task"] = head_of(task, left // 3)
    left -= len(encode(parts["task"]))
    if parts["task"] != task:
        omitted["task"] = 1
    if facts.checkpoint is not None:
        text = bytes(facts.checkpoint.text)
        if len(text) > left * 2 // 3:
            omitted["checkpoint"] = 1
            text = encode(head_of(text.decode(), left * 2 // 3))
        parts["checkpoint"] = msgspec.Raw(text)
        left -= len(text)
    for name, items, divisor in lists:
        fitted = fit_list(items, max(left // divisor, 2))
        parts[name] = msgspec.Raw(fitted.json)
        left -= len(fitted.json)
        if fitted.count < len(items):
            omitted[name] = len(items) - fitted.count
    if facts.unread.more:
        omitted["older_events"] = 1
    parts["omitted"], parts["truncated"] = omitted, bool(omitted)
    return encode(parts)


def _lists(facts: Facts) -> Sequence[tuple[str, Sequence[object], int]]:
    """Give the lists of the answer, in order of importance, and which share of what is left each may take."""
    return (
        ("tasks", [_task(task) for task in facts.tasks], 2),
        ("claims", [_claim(claim) for claim in facts.claims], 3),
        ("messages", [_message(delivery) for delivery in facts.messages], 3),
        ("results", [_result(result) for result in facts.results], 3),
        ("unread_events", [_event(event) for event in facts.unread.events], 2),
        ("others", [_other(other) for other in facts.others], 1),
    )


def _task(task: Task) -> dict[str, object]:
    lease = task.state.lease
    return {
        "id": task.id,
        "title": task.record.title,
        "task": redact(task.record.task)[0],
        "lease_id": None if lease is None else lease.id,
        "fence": None if lease is None else lease.fence,
        "lease_expires_at": None if lease is None else rfc3339(lease.expires_at),
        "attempts": task.state.attempts,
        "checkpoint": None if task.checkpoint is None else task.checkpoint.checkpoint,
    }


def _claim(claim: ClaimRecord) -> dict[str, object]:
    return {
        "id": claim.id,
        "fence": claim.fence,
        "resources": claim.resources,
        "mode": claim.mode,
        "expires_at": rfc3339(claim.expires_at),
    }


def _message(delivery: Delivery) -> dict[str, object]:
    record = delivery.record
    return {
        "id": record.id,
        "from": record.sender.agent_id,
        "kind": record.kind,
        "body": redact_value(msgspec.json.decode(record.body))[0],
        "ack": record.ack,
        "state": delivery.state.state,
        "sent_at": rfc3339(record.sent_at),
        "expires_at": rfc3339(record.expires_at),
    }


def _result(result: PreviousOutput) -> dict[str, object]:
    return {
        "result_id": result.result_id,
        "status": result.status,
        "timestamp": result.timestamp,
        "decisions": redact_value(list(result.decisions))[0],
        "files_affected": redact_value(list(result.files_affected))[0],
    }


def _event(event: Event) -> dict[str, object]:
    body = event.body
    return {
        "event_id": body.event_id,
        "event_type": body.event_type,
        "topic": body.topic,
        "publisher": body.publisher,
        "timestamp": body.timestamp,
        "data": redact_value(msgspec.json.decode(event.data))[0],
    }


def _other(other: Other) -> dict[str, object]:
    return {
        "agent_id": other.agent_id,
        "agent_type": other.agent_type,
        "status": other.status,
        "result": None if other.result is None else _result(other.result),
    }


# As Markdown


def briefing_markdown(facts: Facts, budget_tokens: int) -> bytes:
    """Make the document; it takes at most the budget (at least `LEAST_TOKENS`)."""
    page = Page(budget_tokens * BYTES_PER_TOKEN)
    page.add(_title(facts))
    if facts.task:
        _add_text(page, "Task", redact(plain_text(facts.task))[0], "text", 3)
    if facts.checkpoint is not None:
        text = msgspec.json.format(bytes(facts.checkpoint.text), indent=2).decode()
        _add_text(page, f"Your checkpoint of {rfc3339(facts.checkpoint.at)}", text, "json", 2)
    page.section("Tasks that you have", [_task_lines(task) for task in facts.tasks], 2)
    page.section("Your claims", [_claim_line(claim) for claim in facts.claims], 3)
    page.section("Messages to you", [_message_line(delivery) for delivery in facts.messages], 3)
    page.section("Your results", [_result_lines(result) for result in facts.results], 3)
    events = [_event_line(event) for event in facts.unread.events]
    page.section("Events that you have not had, the newest first", events, 2)
    page.section("Others on this issue", [_other_lines(other) for other in facts.others], 1)
    return "".join(page.parts).encode()


def _title(facts: Facts) -> str:
    kind = f" ({one_line(facts.agent_type)})" if facts.agent_type else ""
    issue = f" on {inline_code(facts.issue_id)}" if facts.issue_id else ""
    you = f"You are {inline_code(facts.agent_id)}{kind}{issue}, project {inline_code(facts.project_id)}."
    return f"# Briefing\n\n{you} It is {rfc3339(facts.at)}.\n"


def _add_text(page: Page, title: str, text: str, info: str, divisor: int) -> None:
    """Add a section of one text, its first lines if it is too long."""
    room = page.left // divisor
    head = first_lines(text, max(room - len(title) - 200, 100))
    rest = "(The rest is left out.)\n" if len(head) < len(text) else ""
    page.add(f"\n## {title}\n\n{fenced(head, info)}{rest}")


def _task_lines(task: Task) -> str:
    lease = task.state.lease
    until = "" if lease is None else f", fence {lease.fence}, until {rfc3339(lease.expires_at)}"
    text = f"- {inline_code(task.id)}{until}: {one_line(redact(task.record.title)[0])}\n"
    if task.record.task != task.record.title:
        text += f"  - to do: {one_line(_short(redact(task.record.task)[0].encode('utf-8', 'replace')))}\n"
    if task.checkpoint is not None:
        text += f"  - its checkpoint: {inline_code(_short(bytes(task.checkpoint.checkpoint)))}\n"
    return text


def _claim_line(claim: ClaimRecord) -> str:
    names = ", ".join(map(inline_code, claim.resources))
    return (
        f"- {names}: {claim.mode}, until {rfc3339(claim.expires_at)} ({inline_code(claim.id)}, fence {claim.fence})\n"
    )


def _message_line(delivery: Delivery) -> str:
    record = delivery.record
    body = msgspec.json.decode(record.body)
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode("utf-8", "replace")
    said = _short(redact(plain_text(text))[0].encode("utf-8", "replace"))
    seen = ", seen and not done" if delivery.state.state == "seen" else ""
    return (
        f"- {record.kind} from {inline_code(record.sender.agent_id)}, {rfc3339(record.sent_at)}{seen} "
        f"({inline_code(record.id)}): {one_line(said)}\n"
    )


def _result_lines(result: PreviousOutput) -> str:
    lines = [f"- {inline_code(result.result_id)}: {one_line(result.status)}, {one_line(result.timestamp)}\n"]
    return "".join([*lines, *_decided(result)])


def _decided(result: PreviousOutput) -> Iterable[str]:
    for decision in result.decisions:
        text = decision if isinstance(decision, str) else msgspec.json.encode(decision).decode()
        yield f"  - {one_line(redact(plain_text(text))[0])}\n"
    if result.files_affected:
        yield f"  - files: {', '.join(inline_code(redact(path)[0]) for path in result.files_affected)}\n"


def _event_line(event: Event) -> str:
    body = event.body
    data = redact(_short(bytes(event.data)))[0]
    return f"- {inline_code(body.event_type)} by {inline_code(body.publisher)}, {body.timestamp}: {inline_code(data)}\n"


def _other_lines(other: Other) -> str:
    status = "" if other.status is None else f", {one_line(other.status)}"
    line = f"- {inline_code(other.agent_id)} ({one_line(other.agent_type)}){status}\n"
    if other.result is None:
        return line
    told = f"  - reported {one_line(other.result.status)}, {one_line(other.result.timestamp)}\n"
    return "".join([line, told, *_decided(other.result)])


def _short(text: bytes) -> str:
    whole = text.decode("utf-8", "replace")
    return whole if len(whole) <= _SHOWN_DATA else f"{whole[:_SHOWN_DATA]}…"
