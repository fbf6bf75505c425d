"""Results: on disk first, then told; what was begun is finished."""

from pathlib import Path

import msgspec
import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from cco_sidecar.core.budgets.budgets import Budgets
from cco_sidecar.core.budgets.spending import Spending
from cco_sidecar.core.checkpoints import Checkpoints
from cco_sidecar.core.events.event import Event
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.hooks.hooks import Hooks
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.ledger import KeyRecord
from cco_sidecar.core.projects import Project
from cco_sidecar.core.results import Accepted, Report, Results
from cco_sidecar.core.tasks import tasks as tasks_module
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.workflows.definition import NextAgent
from cco_sidecar.core.workflows.runs import Runs
from cco_sidecar.errors import EventLogUnavailable, StorageFull
from tests.core.rights_house import RightsHouse
from tests.core.webhook_fakes import WebhookHouse
from tests.fakes import EventHouse, MemoryResults, numbered, outcome

NEXT = NextAgent("tester", "high", "tests come after code")
PATH = "/results/p/i/coder.json"


@define(eq=False)
class Desk:
    """Results with a store and a log in memory."""

    started_here: set[str] = field(factory=set)
    events: EventHouse = field(factory=EventHouse)
    store: MemoryResults = field(factory=MemoryResults)
    told: list[tuple[str, str, str]] = field(factory=list)
    project: Project = field(init=False)
    results: Results = field(init=False)

    def __attrs_post_init__(self) -> None:
        house = self.events
        around, rights = WebhookHouse(events=house), RightsHouse(clock=house.clock)
        book, keys = TokenBook(house.clock, house.ledger), Idempotency(house.clock)
        self.project = Project(
            "p",
            Path("/p"),
            house.ledger,
            house.hub,
            house.issues,
            book,
            keys,
            around.letters,
            around.webhooks,
            IssueTexts(house.clock, house.ledger),
            rights.fences,
            rights.claims,
            rights.tasks,
            Checkpoints(house.clock, house.ledger),
            Runs(house.ledger),
            rights.messages,
            Budgets(house.clock, house.ledger, Spending(lambda _: None)),
            Hooks(house.clock, house.hub, rights.claims, rights.tasks, rights.messages),
        )
        self.results = Results(
            house.clock,
            self.store,
            numbered(),
            started_here=lambda project, agent: agent in self.started_here,
            stored=lambda *what: self.told.append(what),
            next_agents=lambda project, report: [NEXT] if report.status == "success" else [],
        )

    def accept(
        self, status: str = "success", timestamp: str | None = None, key_for: object = None
    ) -> "Deferred[Accepted]":
        report = Report("agent-1", "coder", "i", status, msgspec.Raw(b'{"status":"x","n":1.0}'), timestamp)
        return Deferred.fromCoroutine(self.results.accept(self.project, report, key_for))  # type: ignore[arg-type]

    def told_events(self) -> list[tuple[str, str, dict[str, object]]]:
        page = self.events.hub.history.page(Selection(), None, None, 100, False)
        bodies = [msgspec.json.decode(event.encoded) for event in page.events]
        return [(body["event_type"], body["publisher"], body["data"]) for body in bodies]


def accepted(seen: "list[Accepted | BaseException]") -> Accepted:
    assert len(seen) == 1, seen
    assert isinstance(seen[0], Accepted), seen
    return seen[0]


def test_accept() -> None:
    """The answer tells where it lies and who might be next; the stored object has its id and the result unchanged."""
    desk = Desk()
    done = accepted(outcome(desk.accept()))
    assert (done.result_id, done.storage_path, done.next_agents) == ("res-1800000000000-00000001", PATH, [NEXT])
    assert done.timestamp == "2027-01-15T08:00:00.000Z"
    (stored,) = desk.store.kept
    assert stored.body.endswith(b',"result":{"status":"x","n":1.0}}')
    assert msgspec.json.decode(stored.body)["id"] == done.result_id
    assert desk.told == [("p", "agent-1", done.result_id)]


