"""Doing the steps of calls without a wire: answers as told, a clock that pauses move."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import define, field

from cco_sidecar.client.desk import Desk
from cco_sidecar.client.server import parse_server
from cco_sidecar.client.settings import Identity, Settings
from cco_sidecar.client.values import Answer, Pause, Request, Send, Steps, Trouble

T = TypeVar("T")
ME = Identity("a-1", "python-specialist", "issue-1", "p")
START = 1_800_000_000.0
BROKEN = Trouble("broken", "it broke")
STALE = Trouble("stale", "it had ended")
LATE = Trouble("late")
UNREACHABLE = Trouble("unreachable", "Connection refused")


def answered(body: object = None, status: int = 200, **headers: str) -> Answer:
    """Make an answer; header names with _ for -."""
    text = b"" if body is None else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-").lower(): value for name, value in headers.items()}, text)


def refused(status: int, code: str, details: Mapping[str, Any] | None = None, **headers: str) -> Answer:
    """Make a refusal as the contract has it."""
    body = {"error": "no", "message": f"Not so: {code}.", "code": code, "details": details or {}, "request_id": "req-7"}
    return answered(body, status, **headers)


@define
class World:
    """A desk, its time, and what it was made to do; ``chance`` is always as high as can be."""

    time: float = 0.0
    asked: list[Request] = field(factory=list)
    pauses: list[float] = field(factory=list)
    seconds: list[float] = field(factory=list)

    def desk(self, token: str | None = "t", **more: Any) -> Desk:
        """Make a desk in this world."""
        source = more.pop("source", None)
        settings = Settings(parse_server("http://127.0.0.1:3001/api"), ME, token, source, None)
        return Desk(
            settings,
            monotonic=lambda: self.time,
            now=lambda: START + self.time,
            chance=lambda: 1.0,
            **more,
        )

    def do(self, steps: Steps[T], *outcomes: Answer | Trouble | Callable[[Request], Answer | Trouble]) -> T:
        """Do all steps, each request being answered by the next outcome; the last one for ever if it is a function."""
        left = list(outcomes)
        outcome: Answer | Trouble | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.time += step.seconds
                    outcome = None
                    continue
                assert isinstance(step, Send)
                self.asked.append(step.request)
                self.seconds.append(step.seconds)
                assert left, f"nobody answers {step.request}"
                told = left.pop(0) if len(left) > 1 or not callable(left[0]) else left[0]
                outcome = told(step.request) if callable(told) else told
        except StopIteration as end:
            result: T = end.value
            assert not [it for it in left if not callable(it)], "not all outcomes were asked for"
            return result

    @property
    def shown(self) -> list[str]:
        """The tokens that were shown."""
        return [request.headers["Authorization"].removeprefix("Bearer ") for request in self.asked]
