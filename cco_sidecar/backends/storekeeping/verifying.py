"""Is a storage sound? All of it is read, none of it is changed; a sidecar may run meanwhile. All of it blocks."""

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from cco_sidecar.backends.placing import shown
from cco_sidecar.backends.storage import lock_holder, open_storage
from cco_sidecar.backends.storekeeping.findings import Finding, Findings
from cco_sidecar.backends.storekeeping.layout import (
    OPEN_DIRECTORY,
    Entry,
    Kind,
    Parts,
    is_directory,
    is_passing,
    is_quarantined,
    kind_of,
    walk,
)
from cco_sidecar.backends.storekeeping.logcheck import LogFacts, check_log, first_of
from cco_sidecar.backends.storekeeping.resultcheck import check_issue

_WRITABLE = 0o022
_READABLE = 0o055


@frozen
class Report:
    """What a storage holds, and what is wrong with it.

    ``sidecar_pid`` is the process that holds it, ``quarantine`` what a start has set aside.
    """

    storage: str
    sound: bool
    sidecar_pid: int | None
    projects: Mapping[str, LogFacts]
    results: int
    quarantine: Sequence[str]
    findings: Sequence[Finding]
    unlisted_findings: int


def verify(storage: Path) -> Report:
    """Look at everything in the storage.

    :raises StorageError: there is none, or it cannot be looked at.
    """
    handle = open_storage(storage)
    try:
        holder = lock_holder(handle)
        return _Verification(handle, None if holder == os.getpid() else holder).run(storage)
    finally:
        os.close(handle)


@define
class _Verification:
    _handle: int
    _holder: int | None
    _owner: int = -1
    _findings: Findings = field(factory=Findings)
    _projects: dict[str, LogFacts] = field(factory=dict)
    _results: int = 0
    _quarantine: list[str] = field(factory=list)

    def run(self, storage: Path) -> Report:
        """Walk through it once."""
        state = os.fstat(self._handle)
        self._owner = state.st_uid
        if self._owner != os.geteuid() != 0:
            advice = "run this, and the sidecar, as that user"
            self._findings.damage((), f"belongs to user {self._owner}, not to us", advice)
        self._check_mode((), state)
        for entry in walk(self._handle, self._trouble):
            self._check(entry)
        found = self._findings
        return Report(
            str(storage),
            found.is_sound,
            self._holder,
            self._projects,
            self._results,
            self._quarantine,
            found.kept,
            found.unlisted,
        )

    def _trouble(self, parts: Parts, error: OSError) -> None:
        self._findings.damage(parts, f"cannot be read: {error.strerror}", "make it readable for its owner")

    def _check(self, entry: Entry) -> None:
        parts, kind = entry.parts, entry.kind
        if not (entry.is_directory and is_directory(parts)) and kind is None:
            self._stray(entry)
            return
        if entry.state.st_uid != self._owner:
            problem = f"belongs to user {entry.state.st_uid}, the storage to {self._owner}"
            self._findings.damage(parts, problem, "give it to that user with chown")
        self._check_mode(parts, entry.state)
        if kind is Kind.QUARANTINED:
            self._quarantine.append(shown(*parts))
            problem = "was set aside by a start: it is damaged"
            self._findings.note(parts, problem, "remove it when nothing in it is wanted any more")
        elif entry.is_directory and (len(parts), parts[0]) in {(2, "events"), (3, "results")}:
            self._check_content(entry)

    def _check_content(self, entry: Entry) -> None:
        try:
            handle = entry.open_directory()
        except OSError:
            return  # told by the walk, which enters it next
        is_live = self._holder is not None
        try:
            if entry.parts[0] == "events":
                project = entry.parts[1]
                set_aside = self._set_aside(project)
                facts = check_log(handle, entry.parts, self._findings, is_live=is_live, set_aside=set_aside)
                self._projects[project] = facts
            else:
                self._results += check_issue(handle, entry.parts, self._findings, is_live=is_live)
        except OSError as error:
            self._trouble(entry.parts, error)
        finally:
            os.close(handle)

    def _set_aside(self, project: str) -> Collection[int]:
        try:
            handle = os.open(Path("quarantine", "events", project), OPEN_DIRECTORY, dir_fd=self._handle)
        except OSError:
            return ()
        try:
            return {first_of(name) for name in os.listdir(handle) if is_quarantined(name)}
        finally:
            os.close(handle)

    def _check_mode(self, parts: Parts, state: os.stat_result) -> None:
        mode = stat.S_IMODE(state.st_mode)
        right = "700" if stat.S_ISDIR(state.st_mode) else "600"
        if mode & _WRITABLE:
            self._findings.damage(parts, f"can be written by others (mode {mode:o})", f"chmod {right}")
        elif mode & _READABLE:
            self._findings.note(parts, f"can be read by others (mode {mode:o})", f"chmod {right}")

    def _stray(self, entry: Entry) -> None:
        parts, mode = entry.parts, entry.state.st_mode
        if stat.S_ISLNK(mode):
            self._findings.damage(parts, "is a symlink: nothing in a storage may be one", "remove it")
        elif is_directory(parts):
            self._findings.damage(parts, "is no directory, but one belongs there", "move it away")
        elif kind_of(parts) is not None:
            self._findings.damage(parts, "is no regular file", "move it away")
        elif not is_passing(parts):
            self._findings.note(parts, "does not belong into a storage", "move it away")
        elif self._holder is None:
            self._findings.note(parts, "was left by a write that was cut short", "nothing: the next start removes it")
