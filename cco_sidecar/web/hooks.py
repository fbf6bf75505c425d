"""Claude Code's hooks: its JSON in, its JSON out (contract section 8, "Claude Code").

Each hook is a sign of life. What is not about files, ends or beginnings is answered with an empty object, also events
that later versions of Claude Code may have. https://docs.claude.com/en/docs/claude-code/hooks has the forms.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from attrs import define, evolve
from msgspec import Meta
from twisted.internet.defer import Deferred

from cco_sidecar.core.agents import Agents
from cco_sidecar.core.briefing import briefing_markdown
from cco_sidecar.core.hooks.files import FileSeen
from cco_sidecar.core.hooks.tools import EDITS, OURS, READS
from cco_sidecar.core.hooks.wording import after_compaction, before_compaction
from cco_sidecar.core.tenure import Holder, holder_of
from cco_sidecar.interfaces import IResultStore
from cco_sidecar.web.briefings import Briefings
from cco_sidecar.web.codec import Reply
from cco_sidecar.web.routing import Call, ProjectQuery

MOST_BYTES = 8 * 1024 * 1024
"""A hook's input has the whole output of a tool in it: a picture, a long file."""
BRIEFING_TOKENS = 2_000
"""Claude Code puts the answer of a hook aside, into a file, when it has more than 10,000 characters."""
AFTER_TOOL = frozenset({"PostToolUse", "PostToolUseFailure"})
FOR_GOOD = frozenset({"logout", "prompt_input_exit", "bypass_permissions_disabled", "other"})
"""Reasons of SessionEnd after which the program is gone; after ``clear`` and ``resume`` it goes on."""

Text = Annotated[str, Meta(max_length=4096)]
Look = Callable[[Path, str], "Deferred[FileSeen]"]


class _ToolInput(msgspec.Struct):
    file_path: Text | None = None
    notebook_path: Text | None = None


class HookRequest(msgspec.Struct):
    """What Claude Code gives a hook, as far as it counts here; ``agent_id`` is there within a sub-agent alone."""

    hook_event_name: Annotated[str, Meta(min_length=1, max_length=64)]
    agent_id: Text | None = None
    tool_name: Text = ""
    tool_use_id: Text = ""
    tool_input: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    stop_hook_active: bool = False
    source: Text = ""
    reason: Text = ""

    @property
    def proves_seen(self) -> bool:
        """Whether the model has seen what the answers before carried.

        A sub-agent of Claude Code's acts in the name of its agent, but that one does not hear what it is told. The hook
        after one of our own tools tells of the very answer that may carry messages, before the model is shown it.
        """
        is_of_that_answer = self.hook_event_name in AFTER_TOOL and self.tool_name.startswith(OURS)
        return self.agent_id is None and not is_of_that_answer

    @property
    def file(self) -> str | None:
        """The file that a tool reads or edits."""
        if self.tool_name not in EDITS + READS:
            return None
        try:
            found = msgspec.json.decode(self.tool_input, type=_ToolInput)
        except msgspec.MsgspecError:
            return None
        return found.file_path or found.notebook_path


class HookAnswer(msgspec.Struct, omit_defaults=True):
    """What Claude Code takes from a hook; without anything it goes on."""

    hookSpecificOutput: dict[str, str] | None = None
    decision: str | None = None
    reason: str | None = None
    systemMessage: str | None = None


NOTHING = HookAnswer()


