"""The claims of one project: granted in turn, kept over restarts, ended by time or with their agents."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.claims.entry import ClaimRecord, Entry, Wish, read_resources
from cco_sidecar.core.claims.queue import ClaimQueue, Obstacles
from cco_sidecar.core.claims.refusals import SHOWN_CONFLICTS, claimed, deadlock, gone
from cco_sidecar.core.claims.resources import NoResource, Resource, resource
from cco_sidecar.core.events.hub import Draft, EventHub
from cco_sidecar.core.events.waiting import Reader
from cco_sidecar.core.fences import Fences
from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.core.parking import Parking
from cco_sidecar.core.shielding import shielded
from cco_sidecar.core.tenure import Holder, Tenure
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import ADMIN
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.errors import Foreign, InvalidParameter, Refusal, TooManyPolls, TooManyRequests

_log = Logger()

MOST_RESOURCES = 10_000
MOST_OF_AGENT = 1_000
MOST_WAITING = 512
MOST_AWAITED = 50_000
"""How many pairs of a claim that waits and one that it waits for are kept: a bound on memory."""
MOST_AWAITED_BY_ONE = 1_000
GRANTS_AT_ONCE = 64
TOPIC = "claims"
EXPIRED_EVENT = "claim_expired"


class _Gone(msgspec.Struct, frozen=True):
    id: str


@define(eq=False)
class Claims:
    """Gives each resource to one holder, or to several that share it.

    :param root: the project's root, absolute: paths below it are made relative.
    """

    _clock: IReactorTime
    _ledger: Ledger
    _hub: EventHub
    _fences: Fences
    _tenure: Tenure
    _parking: Parking
    _wheel: TimerWheel
    _root: str
    _new_id: Callable[[], str]
    kinds: tuple[str, ...] = ("claims", "claim", "claim_gone")
    _queue: ClaimQueue = field(factory=ClaimQueue)
    _numbered: int = 0
    _granting: bool = False
    _draining: bool = False

    # Asking

    def wish(self, holder: Holder, resources: Sequence[str], mode: str, ttl_seconds: int) -> Wish:
        """Understand what is asked for.

        :raises InvalidBody: a resource is none.
        """
        found = read_resources(resources, self._root)
        return Wish(holder, found, "shared" if mode == "shared" else "exclusive", ttl_seconds)

    def claim(self, reader: Reader, wish: Wish, seconds: float) -> "Deferred[ClaimRecord]":
        """Fire with the claim when it is on disk: all of its resources, or none.

        Whoever asks again for what it has claimed gets the same claim, renewed. Cancelling gives up the place in the
        queue; a claim that nobody was told of is released.

        :param seconds: how long to wait for it.
        :raises Claimed: others have claimed some of it, or wait for it in an earlier turn.
        :raises TooManyPolls: there is no place to wait.
        :raises TooManyRequests: there are too many claims.
        """
        mine = self._same(wish)
        if mine is not None:
            return self._renew(mine, wish.holder, wish.ttl_seconds, shorten=False)
        self._check_room(wish)
        obstacles = self._obstacles(wish, MOST_AWAITED_BY_ONE + 1 if seconds > 0 else SHOWN_CONFLICTS)
        self._numbered += 1
        now = self._clock.seconds()
        entry = Entry(f"clm-{self._new_id()}", wish, now, self._numbered)
        if obstacles.found:
            self._wait(entry, reader, obstacles, seconds)
        else:
            entry.answer = Deferred(lambda _: self._given_up(entry))
        assert entry.answer is not None
        answer = entry.answer
        self._queue.add(entry, obstacles)
        if not obstacles.found:
            self._grant(entry)
        return answer

    def _same(self, wish: Wish) -> Entry | None:
        """Find what the agent holds already, to the letter."""
        for entry in self._queue.of_agent(wish.holder.agent_id):
            if (
                entry.is_held
                and not entry.is_ending
                and entry.wish.mode == wish.mode
                and entry.wish.names == wish.names
            ):
                return None if self._is_late(entry) else entry
        return None

    def _is_late(self, entry: Entry) -> bool:
        """Say whether a claim's time is over, though the timer has not come to it yet; then end it."""
        if entry.record is None or entry.record.expires_at > self._clock.seconds():
            return False
        self._due(entry)
        return True

    def _check_room(self, wish: Wish) -> None:
        many = len(wish.resources)
        mine = sum(len(entry.wish.resources) for entry in self._queue.of_agent(wish.holder.agent_id))
        if self._queue.resources + many > MOST_RESOURCES:
            raise TooManyRequests(f"This project has {MOST_RESOURCES} claimed resources: claim a glob for many.", 5)
        if mine + many > MOST_OF_AGENT:
            raise TooManyRequests(
                f"An agent claims at most {MOST_OF_AGENT} resources: claim a glob for many, or release some.", 5
            )

    def _obstacles(self, wish: Wish, most: int) -> Obstacles:
        while True:
            obstacles = self._queue.obstacles(wish, most)
            # What has expired goes first; then others may come into sight, or be free.
            if not any([self._is_late(entry) for entry in obstacles.found]):  # noqa: C419 - each of them
                return obstacles

    def _wait(self, entry: Entry, reader: Reader, obstacles: Obstacles, seconds: float) -> None:
        if seconds <= 0 or self._draining:
            raise claimed(obstacles)
        held = [other for other in obstacles.found if other.is_held]
        if self._queue.leads_to(held, entry.agent):
            raise deadlock(obstacles)
        links = self._queue.awaited + len(obstacles.found) + len(obstacles.passed)
        if len(obstacles.found) > MOST_AWAITED_BY_ONE:
            raise TooManyPolls(f"More than {MOST_AWAITED_BY_ONE} others stand in the way: claim less at once.", 5)
        if self._queue.waiting >= MOST_WAITING or links > MOST_AWAITED:
            raise TooManyPolls("Too many claims of this project wait already: try again later.", 5)
        entry.parked = self._parking.park(
            reader, seconds, lambda _: self._time_is_up(entry), lambda _: self._given_up(entry)
        )
        entry.answer = entry.parked.done

    def _time_is_up(self, entry: Entry) -> None:
        if entry.awaited:  # else its turn has come, if only for this turn of the reactor
            self._turn_away(entry, self._refused(entry) or claimed(Obstacles(entry.awaited)))

    @staticmethod
    def _refused(entry: Entry) -> Refusal | None:
        return None if entry.parked is None else entry.parked.reader.refused()

    def _turn_away(self, entry: Entry, refusal: Refusal) -> None:
        """End a claim that waits."""
        assert entry.parked is not None
        answer = self._parking.let_go(entry.parked)
        entry.is_over = True
        self._queue.remove(entry)
        entry.answer = None
        answer.errback(refusal)
        self._go_on()

    def _given_up(self, entry: Entry) -> None:
        """The client has hung up before it was answered."""
        entry.answer = None  # then it is released as soon as it is on disk
        if not (entry.is_held or entry.is_over):
            entry.is_over = True
            self._queue.remove(entry)
            self._go_on()

    # Granting

    def _go_on(self) -> None:
        """Grant what is free now: the first of it at once, the rest soon."""
        if self._granting:
            return
        self._granting = True
        for _ in range(GRANTS_AT_ONCE):
            entry = self._queue.next_free()
            if entry is None:
                self._granting = False
                return
            self._turn_has_come(entry)
        self._clock.callLater(0, self._go_on_later)

    def _go_on_later(self) -> None:
        self._granting = False
        self._go_on()

    def _turn_has_come(self, entry: Entry) -> None:
        assert entry.parked is not None
        refusal = self._refused(entry)
        if refusal is not None:
            self._turn_away(entry, refusal)
            return
        self._parking.let_go(entry.parked)
        same = self._same(entry.wish)
        if same is None:
            self._grant(entry)
            return
        # Its agent asked twice, and has it by now.
        answer, entry.answer, entry.is_over = entry.parked.done, None, True
        self._queue.remove(entry)
        renewed = self._renew(same, entry.wish.holder, entry.wish.ttl_seconds, shorten=False)
        renewed.addBoth(lambda outcome: None if answer.called else answer.callback(outcome))  # a Failure is one there

    def _grant(self, entry: Entry) -> None:
        now = self._clock.seconds()
        entry.record = ClaimRecord(
            id=entry.id,
            resources=[one.text for one in entry.wish.resources],
            mode=entry.wish.mode,
            fence=self._fences.next(),
            holder=entry.wish.holder,
            since=now,
            ttl_seconds=entry.wish.ttl_seconds,
            expires_at=now + entry.wish.ttl_seconds,
        )
        self._queue.held()
        self._arm(entry)
        self._ledger.record("claim", entry.record).addCallbacks(
            lambda _: self._written(entry), lambda failure: self._not_written(entry, failure)
        ).addErrback(_unforeseen)

    def _written(self, entry: Entry) -> None:
        assert entry.record is not None
        entry.is_on_disk = True
        answer, entry.answer = entry.answer, None
        if entry.is_over:  # it has ended while it was on its way to the disk
            self._ledger.note("claim_gone", _Gone(entry.id))
            if answer is not None:
                answer.errback(gone(entry.id))
        elif answer is None:
            self._end(entry)
        else:
            answer.callback(entry.record)

    def _not_written(self, entry: Entry, failure: Failure) -> None:
        answer, entry.answer = entry.answer, None
        self._forget(entry)
        if answer is not None:
            answer.errback(failure)

    # Keeping

    def renew(self, holder: Holder, claim_id: str, ttl_seconds: int | None) -> "Deferred[ClaimRecord]":
        """Fire with the claim when its new end, that many seconds from now (or as many as before), is on disk.

        :raises NotFound: it has ended, or there never was one.
        :raises Foreign: it is another agent's.
        """
        entry = self._owned(holder, claim_id)
        return self._renew(entry, holder, ttl_seconds or entry.wish.ttl_seconds, shorten=True)

    def keep_alive(self, holder: Holder) -> None:
        """Renew what an agent holds, for it is at work: what has less than half of its time left."""
        now = self._clock.seconds()
        for entry in self._queue.of_agent(holder.agent_id):
            record = entry.record
            if record is None or not entry.is_on_disk or entry.is_ending or self._is_late(entry):
                continue
            if record.expires_at - now < record.ttl_seconds / 2:
                renewed = self._renew(entry, holder, record.ttl_seconds, shorten=False)
                renewed.addErrback(_not_renewed, entry.id)

    def _renew(self, entry: Entry, holder: Holder, ttl_seconds: int, shorten: bool) -> "Deferred[ClaimRecord]":
        before = entry.record
        assert before is not None
        ends = self._clock.seconds() + ttl_seconds
        record = msgspec.structs.replace(
            before,
            # The newest token is the one to live by; the admin renews in the holder's name.
            holder=holder if holder.agent_id == before.holder.agent_id else before.holder,
            ttl_seconds=ttl_seconds,
            expires_at=ends if shorten else max(ends, before.expires_at),
        )
        entry.record = record
        self._arm(entry)

        def refused(failure: Failure) -> Failure:
            if entry.record is record and not entry.is_over:
                entry.record = before
                self._arm(entry)
            return failure

        return shielded(self._ledger.record("claim", record).addCallbacks(lambda _: record, refused))

    def release(self, holder: Holder, claim_id: str) -> "Deferred[ClaimRecord]":
        """Fire with the claim that was, when that it is over is on disk.

        :raises NotFound: it has ended, or there never was one.
        :raises Foreign: it is another agent's.
        """
        entry = self._owned(holder, claim_id)
        record = entry.record
        assert record is not None

        entry.is_ending = True

        def released(_: object) -> ClaimRecord:
            self._forget(entry)
            return record

        def refused(failure: Failure) -> Failure:
            entry.is_ending = False
            return failure

        return shielded(self._ledger.record("claim_gone", _Gone(entry.id)).addCallbacks(released, refused))

    def _owned(self, holder: Holder, claim_id: str) -> Entry:
        entry = self._queue.find(claim_id)
        if entry is None or not entry.is_on_disk or entry.is_ending or self._is_late(entry):
            raise gone(claim_id)
        if holder.agent_id not in {ADMIN, entry.agent}:
            raise Foreign(f"This claim is of '{entry.agent}': only it and the admin may renew or release it.")
        return entry

    def listing(self, agent: str | None = None, issue: str | None = None, about: str | None = None) -> list[Entry]:
        """List claims, held and waiting, the newest first.

        :param about: a resource: those that conflict with it.
        :raises InvalidParameter: it is none.
        """
        found: Iterable[Entry] = self._queue if about is None else self._about(about)
        return sorted(
            (
                entry
                for entry in found
                if entry.is_on_disk is entry.is_held
                and not self._is_late(entry)
                and agent in {None, entry.agent}
                and issue in {None, entry.wish.holder.issue_id}
            ),
            key=lambda entry: -entry.number,
        )

    def _about(self, text: str) -> list[Entry]:
        try:
            return self._queue.about(resource(text, self._root))
        except NoResource as why:
            raise InvalidParameter(f"resource {why}.", parameter="resource") from None

    # Ending

    def _arm(self, entry: Entry) -> None:
        assert entry.record is not None
        self._wheel.clear(entry, entry.slot)
        holds_until = self._tenure.until(entry.record.holder)
        ends = entry.record.expires_at if holds_until is None else min(entry.record.expires_at, holds_until)
        entry.slot = self._wheel.set(entry, max(0.0, ends - self._clock.seconds()), self._due)

    def _due(self, entry: Entry) -> None:
        """Look at a claim whose time, or whose holder's token, is over."""
        if entry.is_over or entry.record is None:
            return
        if entry.record.expires_at <= self._clock.seconds():
            self._end(entry)
            self._tell_expired(entry.record)
        elif self._tenure.until(entry.record.holder) is None:
            self._end(entry)
        else:
            self._arm(entry)

    def _end(self, entry: Entry) -> None:
        if entry.is_on_disk:  # else `_written` says so
            self._ledger.note("claim_gone", _Gone(entry.id))
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        if entry.is_over:
            return
        entry.is_over = True
        self._wheel.clear(entry, entry.slot)
        self._queue.remove(entry)
        self._go_on()

    def _tell_expired(self, record: ClaimRecord) -> None:
        data = {
            "claim_id": record.id,
            "resources": record.resources,
            "mode": record.mode,
            "fence": record.fence,
            "agent_id": record.holder.agent_id,
            "agent_type": record.holder.agent_type,
            "issue_id": record.holder.issue_id,
            "since": rfc3339(record.since),
            "expired_at": rfc3339(record.expires_at),
        }
        draft = Draft.of_sidecar(
            EXPIRED_EVENT, TOPIC, data, agent_type=record.holder.agent_type, issue_id=record.holder.issue_id
        )
        self._hub.publish(draft).addErrback(_untold, record.id)

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """End all claims of an agent that is gone."""
        for entry in self._queue.of_agent(agent):
            if entry.is_held:
                self._end(entry)
            else:
                self._turn_away(entry, refusal)

    def end_refused(self) -> None:
        """Turn those away who wait under tokens that are no good any more."""
        for entry in list(self._queue):
            if not entry.is_over and entry.parked is not None and not entry.is_held:
                refusal = entry.parked.reader.refused()
                if refusal is not None:
                    self._turn_away(entry, refusal)

    def end_tokens(self, token_ids: Iterable[str], refusal: Refusal) -> None:
        """End the claims that hang on tokens which were revoked."""
        ended = frozenset(token_ids)
        for entry in self._queue:
            if entry.is_over:
                continue
            if entry.parked is not None and not entry.is_held:
                if entry.parked.reader.token_id in ended:
                    self._turn_away(entry, refusal)
            elif entry.record is not None and self._tenure.until(entry.record.holder) is None:
                self._end(entry)

    def drain(self) -> None:
        """Answer all that waits, and let nobody wait any more."""
        self._draining = True
        for entry in self._queue:
            if not entry.is_held:
                self._time_is_up(entry)

    # What lasts

    def open(self) -> None:
        """Begin, after recovery: what has ended meanwhile ends now."""
        for entry in self._queue:
            self._due(entry)

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Take up a claim, that one is gone, or that what follows is all there is."""
        if kind == "claims":
            self._queue = ClaimQueue()
            return
        if kind == "claim_gone":
            entry = self._queue.find(msgspec.json.decode(body, type=_Gone).id)
            if entry is not None:
                entry.is_over = True
                self._queue.remove(entry)
            return
        record = msgspec.json.decode(body, type=ClaimRecord)
        self._fences.seen(record.fence)
        known = self._queue.find(record.id)
        if known is not None:
            known.record = record
            return
        self._numbered += 1
        wish = Wish(record.holder, _restored(record.resources), record.mode, record.ttl_seconds)
        self._queue.add(Entry(record.id, wish, record.since, self._numbered, record, is_on_disk=True), Obstacles())

    def snapshot(self) -> Iterable[Record]:
        """Give every claim that is held.

        Older records are read before: an end among them that could not be written must not come to nothing.
        """
        yield "claims", None
        for entry in self._queue:
            if entry.is_on_disk:
                yield "claim", entry.record


def _restored(texts: Iterable[str]) -> tuple[Resource, ...]:
    return tuple(resource(text, "/") for text in texts)


def _not_renewed(failure: Failure, claim_id: str) -> None:
    failure.trap(Refusal)
    _log.warn("the claim {id} is not renewed: {why}", id=claim_id, why=failure.getErrorMessage())


def _unforeseen(failure: Failure) -> None:
    _log.failure("a claim could not be looked after", failure)


def _untold(failure: Failure, claim_id: str) -> None:
    failure.trap(Refusal)
    _log.warn("nobody hears that the claim {id} has expired: {why}", id=claim_id, why=failure.getErrorMessage())
