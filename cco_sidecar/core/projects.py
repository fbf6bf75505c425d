"""A project: a directory tree with its own log, its own memory and nothing of another's."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define

from cco_sidecar.core.dead_letters import DeadLetters
from cco_sidecar.core.events.hub import EventHub
from cco_sidecar.core.idempotency import Idempotency
from cco_sidecar.core.issue_texts import IssueTexts
from cco_sidecar.core.issues import Issues
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.webhooks.registry import Webhooks
from cco_sidecar.errors import NotFound


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