@define(eq=False)
class HooksAPI:
    """Parse, delegate, encode.

    :param look: looks at a file of a project, off the reactor.
    :param exhausted: says, of a project and an agent of it, which budget is used up, if one is.
    """

    _agents: Agents
    _store: IResultStore
    _briefings: Briefings
    _look: Look
    _exhausted: Callable[[str, str], str | None]

    async def claude(self, call: Call[ProjectQuery, HookRequest]) -> Reply:
        """Answer a hook."""
        asked, holder = call.body, holder_of(call.holder)
        if asked.proves_seen:
            call.project.messages.called(holder.agent_id)
        call.project.hooks.keep_alive(holder)
        return Reply(await self._answer(call, holder))

    async def _answer(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        answer = NOTHING
        match call.body.hook_event_name:
            case "PreToolUse":
                answer = await self._before_tool(call, holder)
            case "PostToolUse":
                answer = await self._after_tool(call, holder)
            case "PostToolUseFailure":
                answer = self._after_failure(call, holder)
            case "UserPromptSubmit":
                answer = self._news(call, holder)
            case "Stop":
                answer = await self._end(call, holder)
            case "SessionStart":
                answer = await self._began(call, holder)
            case "PreCompact":
                answer = await self._before_compaction(call, holder)
            case "SessionEnd":
                self._over(call, holder)
        return answer

    async def _began(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        facts = await self._briefings.facts(call.project, call.holder, holder.agent_id)
        parts = [after_compaction(facts)] if call.body.source == "compact" else []
        # Messages come as with every hook, so that the next one proves them seen; those that were stay in the briefing.
        seen = [message for message in facts.messages if not message.is_unread]
        parts.append(briefing_markdown(evolve(facts, messages=seen), BRIEFING_TOKENS).decode())
        news = call.project.hooks.news(holder)
        parts += [] if news is None else [news]
        return _told("SessionStart", "\n\n".join(parts))

    def _news(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        text = None if call.body.agent_id is not None else call.project.hooks.news(holder)
        return NOTHING if text is None else _told(call.body.hook_event_name, text)

    async def _before_tool(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        body, path = call.body, call.body.file
        if body.agent_id is not None and body.tool_name.startswith(OURS):
            call.project.hooks.call_aside(holder, body.tool_use_id)
        if path is None or body.tool_name not in EDITS:
            return NOTHING
        why = await self._why_not(call, holder, path)
        if why is None:
            return NOTHING  # and not "allow", which would take the question away that a person may want to be asked
        return HookAnswer(
            {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": why}
        )

    async def _why_not(self, call: Call[Any, HookRequest], holder: Holder, path: str) -> str | None:
        exhausted = self._exhausted(call.project.id, holder.agent_id)
        if exhausted is not None:
            return f"Nothing is edited any more, for {exhausted}. Commit what is whole, write a checkpoint, and end."
        return call.project.hooks.edit(holder, await self._look(call.project.root, path))

    async def _after_tool(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        body, hooks = call.body, call.project.hooks
        path = body.file
        if path is not None:
            file = await self._look(call.project.root, path)
            if body.tool_name in EDITS:
                hooks.was_edited(holder, file)
            else:
                hooks.was_read(holder, file)
        if body.tool_name.startswith(OURS):
            return NOTHING
        return self._news(call, holder)

    def _after_failure(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        return NOTHING if call.body.tool_name.startswith(OURS) else self._news(call, holder)

    async def _before_compaction(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        facts = await self._briefings.facts(call.project, call.holder, holder.agent_id)
        # The whole answer is what the summary is asked to heed.
        return HookAnswer(systemMessage=before_compaction(facts))

    async def _end(self, call: Call[Any, HookRequest], holder: Holder) -> HookAnswer:
        if call.body.stop_hook_active:
            return NOTHING  # it was held back just now: twice would be for ever
        why = call.project.hooks.end(holder, has_result=await self._has_result(call, holder))
        return NOTHING if why is None else HookAnswer(decision="block", reason=why)

    async def _has_result(self, call: Call[Any, HookRequest], holder: Holder) -> bool:
        agent = self._agents.find(call.project.id, holder.agent_id)
        if agent is not None:
            return agent.result_id is not None
        listing = await self._store.listing(call.project.id, holder.issue_id)
        return any(entry.agent_id == holder.agent_id for entry in listing.entries)

    def _over(self, call: Call[Any, HookRequest], holder: Holder) -> None:
        # Of one that was started here its process tells, and that it may go on is for the sidecar to say.
        if call.body.reason in FOR_GOOD and not self._agents.knows(call.project.id, holder.agent_id):
            call.project.hooks.gone(holder)


def _told(event: str, text: str) -> HookAnswer:
    return HookAnswer({"hookEventName": event, "additionalContext": text})
