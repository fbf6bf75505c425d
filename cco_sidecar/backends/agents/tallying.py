"""What Claude Code's output says of its work, line by line as it comes: turns, tokens, cost, and what it does now.

Each line with a message has that message's input; what it will have written is told only at the end, with the cost.
Until then both are reckoned from what can be seen, rather too low than too high.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import define, evolve, field, frozen

from cco_sidecar.backends.agents.prices import estimated_usd
from cco_sidecar.core.agent_rows import LastWords

MOST_REASON = 500
MOST_MESSAGES = 256
"""So many messages at once may still get lines; older ones are only counted."""
MOST_NAME = 64
_CHARACTERS_PER_TOKEN = 5
"""More than most texts have: what is seen of a message is no more than it took."""

WAITING = "waiting for the model"

_TOKENS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_tokens": "cacheReadInputTokens",
    "cache_creation_tokens": "cacheCreationInputTokens",
}
_OF_MESSAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_creation_tokens": "cache_creation_input_tokens",
}
_ENDS = {"error_max_turns": "max_turns", "error_max_budget_usd": "max_budget"}
_LOGIN = (401, 403)
_SYNTHETIC = "<synthetic>"
"""The model that messages of Claude Code itself name."""
_NO_SESSION = "No conversation found with session ID"
_MOST_RETRY_SECONDS = 3600.0
# It becomes an argument of a command.
_SESSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{7,63}")
_COST, _ESTIMATED = "cost_usd", "cost_usd_estimated"


@frozen
class Said(LastWords):
    """What an agent's output says about its work.

    ``usage`` has tokens and turns, ``cost_usd`` of what came to its end and ``cost_usd_estimated`` of what did not.
    ``failure`` is empty, or ``rate_limited``, ``overloaded`` and ``login``, which are not its own fault, or
    ``max_turns``, ``max_budget``, ``error``.

    :param text: what it said last, if it did what it was to do.
    """

    text: str | None = None


class _Line(msgspec.Struct):
    type: Any = None
    subtype: Any = None
    session_id: Any = None
    parent_tool_use_id: Any = None
    rate_limit_info: Any = None
    retry_delay_ms: Any = None
    message: msgspec.Raw = msgspec.Raw(b"null")


@define(eq=False)
class _Message:
    model: str
    is_turn: bool
    counts: dict[str, float]
    characters: int = 0

    @property
    def usage(self) -> dict[str, float]:
        seen = float(self.characters // _CHARACTERS_PER_TOKEN)
        tokens = {**self.counts, "output_tokens": max(self.counts.get("output_tokens", 0.0), seen)}
        return {**tokens, "turns": float(self.is_turn), _ESTIMATED: estimated_usd(self.model, tokens)}


@define(eq=False)
class _Limit:
    """What a process was told of the limits of its account."""

    resets_at: float | None = None
    retry_after: float | None = None

    def take(self, about: object) -> None:
        """Take what is said now."""
        if isinstance(about, dict):
            is_rejected = about.get("status") == "rejected"
            self.resets_at = (_number(about.get("resetsAt")) or None) if is_rejected else None


@define(eq=False)
class Tally:
    """The sum of an agent's output. A process that was started again has another session: its work is added."""

    doing: str = ""
    _session: object = None
    _earlier: dict[str, float] = field(factory=dict)  # what earlier sessions took
    _counted: dict[str, float] = field(factory=dict)  # what this one took, but for the messages below
    _messages: "OrderedDict[str, _Message]" = field(factory=OrderedDict)
    _summary: Mapping[str, Any] | None = None  # of the session, if nothing came after it
    _answered: bool = False  # whether the model has answered the newest process
    _limit: _Limit = field(factory=_Limit)  # what that one was told of limits

    def take(self, text: bytes) -> None:
        """Take the next line; what others wrote between them is passed over."""
        if not text.startswith(b'{"'):
            return
        try:
            line = msgspec.json.decode(text, type=_Line)
            if line.type == "assistant":
                self._take_message(line)
            elif line.type == "user":
                self.doing = WAITING
            elif line.type == "result":
                self._take_summary(msgspec.json.decode(text, type=dict[str, Any]))
            elif line.type == "system" and line.subtype == "init":
                self._begin(line.session_id)
            elif line.type == "system" and line.subtype == "api_retry":
                self._limit.retry_after = min(_number(line.retry_delay_ms) / 1000, _MOST_RETRY_SECONDS)
            elif line.type == "rate_limit_event":
                self._limit.take(line.rate_limit_info)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return

    def said(self) -> Said | None:
        """Sum up; None if nothing was said of any work."""
        usage = self.usage
        if usage is None:
            return None
        said = Said(usage) if self._summary is None else _at_the_end(usage, self._summary)
        session = self._session
        return evolve(
            said,
            answered=self._answered,
            session_id=session if isinstance(session, str) and _SESSION.fullmatch(session) else "",
            resets_at=self._limit.resets_at,
            retry_after=self._limit.retry_after,
        )

    @property
    def is_answered(self) -> bool:
        """Whether the model has answered the process that runs now, as far as that can be seen."""
        return self._answered and self._summary is None

    @property
    def usage(self) -> dict[str, float] | None:
        """What was taken up to now."""
        total = _sum(self._earlier, self._of_session())
        if not total:
            return None
        usage = {name: total.get(name, 0.0) for name in (*_TOKENS, "turns")}
        if _COST in total:
            usage[_COST] = round(total[_COST], 6)
        if total.get(_ESTIMATED):
            usage[_ESTIMATED] = round(total[_ESTIMATED], 6)
        return usage

    def _of_session(self) -> dict[str, float]:
        return _sum(self._counted, *(message.usage for message in self._messages.values()))

    def _begin(self, session: object) -> None:
        self.doing, self._summary, self._answered = WAITING, None, False
        self._limit = _Limit()
        if session == self._session:
            return  # it went on by itself
        self._earlier = _sum(self._earlier, self._of_session())
        self._session, self._counted = session, {}
        self._messages.clear()

    def _take_message(self, line: _Line) -> None:
        found = msgspec.json.decode(line.message)
        if not isinstance(found, dict):
            return
        self._summary, self.doing = None, WAITING
        self._answered = self._answered or found.get("model") != _SYNTHETIC
        name = str(found.get("id"))
        message = self._messages.get(name)
        if message is None:
            message = _Message(str(found.get("model")), line.parent_tool_use_id is None, {})
            self._messages[name] = message
        message.counts = _counts(found.get("usage"), _OF_MESSAGE)
        content = found.get("content")
        for block in content if isinstance(content, list) else ():
            self._take_block(message, block)
        while len(self._messages) > MOST_MESSAGES:
            self._counted = _sum(self._counted, self._messages.popitem(last=False)[1].usage)

    def _take_block(self, message: _Message, block: object) -> None:
        if not isinstance(block, dict):
            return
        if block.get("type") == "tool_use":
            self.doing = f"using {str(block.get('name'))[:MOST_NAME]}"
            message.characters += len(msgspec.json.encode(block.get("input")))
        for name in ("text", "thinking"):
            text = block.get(name)
            message.characters += len(text) if isinstance(text, str) else 0

    def _take_summary(self, summary: Mapping[str, Any]) -> None:
        """Take what is told at the end: it counts from the beginning of the session, and beats what was reckoned."""
        if _is_lost(summary):  # a process that did not come so far as to say that it begins
            self._summary, self.doing, self._answered = summary, "", False
            return
        models = summary.get("modelUsage")
        of_models = models.values() if isinstance(models, dict) else ()
        told = _sum(*(_counts(usage, _TOKENS) for usage in of_models)) | {"turns": _number(summary.get("num_turns"))}
        seen = self._of_session()
        # Of some failures no tokens are told.
        self._counted = {name: max(told.get(name, 0.0), seen.get(name, 0.0)) for name in (*_TOKENS, "turns")}
        self._counted[_COST] = _number(summary.get("total_cost_usd"))
        self._messages.clear()
        self._summary, self.doing = summary, ""


