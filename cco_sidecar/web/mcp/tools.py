"""The tools: what each is called, what a model is told of it, and which route it is.

A model reads all of this before it does anything else, so every word costs: together it stays under 2,000 tokens.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from attrs import frozen

from cco_sidecar.core.briefing import DEFAULT_TOKENS
from cco_sidecar.core.roster import PUBLISH_EVENTS, READ_CONTEXT, SPAWN_AGENTS, WRITE_RESULTS
from cco_sidecar.core.tokens import Claims
from cco_sidecar.errors import InvalidBody, InvalidParameter
from cco_sidecar.web.mcp.calling import Placed, check_names

WAIT_MS = 25_000
MOST_WAIT_MS = 240_000
CONTEXT_TOKENS = 8000
EVENTS = 20
"""How many events an answer has at most, if it is not said."""

Arguments = Mapping[str, msgspec.Raw]


def _text(says: str) -> dict[str, Any]:
    return {"type": "string", "description": says} if says else {"type": "string"}


def _number(says: str, **more: int) -> dict[str, Any]:
    return {"type": "integer", **({"description": says} if says else {}), **more}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _str(arguments: Arguments, name: str) -> str | None:
    """Give an argument that goes into a path.

    :raises InvalidParameter: it is no text.
    """
    if name not in arguments:
        return None
    value = msgspec.json.decode(arguments[name])
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidParameter(f"'{name}' must be a text.", parameter=name)
    return value


def _needed(arguments: Arguments, name: str) -> str:
    value = _str(arguments, name)
    if value is None:
        raise InvalidParameter(f"'{name}' is missing.", parameter=name)
    return value


def _without(arguments: Arguments, *names: str) -> dict[str, msgspec.Raw]:
    """Give the other arguments; null counts as not given, as models write it."""
    return {name: raw for name, raw in arguments.items() if name not in names and bytes(raw) != b"null"}


def _with(defaults: Mapping[str, object], given: Arguments) -> dict[str, msgspec.Raw]:
    return {**{name: _raw(value) for name, value in defaults.items()}, **given}


def _agent_only(claims: Claims, tool: str) -> None:
    if claims.is_admin:
        raise InvalidParameter(
            f"{tool} is for agents, and the admin's token names none: 'cco mcp' gets one, or 'cco token issue'.",
            parameter="agent_id",
        )


def _get_context(claims: Claims, given: Arguments) -> Placed:
    if claims.is_admin and ("issue_id" not in given or "agent_type" not in given):
        raise InvalidParameter("The admin's token names no issue: say issue_id and agent_type.", parameter="issue_id")
    path = {
        "issue_id": _str(given, "issue_id") or claims.issue_id,
        "agent_type": _str(given, "agent_type") or claims.agent_type,
    }
    rest = _with({"budget_tokens": CONTEXT_TOKENS, "format": "markdown"}, _without(given, *path))
    return Placed("GET /api/context/<issue_id>/<agent_type>", path, rest)


def _publish_event(_: Claims, given: Arguments) -> Placed:
    path = {"event_type": _needed(given, "event_type")}
    return Placed("POST /api/events/<event_type>", path, body=_raw(_without(given, "event_type") | _data(given)))


def _data(given: Arguments) -> dict[str, msgspec.Raw]:
    """Give the data of an event, which may be null, too."""
    return {"data": given["data"]} if "data" in given else {}


def _wait_for_event(_: Claims, given: Arguments) -> Placed:
    rest = _with({"timeout": WAIT_MS, "limit": EVENTS}, _without(given, "event_type"))
    timeout = msgspec.json.decode(rest["timeout"])
    if type(timeout) is not int or not 0 <= timeout <= MOST_WAIT_MS:
        raise InvalidParameter(
            f"'timeout' is in milliseconds, 0 to {MOST_WAIT_MS}; wait again to go on waiting, nothing is missed.",
            parameter="timeout",
        )
    return Placed("GET /api/events/wait/<types>", {"types": _needed(given, "event_type")}, rest)


def _list_events(_: Claims, given: Arguments) -> Placed:
    return Placed("GET /api/events", query=_with({"limit": EVENTS}, _without(given)))


def _store_result(claims: Claims, given: Arguments) -> Placed:
    _agent_only(claims, "store_result")
    who = {"agent_id": claims.sub, "agent_type": claims.agent_type, "issue_id": claims.issue_id}
    return Placed("POST /api/results", body=_raw(_with(who, _without(given))))


def _claim(_: Claims, given: Arguments) -> Placed:
    renewed, released = _str(given, "renew"), _str(given, "release")
    rest = _without(given, "renew", "release")
    if released is not None:
        if rest or renewed is not None:
            raise InvalidBody("'release' stands alone: it is the id of a claim to end.", path="$.release")
        return Placed("DELETE /api/claims/<claim_id>", {"claim_id": released})
    if renewed is not None:
        return Placed("POST /api/claims/<claim_id>/renew", {"claim_id": renewed}, body=_raw(rest))
    wait = {"wait": rest.pop("wait")} if "wait" in rest else {}
    if wait and _is_longer(wait["wait"]):
        raise InvalidParameter(f"'wait' is in milliseconds, at most {MOST_WAIT_MS}.", parameter="wait")
    return Placed("POST /api/claims", query=wait, body=_raw(rest))


def _is_longer(wait: msgspec.Raw) -> bool:
    value = msgspec.json.decode(wait)
    return isinstance(value, int | float) and value > MOST_WAIT_MS


def _checkpoint(claims: Claims, given: Arguments) -> Placed:
    _agent_only(claims, "checkpoint")
    path = {"agent_id": claims.sub}
    if "checkpoint" in given:
        return Placed("PUT /api/agents/<agent_id>/checkpoint", path, body=given["checkpoint"])
    return Placed("GET /api/agents/<agent_id>/checkpoint", path)


def _briefing(claims: Claims, given: Arguments) -> Placed:
    _agent_only(claims, "briefing")
    rest = _with({"budget_tokens": DEFAULT_TOKENS, "format": "markdown"}, _without(given))
    return Placed("GET /api/agents/<agent_id>/briefing", {"agent_id": claims.sub}, rest)


def _spawn_agent(claims: Claims, given: Arguments) -> Placed:
    own = {} if claims.is_admin else {"issue_id": claims.issue_id}
    return Placed("POST /api/agents/spawn", body=_raw(_with(own, _without(given))))


@frozen
class Tool:
    """A tool: ``properties`` are its arguments as JSON Schema, ``place`` says where they go.

    One that ``may_wait`` gives signs of life meanwhile.
    """

    name: str
    says: str
    properties: Mapping[str, Any]
    place: Callable[[Claims, Arguments], Placed]
    needs: tuple[str, ...] = ()
    permission: str | None = None
    is_reading: bool = False
    may_wait: bool = False

    def described(self) -> dict[str, object]:
        """Give what a client is told of it."""
        schema: dict[str, object] = {"type": "object", "properties": self.properties}
        if self.needs:
            schema["required"] = list(self.needs)
        shown: dict[str, object] = {"name": self.name, "description": self.says, "inputSchema": schema}
        if self.is_reading:
            shown["annotations"] = {"readOnlyHint": True}
        return shown

    def placed(self, claims: Claims, arguments: Arguments) -> Placed:
        """Say which route the arguments mean.

        :raises Refusal: they are not those of this tool.
        """
        check_names(arguments, self.properties, self.name)
        for name in self.needs:
            if name not in arguments:
                raise InvalidParameter(f"{self.name} needs the argument '{name}'.", parameter=name)
        return self.place(claims, arguments)


_FILTER = "Like `status:success,metrics.coverage:>90`; `,` is and, `|` or, `!` not."
_SINCE = "Cursor, event id or time."

TOOLS = (
    Tool(
        "get_context",
        "What to know about the project for your task: files, git, earlier results, as Markdown.",
        {
            "task": _text("What you are about to do; ranks files."),
            "budget_tokens": _number("", default=CONTEXT_TOKENS),
            "agent_type": _text("Default: yours."),
            "issue_id": _text("Default: yours."),
            "refresh": {"type": "boolean"},
        },
        _get_context,
        permission=READ_CONTEXT,
        is_reading=True,
    ),
    Tool(
        "publish_event",
        "Tell other agents that something happened. It is on disk when this answers.",
        {
            "event_type": _text("Like tests_passed."),
            "topic": _text("What it is about."),
            "data": {"description": "Any JSON."},
            "correlation_id": _text(""),
            "priority": {"enum": ["low", "normal", "high"]},
            "ttl_seconds": {"type": "integer"},
            "references": {"type": "array", "items": {"type": "string"}},
        },
        _publish_event,
        needs=("event_type", "topic", "data"),
        permission=PUBLISH_EVENTS,
    ),
    Tool(
        "wait_for_event",
        "Wait for events you have not had yet. With `timeout: true` in the answer none came: call again, nothing is "
        "missed.",
        {
            "event_type": _text("One, several by commas, or *."),
            "timeout": _number("Milliseconds.", default=WAIT_MS, maximum=MOST_WAIT_MS),
            "filter": _text(_FILTER),
            "topic": _text(""),
            "since": _text("next_cursor of an answer, event id or time; default: where you stopped."),
            "limit": _number("", default=EVENTS),
        },
        _wait_for_event,
        needs=("event_type",),
        is_reading=True,
        may_wait=True,
    ),
    Tool(
        "list_events",
        "Past events, newest first.",
        {
            "type": _text(""),
            "topic": _text(""),
            "filter": _text("As in wait_for_event."),
            "publisher": _text("Agent id."),
            "correlation_id": _text(""),
            "issue": _text(""),
            "since": _text(_SINCE),
            "until": _text(_SINCE),
            "limit": _number("", default=EVENTS),
            "order": {"enum": ["desc", "asc"]},
        },
        _list_events,
        is_reading=True,
    ),
    Tool(
        "store_result",
        "Report what you did, once, at the end; later agents get it in their context.",
        {
            "result": {
                "type": "object",
                "properties": {
                    "status": {"enum": ["success", "failed", "partial"]},
                    "decisions": {"type": "array"},
                    "files_affected": {"type": "array"},
                },
                "required": ["status"],
            },
            "next_as_tasks": {"type": "boolean", "description": "Make a task for each agent that comes next."},
        },
        _store_result,
        needs=("result",),
        permission=WRITE_RESULTS,
    ),
    Tool(
        "claim",
        "Claim paths before you edit them; a refusal says who has them and until when. Or renew or release a claim.",
        {
            "resources": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Paths or globs in the project, or name:anything; all or none.",
            },
            "resource": _text("Just one."),
            "ttl_seconds": {"type": "integer", "default": 600},
            "mode": {"enum": ["exclusive", "shared"]},
            "wait": _number("Milliseconds to queue.", maximum=MOST_WAIT_MS),
            "renew": _text("Id of a claim."),
            "release": _text("Id of a claim."),
        },
        _claim,
        may_wait=True,
    ),
    Tool(
        "checkpoint",
        "Write down how far you are; it outlives compaction and restarts. Without argument: read it.",
        {"checkpoint": {"description": "Any JSON, up to 256 KiB."}},
        _checkpoint,
    ),
    Tool(
        "briefing",
        "All you need to go on after a break: task, checkpoint, claims, results, unread events, the others.",
        {"budget_tokens": _number("", default=DEFAULT_TOKENS)},
        _briefing,
        is_reading=True,
    ),
    Tool(
        "spawn_agent",
        "Start another agent on your issue; agent_completed or agent_failed follows as an event.",
        {
            "agent_type": _text("Like test-engineer."),
            "task": _text("Default: the issue's text."),
            "issue_id": _text("Default: yours."),
            "priority": {"enum": ["high", "normal", "low"]},
            "runner": _text(""),
            "timeout_seconds": {"type": "integer"},
            "environment": {"type": "object"},
        },
        _spawn_agent,
        needs=("agent_type",),
        permission=SPAWN_AGENTS,
    ),
)

BY_NAME: Mapping[str, Tool] = {tool.name: tool for tool in TOOLS}


def tools_of(claims: Claims) -> list[Tool]:
    """Give the tools that a token may use."""
    return [tool for tool in TOOLS if claims.is_admin or tool.permission in {None, *claims.permissions}]
