"""What the hooks of one project's agents are answered: decided from claims, messages, and what hooks told before."""

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.claims.claims import TOPIC, Claims
from cco_sidecar.core.claims.entry import ClaimRecord
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.hooks.files import FileSeen, Remembered
from cco_sidecar.core.hooks.wording import LAST_TRY, changed, denied, wanted_by
from cco_sidecar.core.messages.messages import Messages
from cco_sidecar.core.messages.wording import worded
from cco_sidecar.core.tasks.tasks import Tasks
from cco_sidecar.core.tenure import Holder
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.errors import InvalidParameter, Refusal, TokenRevoked

_log = Logger()

MOST_MESSAGES = 3
"""So many messages come with a hook's answer; the next ones with the next."""
DENIED_EVENT = "edit_denied"


@define(eq=False)
class Hooks:
    """Decides what an agent may do, and says what it has to know."""

    _clock: IReactorTime
    _hub: EventHub
    _claims: Claims
    _tasks: Tasks
    _messages: Messages
    _seen: Remembered = field(factory=Remembered)

    def keep_alive(self, holder: Holder) -> None:
        """Let what an agent holds go on, for it is at work."""
        self._claims.keep_alive(holder)
        self._tasks.keep_alive(holder)

    # Files

    def edit(self, holder: Holder, file: FileSeen) -> str | None:
        """Say why an agent may not edit a file now; None if it may."""
        agent, now = holder.agent_id, self._clock.seconds()
        if not file.names:
            return None  # outside of the project nobody can claim anything
        for name in file.names:
            record = self._held_by_another(agent, name)
            if record is not None:
                tries = self._seen.deny(agent, name, record.holder.agent_id)
                if tries == LAST_TRY:
                    self._tell_denied(holder, name, record, tries)
                return denied(name, record, tries, now)
        self._seen.allow(agent, file.names)
        if self._seen.has_changed(agent, file):
            return changed(file.name, self._seen.last_editor(file.name), is_gone=file.stamp is None)
        return None

    def _held_by_another(self, agent: str, name: str) -> ClaimRecord | None:
        """Find a claim of another agent on a path, unless this one shares it."""
        try:
            about = self._claims.listing(about=name)
        except InvalidParameter:
            return None  # no claim can name such a path
        held = [entry.record for entry in about if entry.record is not None]
        if any(record.holder.agent_id == agent for record in held):
            return None
        return next(iter(held), None)

    def was_read(self, holder: Holder, file: FileSeen) -> None:
        """Note what an agent has read."""
        if file.names:
            self._seen.read(holder.agent_id, file)

    def was_edited(self, holder: Holder, file: FileSeen) -> None:
        """Note what an agent has written."""
        if file.names:
            self._seen.edited(holder.agent_id, file, self._clock.seconds())

    def _tell_denied(self, holder: Holder, name: str, record: ClaimRecord, tries: int) -> None:
        data = {
            "agent_id": holder.agent_id,
            "agent_type": holder.agent_type,
            "issue_id": holder.issue_id,
            "resource": name,
            "tries": tries,
            "claim_id": record.id,
            "held_by": record.holder.agent_id,
        }
        draft = Draft.of_sidecar(DENIED_EVENT, TOPIC, data, agent_type=holder.agent_type, issue_id=holder.issue_id)
        self._hub.publish(draft).addErrback(_untold)

    # Words

    def call_aside(self, holder: Holder, call_id: str) -> None:
        """Note a call of our own tools by a sub-agent of an agent's."""
        self._seen.call_aside(holder.agent_id, call_id)

    def was_aside(self, agent: str, call_id: str) -> bool:
        """Say whether a call was a sub-agent's: it is not to be given what is written to its agent."""
        return self._seen.was_aside(agent, call_id)

    def news(self, holder: Holder) -> str | None:
        """Give what others have written to an agent, in words; None when there is nothing."""
        given = [] if holder.agent_id == ADMIN else self._messages.hand_over(holder.agent_id, MOST_MESSAGES)
        return worded(given) if given else None

    def end(self, holder: Holder, *, has_result: bool) -> str | None:
        """Say why an agent is not to end yet; None if it may. It is held back once for want of a result."""
        waits = any(
            one.state.state == "queued" and one.record.kind != "info" for one in self._messages.inbox(holder.agent_id)
        )
        messages = self.news(holder) if waits else None
        asks = not has_result and self._seen.hold_back(holder.agent_id)
        return wanted_by(messages or "", asks) or None

    def gone(self, holder: Holder) -> None:
        """Take back what an agent holds whose program has ended: of one that was not started here only hooks tell."""
        ended = TokenRevoked(f"The session of '{holder.agent_id}' has ended.")
        self._claims.end_agent(holder.agent_id, ended)
        self._tasks.end_agent(holder.agent_id, ended)
        self._seen.forget(holder.agent_id)

    def forget(self, agent: str) -> None:
        """Forget an agent that is gone."""
        self._seen.forget(agent)


def _untold(failure: Failure) -> None:
    failure.trap(Refusal)
    _log.warn("nobody hears that an edit was denied: {why}", why=failure.getErrorMessage())
