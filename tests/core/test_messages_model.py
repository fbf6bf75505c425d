"""Messages in whatever order things happen: none lost, none to the wrong one, none over and open again."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred

from cco_sidecar.core.messages.message import Delivery, Message
from cco_sidecar.core.messages.messages import MOST_IN_INBOX
from cco_sidecar.errors import RecipientGone, Refusal, StorageFull
from tests.core.rights_house import GONE, RightsHouse
from tests.fakes import outcome

AGENTS = ["a", "b", "c"]
TTL = 150
OVER = {"seen", "done", "expired", "dead"}


class MessagesMachine(RuleBasedStateMachine):
    """Does what agents, time and the disk do."""

    def __init__(self) -> None:
        super().__init__()
        self.house = RightsHouse(started_here=set(AGENTS))
        self.sent: dict[str, tuple[str, set[str]]] = {}  # told: by whom, to whom
        self.acknowledged: set[tuple[str, str, str]] = set()  # told: message, agent, word
        self.over: dict[tuple[str, str], str] = {}
        self.waits: list[tuple[str, Deferred[list[Delivery]], list[Any]]] = []

    @rule(
        sender=st.sampled_from(AGENTS),
        to=st.sampled_from([*AGENTS, "t", "i"]),
        kind=st.sampled_from(["info", "request", "steer"]),
        ack=st.booleans(),
        data=st.data(),
    )
    def send(self, sender: str, to: str, kind: Any, ack: bool, data: st.DataObject) -> None:
        mine = [name for name, (by, those) in self.sent.items() if sender in those | {by}]
        mine = [name for name in mine if self.house.messages._room.find(name) is not None]
        reply_to = data.draw(st.none() | st.sampled_from(mine)) if mine else None
        try:
            sending = self.house.send(sender, to, kind=kind, ack=ack, ttl=TTL, reply_to=reply_to)
        except RecipientGone:
            meant = {to} if to in AGENTS else set(AGENTS) - {sender}
            assert meant <= self.house.gone
            return
        sending.addCallbacks(lambda message: self._told(sender, message), lambda _: None)

    def _told(self, sender: str, message: Message) -> None:
        assert message.record.sender.agent_id == sender
        self.sent[message.record.id] = (sender, set(message.deliveries))

    @rule(agent=st.sampled_from(AGENTS), wait=st.sampled_from([0, 0, 30, 100]), most=st.sampled_from([1, 3]))
    def receive(self, agent: str, wait: int, most: int) -> None:
        receiving = self.house.receive(agent, wait, most)

        def given(deliveries: list[Delivery]) -> list[Delivery]:
            for delivery in deliveries:
                assert delivery.holder.agent_id == agent, "the wrong one"
                assert delivery.state.state == "offered"
            places = [delivery.place for delivery in deliveries]
            assert places == sorted(places)
            return deliveries

        receiving.addCallback(given)
        self.waits.append((agent, receiving, outcome(receiving)))

    @rule(agent=st.sampled_from(AGENTS))
    def call(self, agent: str) -> None:
        before = [one for one in self.house.messages.inbox(agent) if one.state.by_call and one.is_unread]
        before = [one for one in before if not one.writing]
        self.house.messages.called(agent)
        found = self.house.messages.hand_over(agent, 3)
        assert all(one.holder.agent_id == agent and one.state.by_call for one in found)
        assert not any(one.is_unread for one in before), "it was carried, and the agent has called again"

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), word=st.sampled_from(["seen", "done"]))
    def acknowledge(self, data: st.DataObject, word: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.sent)))
        agent = data.draw(st.sampled_from(sorted(self.sent[name][1])))
        was_open = self.house.messages.get(name).deliveries[agent].is_open
        done = self.house.messages.acknowledge(agent, name, word)
        if was_open:
            done.addCallbacks(lambda message: self._answered(message, agent), lambda _: None)
        outcome(done)

    def _answered(self, message: Message, agent: str) -> None:
        self.acknowledged.add((message.record.id, agent, message.deliveries[agent].state.state))

    @rule(agent=st.sampled_from(AGENTS))
    def end_agent(self, agent: str) -> None:
        self.house.gone.add(agent)
        self.house.messages.end_agent(agent, GONE)
        assert all(one.writing for one in self.house.messages.inbox(agent))

    @rule(agent=st.sampled_from(AGENTS))
    def another_begins(self, agent: str) -> None:
        """An agent of that name is there again: names are few here."""
        if not self.house.messages.inbox(agent):
            self.house.gone.discard(agent)

    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        still = [wait for wait in self.waits if not wait[2]]
        if still:
            data.draw(st.sampled_from(still))[1].cancel()

    @rule(seconds=st.sampled_from([1, 31, 61, 151]))
    def time_passes(self, seconds: int) -> None:
        self.house.pass_time(seconds)

    @rule()
    def the_disk_takes_its_time(self) -> None:
        self.house.journal.held = True

    @precondition(lambda self: self.house.journal.held)
    @rule()
    def the_disk_is_done(self) -> None:
        self.house.journal.held = False
        self.house.journal.write()

    @precondition(lambda self: self.house.journal.waiting)
    @rule()
    def the_disk_refuses(self) -> None:
        self.house.journal.refuse(StorageFull("full"))

    @rule(snapshot=st.booleans(), crash=st.booleans())
    def restart(self, snapshot: bool, crash: bool) -> None:
        if not crash:
            self.house.journal.held = False
            self.house.journal.write()
        before = self._states()
        self.house = self.house.restart(snapshot=snapshot and not crash)
        if crash:
            self.over = {key: value for key, value in self.over.items() if value in {"seen", "done"}}
        else:
            assert self._states() == before
        self.waits = [wait for wait in self.waits if wait[2]]

    def _states(self) -> dict[tuple[str, str], str]:
        return {
            (message.record.id, agent): one.state.state
            for message in self.house.messages._room
            for agent, one in message.deliveries.items()
        }

    # What must hold

    @invariant()
    def nothing_is_lost(self) -> None:
        states = self._states()
        for name, (_, agents) in self.sent.items():
            assert {agent for message, agent in states if message == name} == agents
        for name, agent, word in self.acknowledged:
            assert states[name, agent] in (OVER if word == "seen" else {word})

    @invariant()
    def what_is_over_stays_so(self) -> None:
        for message in self.house.messages._room:
            for agent, one in message.deliveries.items():
                if not one.is_open:
                    assert self.over.setdefault((message.record.id, agent), one.state.state) == one.state.state

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        messages = self.house.messages
        for waiting in messages._waiting:
            assert not any(one.state.state == "queued" and not one.writing for one in messages.inbox(waiting.agent))
        assert self.house.room.used == len(messages._waiting)

    @invariant()
    def bounds_are_kept(self) -> None:
        messages, room = self.house.messages, self.house.messages._room
        assert all(room.depth(agent) <= MOST_IN_INBOX for agent in AGENTS)
        assert room.open == sum(one.is_open for message in room for one in message.deliveries.values())
        assert room.open_bytes == sum(message.size for message in room if message.is_open)
        assert all(count > 0 for count in messages._coming.values())

    def teardown(self) -> None:
        self.house.journal.held = False
        self.house.journal.write()
        for _ in range(3):
            self.house.pass_time(TTL + 1)
        assert self.house.room.used == 0
        assert all(isinstance(seen[0], (list, Refusal, Exception)) for _, _, seen in self.waits)
        states = self._states()
        assert not {"queued", "offered"} & set(states.values()), "neither arrived nor told"
        self.house = self.house.restart()  # what the disk refused to tell is told by the next
        states = self._states()
        failed = {key for key, state in states.items() if state in {"dead", "expired"}}
        assert failed <= {(data["message_id"], data["agent_id"]) for data in self.house.data("message_dead")}


TestMessages = MessagesMachine.TestCase
TestMessages.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
