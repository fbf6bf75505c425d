"""One breaker for each account: what stops one agent of it stops all; then one tries whether it is over.

An account is what a model's provider counts by. A limit, an overload or an expired login is nobody's failure: the
agents that it stopped go back into the queue, and none of the account starts until one of them got through.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec
from attrs import define, evolve, field, frozen
from cachetools import LRUCache
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cco_sidecar.core.ledger import Ledger, Record
from cco_sidecar.core.times import rfc3339

RATE_LIMITED, OVERLOADED, LOGIN = "rate_limited", "overloaded", "login"
ACCOUNT_FAILURES = frozenset({RATE_LIMITED, OVERLOADED, LOGIN})
"""What stops an agent that is no fault of its own."""
OPEN, HALF_OPEN, CLOSED = "open", "half_open", "closed"
PARKED_EVENT, RESUMED_EVENT = "account_parked", "account_resumed"

MOST_ACCOUNTS = 1_000
MOST_ALONE = 3
"""So often in a row an agent may stop its account, without an answer of its own, while others get through."""
MOST_PROBE_SECONDS = 900.0
"""Claude Code has given up by then; who has not is stuck in something else, and another one tries."""
MOST_AHEAD_SECONDS = 8 * 86_400.0
"""The longest limit there is lasts a week: a later end is a mistake."""
_PACED_SECONDS = 600.0
_FORGOTTEN_SECONDS = 86_400.0
_RESET_SPREAD_SECONDS = 5.0

WHAT_IT_IS = {
    RATE_LIMITED: "its limit is used up",
    OVERLOADED: "the model's servers are overloaded",
    LOGIN: "its login has expired",
}


@frozen
class Waits:
    """How long breakers stay open, in seconds.

    :param first: until the first try; it doubles with each try that fails, up to ``most``.
    :param login: between tries while the login is expired.
    :param per_minute: how many agents of an account start in a minute after it is over; 0 is any number.
    """

    first: float = 30.0
    most: float = 300.0
    login: float = 600.0
    per_minute: int = 60


@frozen
class Stopped:
    """An agent was stopped by its account.

    :param answered: whether the model answered it in that run.
    :param resets_at: when the limit ends, in seconds since the epoch, if that was said.
    :param retry_after: how many seconds the last pause took that was asked for.
    """

    account: str
    agent_id: str
    project_id: str
    failure: str
    reason: str = ""
    answered: bool = False
    resets_at: float | None = None
    retry_after: float | None = None


@frozen
class Breaker:
    """The breaker of an account that is, or was until just now, not closed; times are seconds since the epoch.

    :param until: nobody starts before.
    :param tries: how often in a row it was opened.
    :param probe: the agent that tries whether it is over, since ``probe_at``.
    :param closed_at: since when it is over; it stays until that was told.
    :param projects: those whose agents it parked; ``told`` are those of them that know.
    """

    account: str
    failure: str
    reason: str
    opened_at: float
    until: float
    tries: int = 1
    probe: str | None = None
    probe_at: float = 0.0
    closed_at: float | None = None
    projects: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def state(self, now: float) -> str:
        """Say whether nobody starts (``open``), one may try (``half_open``), or everybody may (``closed``)."""
        if self.closed_at is not None:
            return CLOSED
        return HALF_OPEN if self.probe is not None or self.until <= now else OPEN

    @property
    def what_to_do(self) -> str:
        """Say what a person can do about it."""
        if self.failure == LOGIN:
            return f"log in again (claude, then /login), then: cco account resume {self.account}"
        return "nothing: one agent tries whether it is over, then all go on"


@define
class _Pace:
    next_at: float
    until: float


@define(eq=False)
class Breakers:
    """Holds the agents of an account back while it is of no use; the keeper of what must last of that.

    :param chance: gives numbers from 0 to 1.
    """

    _clock: IReactorTime
    _waits: Waits
    _chance: Callable[[], float]
    kinds: tuple[str, ...] = field(default=("breaker",), init=False)
    _rows: dict[str, Breaker] = field(factory=dict, init=False)
    _ledger: Ledger | None = field(default=None, init=False)
    _paces: "LRUCache[str, _Pace]" = field(factory=lambda: LRUCache(MOST_ACCOUNTS), init=False)
    _blamed: "LRUCache[str, tuple[str, int]]" = field(factory=lambda: LRUCache(MOST_ACCOUNTS), init=False)
    _log = Logger()

    def keep_in(self, ledger: Ledger) -> None:
        """Write everything down there, before it is recovered."""
        ledger.join(self)
        self._ledger = ledger

    # Who may start

    def held_until(self, account: str) -> float:
        """Say until when nobody of the account may start; infinity while one tries."""
        found = self._not_closed(account)
        if found is None:
            pace = self._paces.get(account)
            return 0.0 if pace is None else pace.next_at
        return float("inf") if found.probe is not None else found.until

    def why_held(self, account: str) -> str:
        """Say why an agent of the account may not start now."""
        found = self._not_closed(account)
        if found is None:
            return f"agents of its account {account} start one after the other, for it was parked until just now"
        why = f"its account {account} is parked, for {WHAT_IT_IS[found.failure]}"
        if found.probe is not None:
            return f"{why}: agent {found.probe} tries whether that is over"
        next_try = f"the next try is at {rfc3339(found.until)}"
        return f"{why}: {found.what_to_do}; {next_try}" if found.failure == LOGIN else f"{why}: {next_try}"

    def started(self, account: str, agent_id: str) -> None:
        """Note that an agent starts that was not held: where one has to try, it is the one."""
        found = self._not_closed(account)
        if found is not None:
            self._put(evolve(found, probe=agent_id, probe_at=self._clock.seconds()))
            return
        pace = self._paces.get(account)
        if pace is None:
            return
        now = self._clock.seconds()
        if now >= pace.until:
            del self._paces[account]
        else:
            pace.next_at = now + 60 / self._waits.per_minute

    # What agents meet

    def stopped(self, how: Stopped) -> bool:
        """Note that an agent was stopped by its account; False if that seems to be its own fault after all."""
        found = self._not_closed(how.account)
        if found is None:
            if self._is_alone(how):
                return False
            self._put(self._opened(how, 1, self._rows.get(how.account)))
            return True
        if how.agent_id == found.probe or (found.probe is None and found.until <= self._clock.seconds()):
            self._put(self._opened(how, found.tries + 1, found))
        elif how.failure == LOGIN != found.failure:
            self._put(evolve(self._opened(how, 1, found), probe=found.probe, probe_at=found.probe_at))
        else:
            self._learn(how, found)
        return True

    def _learn(self, how: Stopped, found: Breaker) -> None:
        """Take in what one says who was stopped while nobody starts anyway."""
        ends_at = self._known_end(how)
        until = found.until if ends_at is None or found.failure != how.failure else max(found.until, ends_at)
        projects = tuple(dict.fromkeys((*found.projects, how.project_id)))
        if (until, projects) != (found.until, found.projects):
            self._put(evolve(found, until=until, projects=projects))

    def got_through(self, account: str, agent_id: str) -> None:
        """Note that the model answered an agent: if it was the one that tries, it is over for all."""
        if self._blamed.get(account, ("", 0))[0] == agent_id:
            del self._blamed[account]
        found = self._not_closed(account)
        if found is None or found.probe != agent_id:
            return
        now = self._clock.seconds()
        if self._waits.per_minute:
            self._paces[account] = _Pace(now, now + _PACED_SECONDS)
        self._put(evolve(found, probe=None, closed_at=now))

    def gone(self, account: str, agent_id: str) -> None:
        """Note that an agent runs no more: if it was the one that tries, the next one does."""
        found = self._not_closed(account)
        if found is not None and found.probe == agent_id:
            self._put(evolve(found, probe=None))

    def resume(self, account: str) -> Breaker | None:
        """Let one try now; gives the breaker, None if it is closed."""
        found = self._not_closed(account)
        if found is not None and found.probe is None:
            found = evolve(found, until=min(found.until, self._clock.seconds()), tries=1)
            self._put(found)
        return found

    def is_probe(self, account: str, agent_id: str) -> bool:
        """Say whether an agent is the one that tries."""
        found = self._not_closed(account)
        return found is not None and found.probe == agent_id

    def forget_stale(self, used: Collection[str]) -> None:
        """Forget accounts that nobody works for any more, a day after somebody could have tried."""
        now = self._clock.seconds()
        for each in self.not_closed:
            if each.account not in used and each.until + _FORGOTTEN_SECONDS <= now:
                self._put(evolve(each, probe=None, closed_at=now, told=()))

    def find(self, account: str) -> Breaker | None:
        """Give the breaker of an account; None when it is closed."""
        return self._not_closed(account)

    @property
    def not_closed(self) -> Sequence[Breaker]:
        """All that are open or half open."""
        return [each for each in self._rows.values() if each.closed_at is None]

    # What people are told

    def due(self) -> list[tuple[str, str, Breaker]]:
        """List the events that are to be published: type, project, and the breaker that it is about."""
        found = []
        for each in self._rows.values():
            if each.closed_at is None:
                found += [(PARKED_EVENT, name, each) for name in each.projects if name not in each.told]
            else:
                found += [(RESUMED_EVENT, name, each) for name in each.told]
        return found

    def tell(self, event: str, project_id: str, about: Breaker) -> None:
        """Note that an event of `due` was published."""
        now = self._rows.get(about.account)
        if now is None and event == PARKED_EVENT:  # it was over before this was told
            now = evolve(about, probe=None, closed_at=self._clock.seconds(), told=())
        if now is None or now.opened_at != about.opened_at or now.failure != about.failure:
            return  # it is about another wall by now
        told = tuple(name for name in now.told if name != project_id)
        if event == PARKED_EVENT:
            told = (*told, project_id)
        self._put(evolve(now, told=told))

    # What lasts

    def restore(self, kind: str, body: msgspec.Raw) -> None:
        """Apply a record."""
        row = msgspec.json.decode(body, type=Breaker)
        self._rows[row.account] = row
        self._drop(row)

    def snapshot(self) -> Iterable[Record]:
        """Give all that there is something to know of."""
        for each in self._rows.values():
            yield "breaker", each

    def _not_closed(self, account: str) -> Breaker | None:
        found = self._rows.get(account)
        return None if found is None or found.closed_at is not None else found

    def _is_alone(self, how: Stopped) -> bool:
        """Say whether an agent stops its account again and again, with others getting through in between."""
        blamed, times = self._blamed.get(how.account, ("", 0))
        times = times + 1 if blamed == how.agent_id and not how.answered else 1
        self._blamed[how.account] = (how.agent_id, times)
        return times > MOST_ALONE

    def _opened(self, how: Stopped, tries: int, before: Breaker | None) -> Breaker:
        now = self._clock.seconds()
        goes_on = before is not None and before.closed_at is None and before.failure == how.failure
        projects = () if before is None else before.projects
        return Breaker(
            how.account,
            how.failure,
            how.reason,
            before.opened_at if before is not None and goes_on else now,
            self._until(how, tries, now),
            tries,
            projects=tuple(dict.fromkeys((*projects, how.project_id))),
            told=before.told if before is not None and goes_on else (),
        )

    def _until(self, how: Stopped, tries: int, now: float) -> float:
        if how.failure == LOGIN:
            return now + self._waits.login
        ends_at = self._known_end(how)
        if ends_at is not None:
            return ends_at
        wait = min(self._waits.first * 2.0 ** min(tries - 1, 60), self._waits.most)
        return now + max(wait, how.retry_after or 0.0) * (1 + self._chance() / 4)

    def _known_end(self, how: Stopped) -> float | None:
        now = self._clock.seconds()
        if how.resets_at is None or not now < how.resets_at <= now + MOST_AHEAD_SECONDS:
            return None
        return how.resets_at + _RESET_SPREAD_SECONDS * self._chance()

    def _put(self, row: Breaker) -> None:
        self._rows.pop(row.account, None)  # the newest change stands last
        self._rows[row.account] = row
        self._drop(row)
        if self._ledger is not None:
            self._ledger.record("breaker", row).addErrback(self._unforeseen)

    def _drop(self, row: Breaker) -> None:
        if row.closed_at is not None and not row.told:
            del self._rows[row.account]
        while len(self._rows) > MOST_ACCOUNTS:
            del self._rows[next(iter(self._rows))]

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("the state of an account could not be recorded", failure)
