"""What is found wrong with a storage, each in a line that says what to do."""

from attrs import define, field, frozen

from cco_sidecar.backends.placing import shown
from cco_sidecar.backends.storekeeping.layout import Parts

MOST_FINDINGS = 1000
DAMAGE = "damage"
NOTE = "note"


@frozen
class Finding:
    """One thing; ``path`` is below the storage, ``level`` is `DAMAGE`, or `NOTE`: nothing is lost."""

    level: str
    path: str
    problem: str
    advice: str


@define
class Findings:
    """All that was found, of which the first thousand are kept."""

    kept: list[Finding] = field(factory=list)
    is_sound: bool = True
    unlisted: int = 0

    def damage(self, parts: Parts, problem: str, advice: str) -> None:
        """Keep something that is, or will be, lost or refused."""
        self.is_sound = False
        self._keep(Finding(DAMAGE, shown(*parts) or ".", problem, advice))

    def note(self, parts: Parts, problem: str, advice: str) -> None:
        """Keep something that is worth knowing."""
        self._keep(Finding(NOTE, shown(*parts) or ".", problem, advice))

    def add(self, more: "Findings") -> None:
        """Take over what another look found."""
        self.is_sound = self.is_sound and more.is_sound
        self.unlisted += more.unlisted
        for finding in more.kept:
            self._keep(finding)

    def _keep(self, finding: Finding) -> None:
        if len(self.kept) < MOST_FINDINGS:
            self.kept.append(finding)
        else:
            self.unlisted += 1