def _sum(*counts: Mapping[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in counts:
        for name, value in each.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _at_the_end(usage: dict[str, float], summary: Mapping[str, Any]) -> Said:
    said = summary.get("result")
    text = said if isinstance(said, str) else ""
    if not summary.get("is_error"):
        return Said(usage, text=text or None)
    errors = summary.get("errors")
    reason = text or "; ".join(map(str, errors if isinstance(errors, list) else ()))
    failure = _failure(summary, text)
    return Said(usage, failure=failure, reason=reason[:MOST_REASON], session_lost=_is_lost(summary))


def _is_lost(summary: Mapping[str, Any]) -> bool:
    errors = summary.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    return isinstance(first, str) and first.startswith(_NO_SESSION)


def _failure(summary: Mapping[str, Any], text: str) -> str:
    status = summary.get("api_error_status")
    if status == 429:
        return "rate_limited"
    if isinstance(status, int) and status >= 500:
        return "overloaded"
    if status in _LOGIN or (status is None and "/login" in text):
        return "login"
    return _ENDS.get(str(summary.get("subtype")), "error")


def _counts(usage: object, names: Mapping[str, str]) -> dict[str, float]:
    return {ours: _number(usage.get(theirs)) for ours, theirs in names.items()} if isinstance(usage, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0.0
