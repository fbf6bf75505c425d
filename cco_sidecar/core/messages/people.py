"""Who can be written to: agents by name, by type or by issue, as long as they live."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec
from attrs import define, field

from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.identifiers import identifier
from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.core.tenure import Holder, Tenure
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.errors import NotFound, RecipientGone

MOST_KNOWN = 10_000
MOST_NAMED = 10
FORMS = ("agent", "type", "issue")
_ADMIN = Holder(ADMIN, ADMIN, None, "", 0.0)


@define(eq=False)
class People:
    """The agents of a project: those started here, and those that were given a token.

    :param started: every agent that was started here and has not ended.
    :param find_started: one that was, ended or not.
    :param types: the names of the agent types.
    :param is_issue: whether something is known of an issue.
    """

    _ledger: Ledger
    _tenure: Tenure
    _started: Callable[[], Iterable[Holder]]
    _find_started: Callable[[str], Holder | None]
    _types: Collection[str]
    _is_issue: Callable[[str], bool]
    kinds: tuple[str, ...] = ("correspondent",)
    _met: "OrderedDict[str, Holder]" = field(factory=OrderedDict)  # by a token; the one met last is the last

    def meet(self, holder: Holder) -> None:
        """Take note of an agent that has a token."""
        if holder.agent_id in {ADMIN, SIDECAR} or self._met.get(holder.agent_id) == holder:
            return
        if self._find_started(holder.agent_id) is None:
            self._keep(holder)
            self._ledger.note("correspondent", holder)

    def _keep(self, holder: Holder) -> None:
        self._met.pop(holder.agent_id, None)
        self._met[holder.agent_id] = holder
        while len(self._met) > MOST_KNOWN:
            self._met.popitem(last=False)

    def lives(self, holder: Holder) -> bool:
        """Say whether the agent can still be told something."""
        return self._tenure.until(holder) is not None

    def until(self, holder: Holder) -> float | None:
        """Give a time until which the agent certainly lives (then ask again); None if it does not any more."""
        return self._tenure.until(holder)

    def meant_by(self, to: str, sender: str) -> Sequence[Holder]:
        """Say which agents are meant: one, or all that live of a type or on an issue but the sender itself.

        A name alone is that of an agent, else of a type, else of an issue; ``agent:``, ``type:`` and ``issue:`` before
        it say which.

        :raises InvalidParameter: it is no name.
        :raises NotFound: there is nothing of that name.
        :raises RecipientGone: there is, or was, but nobody lives who could hear it.
        """
        form, colon, name = to.partition(":")
        if not colon or form not in FORMS:
            form, name = "", to
        identifier(name, "to")
        if form in {"", "agent"}:
            holder = self._find(name)
            if holder is not None:
                return [self._alive(holder)]
        if form in {"", "type"} and name in self._types:
            return self._those(f"of the type '{name}'", lambda one: one.agent_type == name, sender)
        if form in {"", "issue"}:
            found = [one for one in self._living() if one.issue_id == name]
            if found or self._is_issue(name):
                return self._those(f"on the issue '{name}'", lambda one: one.issue_id == name, sender)
        raise NotFound(
            f"'{to}' is no agent, agent type or issue of this project; GET /api/agents lists the agents. "
            "An agent that was not started here is known from its token on.",
            to=to,
        )

    def _find(self, agent_id: str) -> Holder | None:
        return _ADMIN if agent_id == ADMIN else self._find_started(agent_id) or self._met.get(agent_id)

    def _living(self) -> Iterable[Holder]:
        yield from self._started()
        for holder in self._met.values():
            if self.lives(holder) and self._find_started(holder.agent_id) is None:
                yield holder

    def _those(self, whose: str, is_meant: Callable[[Holder], bool], sender: str) -> Sequence[Holder]:
        found = [one for one in self._living() if is_meant(one) and one.agent_id != sender]
        if not found:
            raise RecipientGone(
                f"No other agent {whose} lives, so nobody would get this. Start one (POST /api/agents/spawn), or leave "
                "it to the next that comes (POST /api/tasks).",
                agents=[],
            )
        return found

    def _alive(self, holder: Holder) -> Holder:
        if self.lives(holder):
            return holder
        others = [
            one.agent_id
            for one in self._living()
            if one.agent_type == holder.agent_type and one.issue_id == holder.issue_id
        ][:MOST_NAMED]
        instead = (
            f"Write to who goes on: {', '.join(others)}."
            if others
            else "Read what it left (GET /api/results), start another (POST /api/agents/spawn), or add a task."
        )
        raise RecipientGone(
            f"The agent '{holder.agent_id}' ({holder.agent_type}, issue '{holder.issue_id}') has ended and gets "
            f"nothing any more. {instead}",
            agent_id=holder.agent_id,
            agent_type=holder.agent_type,
            issue_id=holder.issue_id,
            agents=others,
        )

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up an agent that had a token."""
        self._keep(msgspec.json.decode(body, type=Holder))

    def snapshot(self) -> Iterable[Record]:
        """Give those that had one."""
        for holder in self._met.values():
            yield "correspondent", holder
