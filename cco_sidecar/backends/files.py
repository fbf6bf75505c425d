"""Result files: immutable history, and a pointer to the newest, each written so that a crash leaves old or new.

Layout (contract section 2): ``results/<project>/<issue>/<agent_type>.json`` and ``…/history/<result_id>.json``.
All of it runs in one thread of its own, so that two results of one type cannot overtake each other.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cco_sidecar.backends.placing import TEMPORARY, make_directory, read_regular, shown, write_both
from cco_sidecar.backends.resultform import ResultHead
from cco_sidecar.errors import NotFound, StorageFull, StorageReadFailed, StorageWriteFailed, TooManyRequests
from cco_sidecar.interfaces import IResultStore, ResultEntry, ResultListing, StoredResult

_log = Logger()
T = TypeVar("T")

MOST_WAITING = 1_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@frozen
class _Seen:
    """What a file said when it looked like this; ``entry`` None: it could not be read."""

    signature: tuple[int, int, int]
    entry: ResultEntry | None


@implementer(IResultStore)
@define(eq=False, slots=False)
class ResultFiles(Service):
    """Results below a directory that is ours alone."""

    _reactor: IReactorFromThreads
    _root: Path
    _pool: ThreadPool = field(init=False)
    _waiting: int = 0
    _seen: dict[str, _Seen] = field(factory=dict)
    stored: int = 0
    """How many results lie in the history, as far as was counted."""
    size_bytes: int = 0

    def startService(self) -> None:
        """Begin; the first thing done is counting what is there."""
        super().startService()
        self._pool = ThreadPool(0, 1, name="results")
        self._pool.start()
        self._run(self._count).addErrback(lambda f: _log.failure("results could not be counted", f))

    def stopService(self) -> "Deferred[None]":
        """Fire when all that was begun is on disk."""
        super().stopService()
        last = deferToThreadPool(self._reactor, self._pool, lambda: None)
        return last.addBoth(lambda _: self._pool.stop())

    def _run(self, work: Callable[[], T]) -> "Deferred[T]":
        if self._waiting >= MOST_WAITING:
            raise TooManyRequests("Too many results are waiting for the disk: try again in a second.", 1)
        self._waiting += 1
        return deferToThreadPool(self._reactor, self._pool, work).addBoth(self._ran)

    def _ran(self, result: T) -> T:
        self._waiting -= 1
        return result

    # The doors

    def store(self, result: StoredResult) -> "Deferred[Path]":
        """See `IResultStore.store`."""
        return self._run(lambda: self._store(result))

    def listing(self, project_id: str, issue_id: str | None) -> "Deferred[ResultListing]":
        """See `IResultStore.listing`."""
        return self._run(lambda: self._listing(project_id, issue_id))

    def newest(self, project_id: str, issue_id: str, agent_type: str) -> "Deferred[bytes]":
        """See `IResultStore.newest`."""
        missing = f"No agent of type '{agent_type}' has stored a result for '{issue_id}' yet."
        return self._run(lambda: self._read((project_id, issue_id), f"{agent_type}.json", missing))

    def by_id(self, project_id: str, result_id: str, issue_id: str | None = None) -> "Deferred[bytes]":
        """See `IResultStore.by_id`."""
        return self._run(lambda: self._by_id(project_id, result_id, issue_id))

    def prune(self, project_id: str, before: float) -> "Deferred[int]":
        """See `IResultStore.prune`."""
        return self._run(lambda: self._prune(project_id, before))

    # In the thread

    def _open_directory(self, parts: tuple[str, ...], *, make: bool) -> int:
        """Open a directory below the root, link by link, none of them symbolic."""
        handle = os.open(self._root, _DIRECTORY)
        for part in parts:
            parent = handle
            try:
                if make:
                    make_directory(parent, part)
                handle = os.open(part, _DIRECTORY, dir_fd=parent)
            finally:
                os.close(parent)
        return handle

    def _store(self, result: StoredResult) -> Path:
        place = (result.project_id, result.issue_id)
        try:
            history = self._open_directory((*place, "history"), make=True)
            try:
                issue = self._open_directory(place, make=False)
                try:
                    write_both(history, f"{result.result_id}.json", issue, f"{result.agent_type}.json", result.body)
                finally:
                    os.close(issue)
            finally:
                os.close(history)
        except OSError as error:
            _log.warn("a result could not be written: {why}", why=error.strerror)
            if error.errno in _FULL:
                raise StorageFull(
                    "The disk is full: the result was not stored. Free some space and send it again."
                ) from error
            raise StorageWriteFailed(
                f"The result could not be written ({error.strerror}): check the storage directory, then send it again."
            ) from error
        self.stored += 1
        self.size_bytes += len(result.body)
        return self._root.joinpath(*place, f"{result.agent_type}.json")

    def _read(self, parts: tuple[str, ...], name: str, missing: str) -> bytes:
        try:
            directory = self._open_directory(parts, make=False)
            try:
                text = read_regular(directory, name)
            finally:
                os.close(directory)
            msgspec.json.decode(text, type=ResultHead)
        except FileNotFoundError:
            raise NotFound(missing) from None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StorageReadFailed(
                "The stored result cannot be read: the file is damaged. Other results are not touched."
            ) from error
        return text

    def _by_id(self, project_id: str, result_id: str, issue_id: str | None) -> bytes:
        missing = f"There is no result '{result_id}' in this project."
        refusal: NotFound | StorageReadFailed = NotFound(missing)
        for issue in self._issues(project_id, []) if issue_id is None else [issue_id]:
            try:
                return self._read((project_id, issue, "history"), f"{result_id}.json", missing)
            except NotFound:
                continue
            except StorageReadFailed as error:
                refusal = error  # another issue may hold it all the same
        raise refusal

    def _names(self, parts: tuple[str, ...], damaged: list[str]) -> list[str]:
        """List a directory; one that cannot be read is added to ``damaged``."""
        try:
            directory = self._open_directory(parts, make=False)
        except FileNotFoundError:
            return []
        except OSError:
            damaged.append(shown("results", *parts))
            return []
        try:
            return sorted(os.listdir(directory))
        finally:
            os.close(directory)

    def _issues(self, project_id: str, damaged: list[str]) -> list[str]:
        return self._names((project_id,), damaged)

    def _history(self, project_id: str, issue_id: str, damaged: list[str]) -> Iterator[tuple[str, os.stat_result, int]]:
        """Give name, state and directory of each history file of an issue."""
        place = (project_id, issue_id, "history")
        names = [name for name in self._names(place, damaged) if name.endswith(".json") and not name.startswith(".")]
        if not names:
            return
        directory = self._open_directory(place, make=False)
        try:
            for name in names:
                with suppress(FileNotFoundError):  # somebody has removed it meanwhile
                    yield name, os.stat(name, dir_fd=directory, follow_symlinks=False), directory
        finally:
            os.close(directory)

    def _listing(self, project_id: str, issue_id: str | None) -> ResultListing:
        entries: list[ResultEntry] = []
        damaged: list[str] = []
        for issue in [issue_id] if issue_id is not None else self._issues(project_id, damaged):
            for name, state, directory in self._history(project_id, issue, damaged):
                path = shown("results", project_id, issue, "history", name)
                entry = self._entry(path, name, state, directory)
                if entry is None:
                    damaged.append(path)
                else:
                    entries.append(entry)
        entries.sort(key=lambda entry: entry.id, reverse=True)
        return ResultListing(entries, sorted(damaged))

    def _entry(self, path: str, name: str, state: os.stat_result, directory: int) -> ResultEntry | None:
        signature = (state.st_ino, state.st_size, state.st_mtime_ns)
        seen = self._seen.get(path)
        if seen is None or seen.signature != signature:
            seen = _Seen(signature, _head(directory, name))
            self._seen[path] = seen
        return seen.entry

    def _count(self) -> None:
        for project_id in os.listdir(self._root):
            for issue_id in self._issues(project_id, []):
                for place in ((project_id, issue_id), (project_id, issue_id, "history")):
                    self._remove_temporary(place)
                for _, state, _ in self._history(project_id, issue_id, []):
                    self.stored += 1
                    self.size_bytes += state.st_size

    def _remove_temporary(self, place: tuple[str, ...]) -> None:
        """Remove what a crash left behind; this runs before anything is written."""
        names = [name for name in self._names(place, []) if name.startswith(".") and name.endswith(TEMPORARY)]
        if not names:
            return
        directory = self._open_directory(place, make=False)
        try:
            for name in names:
                with suppress(OSError):
                    os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)

    def _prune(self, project_id: str, before: float) -> int:
        removed = 0
        for issue_id in self._issues(project_id, []):
            for name, state, directory in self._history(project_id, issue_id, []):
                if stat.S_ISREG(state.st_mode) and state.st_mtime < before:
                    os.unlink(name, dir_fd=directory)
                    self._seen.pop(shown("results", project_id, issue_id, "history", name), None)
                    removed += 1
                    self.stored -= 1
                    self.size_bytes -= state.st_size
        return removed


def _head(directory: int, name: str) -> ResultEntry | None:
    try:
        head = msgspec.json.decode(read_regular(directory, name), type=ResultHead)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return ResultEntry(
        head.id, head.agent_id, head.agent_type, head.issue_id, head.project_id, head.status, head.timestamp
    )
