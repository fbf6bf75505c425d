"""What may lie in a storage, by its path below it (contract section 2, "Files"), and the way through all of it."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from attrs import frozen

from cco_sidecar.backends.placing import MOST_BYTES as MOST_RESULT_BYTES
from cco_sidecar.backends.placing import TEMPORARY, read_regular
from cco_sidecar.backends.segments import first_sequence
from cco_sidecar.core.identifiers import PATTERN, is_identifier

MIB = 1024 * 1024
MANIFEST = "cco-backup.json"
CACHE = "context-cache"
SKELETON = (("results",), ("events",), (CACHE,), ("logs", "agents"))
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_RESULT = re.compile(rf"{PATTERN}\.json")
_LOG = re.compile(rf"{PATTERN}\.log(\.[0-9]{{1,3}})?")
_QUARANTINED = re.compile(r"[0-9]{20}\.log\.[0-9]{1,9}")

Parts = tuple[str, ...]


class Kind(Enum):
    """What a file of the storage is; the value is how large such a file can be, and what it is called."""

    SEGMENT = (512 * MIB, "segment")
    NEWEST = (MOST_RESULT_BYTES, "newest result")
    RESULT = (MOST_RESULT_BYTES, "result")
    LOG = (64 * MIB, "log")
    QUARANTINED = (512 * MIB, "quarantined segment")
    MANIFEST = (256 * MIB, "manifest")

    @property
    def most_bytes(self) -> int:
        """How large such a file can be."""
        return self.value[0]


def kind_of(parts: Parts) -> Kind | None:  # noqa: PLR0911 - a table
    """Say what the file at ``parts`` below the storage is, by its name alone; None if none belongs there."""
    match parts:
        case ("events", project, name) if is_identifier(project) and is_segment(name):
            return Kind.SEGMENT
        case ("results", project, issue, name) if _are_identifiers(project, issue) and _RESULT.fullmatch(name):
            return Kind.NEWEST
        case ("results", project, issue, "history", name) if _are_identifiers(project, issue):
            return Kind.RESULT if _RESULT.fullmatch(name) else None
        case ("logs", "agents", name) if _LOG.fullmatch(name):
            return Kind.LOG
        case ("quarantine", "events", project, name) if is_identifier(project) and is_quarantined(name):
            return Kind.QUARANTINED
        case (name,) if name == MANIFEST:
            return Kind.MANIFEST
    return None


def is_directory(parts: Parts) -> bool:
    """Say whether a directory belongs at ``parts``, by its name alone."""
    match parts:
        case () | ("events" | "results" | "logs" | "quarantine",) | ("logs", "agents") | ("quarantine", "events"):
            return True
        case ("events" | "results", project) | ("quarantine", "events", project):
            return is_identifier(project)
        case ("results", project, issue) | ("results", project, issue, "history"):
            return _are_identifiers(project, issue)
    return parts[0] == CACHE


def is_segment(name: str) -> bool:
    """Say whether a file of that name is a segment of the log."""
    return first_sequence(Path(name)) is not None


def is_quarantined(name: str) -> bool:
    """Say whether a file of that name is a segment that a start has set aside."""
    return _QUARANTINED.fullmatch(name) is not None


def is_passing(parts: Parts) -> bool:
    """Say whether what lies there may go at any time: the cache, and files on their way into their place."""
    on_its_way = parts[0] in {"results", "quarantine"} and parts[-1].startswith(".") and parts[-1].endswith(TEMPORARY)
    return parts[0] == CACHE or on_its_way


def _are_identifiers(*names: str) -> bool:
    return all(is_identifier(name) for name in names)


@frozen
class Entry:
    """Something below the storage, as it was seen; ``directory`` is the open directory that holds it."""

    parts: Parts
    state: os.stat_result
    directory: int

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, and no link to one."""
        return stat.S_ISDIR(self.state.st_mode)

    @property
    def kind(self) -> Kind | None:
        """What it is, if it is a regular file that belongs there."""
        return kind_of(self.parts) if stat.S_ISREG(self.state.st_mode) else None

    def open_directory(self) -> int:
        """Open it, following no link."""
        return os.open(self.parts[-1], OPEN_DIRECTORY, dir_fd=self.directory)

    def read(self, kind: Kind) -> bytes:
        """Read the file.

        :raises OSError: it is none any more, or cannot be read.
        """
        return read_regular(self.directory, self.parts[-1], kind.most_bytes)


Trouble = Callable[[Parts, OSError], None]
"""Is told of what could not be looked at."""


def walk(handle: int, trouble: Trouble, parts: Parts = ()) -> Iterator[Entry]:
    """Give everything below an open storage: in each directory files first, by name, then directories.

    Nothing is followed; directories that do not belong, and the cache, are given but not entered. What vanishes
    meanwhile is passed over.
    """
    try:
        names = sorted(os.listdir(handle))
    except OSError as error:
        trouble(parts, error)
        return
    below = []
    for name in names:
        try:
            found = Entry((*parts, name), os.stat(name, dir_fd=handle, follow_symlinks=False), handle)
        except FileNotFoundError:
            continue
        except OSError as error:
            trouble((*parts, name), error)
            continue
        if found.is_directory:
            below.append(found)
        else:
            yield found
    for found in below:
        yield found
        if is_directory(found.parts) and found.parts[0] != CACHE:
            yield from _walk_into(found, trouble)


def _walk_into(found: Entry, trouble: Trouble) -> Iterator[Entry]:
    try:
        handle = found.open_directory()
    except FileNotFoundError:
        return
    except OSError as error:
        trouble(found.parts, error)
        return
    try:
        yield from walk(handle, trouble, found.parts)
    finally:
        os.close(handle)
