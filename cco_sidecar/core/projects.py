"""A project: a directory tree with its own log, its own memory and nothing of another's."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from attrs import define

from cco_sidecar.core.budgets.budgets import Budgets
from cco_sidecar.core.checkpoints import Checkpoints
from cco_sidecar.core.claims.claims import Claims
from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.fences import Fences
from cco_sidecar.core.hooks.hooks import Hooks
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.messages.messages import Messages
from cco_sidecar.core.tasks.tasks import Tasks
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.webhooks.registry import Webhooks
from cco_sidecar.core.workflows.runs import Runs
from cco_sidecar.errors import NotFound, Refusal


@define(eq=False)
class Project:
    """All that belongs to one project; ``root`` is absolute."""

    id: str
    root: Path
    ledger: Ledger
    hub: EventHub
    issues: Issues
    tokens: TokenBook
    keys: Idempotency
    dead_letters: DeadLetters
    webhooks: Webhooks
    texts: IssueTexts
    fences: Fences
    claims: Claims
    tasks: Tasks
    checkpoints: Checkpoints
    runs: Runs
    messages: Messages
    budgets: Budgets
    hooks: Hooks

    def end_agent(self, agent: str, refusal: Refusal) -> None:
        """End all that an agent holds and waits for, for it is gone."""
        self.hub.end_agent(agent, refusal)
        self.claims.end_agent(agent, refusal)
        self.tasks.end_agent(agent, refusal)
        self.messages.end_agent(agent, refusal)
        self.hooks.forget(agent)

    def end_refused(self) -> None:
        """End all that is waited for under tokens that are no good any more."""
        self.hub.end_refused()
        self.claims.end_refused()
        self.tasks.end_refused()
        self.messages.end_refused()

    def end_tokens(self, token_ids: Collection[str], refusal: Refusal) -> None:
        """End all that is waited for, or held, by these tokens."""
        self.hub.end_polls(token_ids, refusal)
        self.claims.end_tokens(token_ids, refusal)
        self.tasks.end_tokens(token_ids, refusal)
        self.messages.end_tokens(token_ids, refusal)

    def drain(self) -> None:
        """Answer all that waits, and let nobody wait any more."""
        self.hub.drain()
        self.claims.drain()
        self.tasks.drain()
        self.messages.drain()


@define(eq=False)
class Projects:
    """The projects that this sidecar serves; the first is the default."""

    _by_id: Mapping[str, Project]

    @property
    def default(self) -> Project:
        """The project of a request that names none."""
        return next(iter(self._by_id.values()))

    def __iter__(self) -> Iterator[Project]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, project_id: str) -> Project | None:
        """Give the project of that id, or None."""
        return self._by_id.get(project_id)

    def get(self, project_id: str) -> Project:
        """Give the project of that id.

        :raises NotFound: this sidecar does not serve it.
        """
        project = self._by_id.get(project_id)
        if project is None:
            raise NotFound(
                f"This sidecar serves no project '{project_id}': add it with 'cco project add {project_id}=DIR' "
                "and restart, or start with --project-root."
            )
        return project
