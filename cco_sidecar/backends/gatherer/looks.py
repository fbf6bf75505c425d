"""Looks at projects: one serves all who asked before it began, and what was read stays read while nothing changes."""

import threading
from pathlib import Path

from attrs import define, field, frozen

from cco_sidecar.backends.gatherer.survey import Survey
from cco_sidecar.core.context.project import Project


@frozen
class Look:
    """How a project was at a moment; ``began_ns`` is monotonic."""

    began_ns: int
    survey: Survey
    project: Project


@define(eq=False)
class Looks:
    """The last look at each project; used by several threads."""

    _last: dict[Path, Look] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def since(self, root: Path, asked_ns: int) -> Look | None:
        """Give the last look, if it began after the question was asked: nothing newer can have been meant."""
        last = self.last(root)
        return last if last is not None and last.began_ns > asked_ns else None

    def last(self, root: Path) -> Look | None:
        """Give the last look, whenever it was."""
        with self._lock:
            return self._last.get(root)

    def keep(self, root: Path, look: Look) -> Look:
        """Keep the newer look, and give this one back."""
        with self._lock:
            last = self._last.get(root)
            if last is None or last.began_ns < look.began_ns:
                self._last[root] = look
        return look