def test_events_of_a_foreign_agent() -> None:
    """An agent that nobody watches is ended by its result: the sidecar says so after result_stored."""
    desk = Desk()
    done = accepted(outcome(desk.accept()))
    names = {"agent_id": "agent-1", "agent_type": "coder", "issue_id": "i", "result_id": done.result_id}
    assert desk.told_events() == [
        ("result_stored", "sidecar", {**names, "status": "success"}),
        ("agent_completed", "sidecar", {**names, "status": "completed", "exit_code": None}),
    ]
    assert done.event is not None
    assert done.event.sequence == 1


def test_failed() -> None:
    """A failed result ends it as failed; a partial one as completed."""
    for status, ending in (("failed", "agent_failed"), ("partial", "agent_completed")):
        desk = Desk()
        accepted(outcome(desk.accept(status)))
        assert [name for name, _, _ in desk.told_events()] == ["result_stored", ending]


def test_watched_agent() -> None:
    """An agent that the sidecar started is ended by its process, not by its result."""
    desk = Desk(started_here={"agent-1"})
    accepted(outcome(desk.accept()))
    assert [name for name, _, _ in desk.told_events()] == ["result_stored"]


def test_nothing_before_the_disk() -> None:
    """No event tells of a result that is not on disk."""
    desk = Desk()
    desk.store.held = True
    seen = outcome(desk.accept())
    assert (seen, desk.told_events(), desk.told) == ([], [], [])
    desk.store.write()
    assert len(desk.told_events()) == 2
    accepted(seen)


def test_store_refuses() -> None:
    """What could not be stored is refused, and nobody hears of it."""
    desk = Desk()
    desk.store.refusal = StorageFull("full")
    assert outcome(desk.accept()) == [desk.store.refusal]
    assert (desk.told_events(), desk.told) == ([], [])


def test_log_refuses() -> None:
    """A stored result whose event could not be published is accepted, and the answer says that no event went out."""
    desk = Desk()
    desk.events.journal.refusal = EventLogUnavailable("broken")
    done = accepted(outcome(desk.accept()))
    assert done.event is None
    assert len(desk.store.kept) == 1


def test_hang_up() -> None:
    """An agent that hangs up while its result is written takes nothing back: what lies on disk is told of."""
    desk = Desk()
    desk.store.held = True
    accepting = desk.accept()
    ended = outcome(accepting)
    accepting.cancel()
    assert isinstance(ended[0], CancelledError)
    desk.store.write()
    assert [name for name, _, _ in desk.told_events()] == ["result_stored", "agent_completed"]
    assert len(desk.told) == 1


def test_timestamp_of_the_agent() -> None:
    """The agent's own time is kept; the id follows the sidecar's clock, so that names sort by time."""
    desk = Desk()
    done = accepted(outcome(desk.accept(timestamp="2020-01-01T00:00:00Z")))
    desk.events.clock.advance(0.001)
    later = accepted(outcome(desk.accept()))
    assert done.timestamp == "2020-01-01T00:00:00Z"
    assert done.result_id < later.result_id


def test_key_with_the_event() -> None:
    """The idempotency key lies in the record of result_stored, once."""
    desk = Desk()

    def key_for(result_id: str, path: str, event: Event) -> KeyRecord:
        return KeyRecord(
            "a", "r", "k", "d", 1.0, 201, msgspec.Raw(msgspec.json.encode([result_id, path, event.sequence]))
        )

    done = accepted(outcome(desk.accept(key_for=key_for)))
    keys = [msgspec.json.decode(record).get("i") for record in desk.events.journal.records]
    assert [key["answer"] for key in keys if key] == [[done.result_id, PATH, 1]]


def test_next_agents_as_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes next is given a task, if that is wanted; one that cannot be made takes nothing from the result."""
    desk = Desk()
    found = accepted(outcome(desk.accept()))
    report = Report("agent-1", "coder", "i", "success", msgspec.Raw(b"{}"), None)

    def made() -> list[str]:
        [names] = outcome(Deferred.fromCoroutine(desk.results.add_tasks(desk.project, report, found)))
        assert isinstance(names, list)
        return names

    [name] = made()
    task = desk.project.tasks.get(name).record
    assert (task.types, task.issue_id, task.priority, task.added_by) == (["tester"], "i", "high", "agent-1")
    assert task.task == NEXT.reason
    assert msgspec.json.decode(task.data) == {"result_id": found.result_id, "agent_id": "agent-1"}
    monkeypatch.setattr(tasks_module, "MOST_OPEN", 1)
    assert made() == []
