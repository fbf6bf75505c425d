"""The agent types of a repository's roster, as files of Claude Code's sub-agents."""

from importlib import resources
from pathlib import Path

from attrs import define

from cco_sidecar.core.identifiers import nearest
from cco_sidecar.core.roster import Roster, RosterError, parse_roster
from cco_sidecar.repository.files import NotOurs
from cco_sidecar.repository.texts import agent_file

_IN_REPOSITORY = Path("config", "orchestra-config.json")


@define(eq=False)
class AgentTypes:
    """The repository's own roster, else the packaged one; read when it is needed."""

    _root: Path
    _roster: Roster | None = None

    def file_of(self, agent_type: str) -> str | None:
        """Give the text of an agent type's file; None when there is no such type.

        :raises NotOurs: the roster is wrong.
        """
        kind = self._read().types.get(agent_type)
        return None if kind is None else agent_file(kind.type, kind.role, kind.model, kind.capabilities)

    def nearest(self, agent_type: str) -> str | None:
        """Give the type that was probably meant."""
        return nearest(agent_type, self._read().types)

    def _read(self) -> Roster:
        if self._roster is None:
            self._roster = _roster(self._root / _IN_REPOSITORY)
        return self._roster


def _roster(file: Path) -> Roster:
    try:
        if file.is_file():
            return parse_roster(file.read_bytes(), source=str(file))
        text = resources.files("cco_sidecar.data").joinpath("roster.json").read_bytes()
        return parse_roster(text, source="packaged roster")
    except (RosterError, OSError) as error:
        raise NotOurs(str(error)) from None
