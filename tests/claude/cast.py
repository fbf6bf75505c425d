"""Many agents, one model: each plays a part of its own, found by what its instructions say that it is.

A part is a generator: it yields what the model says, and is sent the next request, which has what came of it. So a
script reads as the agent's story, from its first turn to its last words.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from attrs import define, field, frozen

from tests.claude.scripted_api import Answer, Asked, Text, ToolUse, Trouble

_INTRODUCED = re.compile(r"You are the agent ([^ ,]+), a ([^ ,]+), on issue ([^ ,]+)\. Nobody")


@frozen
class Role:
    """Who an agent is, as the runner told its model."""

    agent_id: str
    agent_type: str
    issue_id: str
    task: str

    @staticmethod
    def of(asked: Asked) -> "Role":
        """Read it from a request.

        :raises LookupError: the runner did not say it.
        """
        found = _INTRODUCED.search(asked.system)
        if found is None:
            raise LookupError("whose request this is")
        return Role(found[1], found[2], found[3], asked.prompt)


Part = Generator[Answer, Asked, str]
"""What an agent says, turn by turn; it returns its last words."""

T = TypeVar("T")
Piece = Generator[Answer, Asked, T]
"""A piece of a part, and what comes of it."""


def use(tool: str, **arguments: object) -> Piece[str]:
    """Call a tool; gives its answer, as the model reads it."""
    asked = yield ToolUse(tool, arguments)
    return asked.last_result


def cco(tool: str, **arguments: object) -> Piece[str]:
    """Call a tool of the sidecar's."""
    return (yield from use(f"mcp__cco__{tool}", **arguments))


def ask(tool: str, **arguments: object) -> Piece[Any]:
    """Call a tool of the sidecar's that answers in JSON; what Claude Code writes behind that is left out."""
    text = yield from cco(tool, **arguments)
    return json.JSONDecoder().raw_decode(text)[0]


@define(eq=False)
class Cast:
    """A script for many agents.

    :param give: says which part an agent plays.
    """

    give: Callable[[Role], Part]
    troubles: list[BaseException] = field(factory=list)
    """What went wrong in a part: the test is to look that this is empty."""
    turns: "Counter[str]" = field(factory=Counter)
    """How many turns each agent had."""
    roles: dict[str, Role] = field(factory=dict)
    _parts: dict[str, Part] = field(factory=dict)
    _words: dict[str, str] = field(factory=dict)

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request; who has said their last words says them again."""
        if not asked.is_turn and not asked.is_compaction:
            return Text("ok")
        try:
            return self._turn(asked)
        except BaseException as error:  # noqa: BLE001 - it is raised in a thread that nobody waits for
            self.troubles.append(error)
            return Trouble(400, message=f"the script failed: {error!r}")

    def _turn(self, asked: Asked) -> Answer:
        role = Role.of(asked)
        self.turns[role.agent_id] += 1
        part = self._parts.get(role.agent_id)
        try:
            if part is not None:
                return part.send(asked)
            if role.agent_id in self._words:
                return Text(self._words[role.agent_id])
            self.roles[role.agent_id] = role
            part = self._parts[role.agent_id] = self.give(role)
            return next(part)
        except StopIteration as end:
            self._parts.pop(role.agent_id)
            self._words[role.agent_id] = end.value
            return Text(end.value)
