"""The audit log: every decision about access, one JSON object a line, in a private file of the home."""

import os
from pathlib import Path

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cco_sidecar.logs import AUDIT, as_json

_log = Logger()

MOST_BYTES = 10 * 1024 * 1024
MOST_WAITING = 10_000


@implementer(ILogObserver)
@define(eq=False, slots=False)
class AuditLog(Service):
    """Writes audit events in a thread; an older file of the same size is kept, older ones are not."""

    _reactor: IReactorFromThreads
    _path: Path
    _pool: ThreadPool = field(init=False)
    _lines: list[bytes] = field(factory=list)
    _writing: "Deferred[None] | None" = None
    dropped: int = 0
    """How many lines were lost because the disk was too slow or full."""

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._pool = ThreadPool(0, 1, name="audit")
        self._pool.start()

    def stopService(self) -> "Deferred[None]":
        """Fire when all lines are written."""
        super().stopService()
        last = self._writing if self._writing is not None else succeed(None)
        return last.addBoth(lambda _: self._pool.stop())

    def __call__(self, event: LogEvent) -> None:
        """Take an event if it is for the audit log."""
        if event.get("log_namespace") != AUDIT or not self.running:
            return
        if len(self._lines) >= MOST_WAITING:
            self.dropped += 1
            return
        self._lines.append(as_json(event))
        if self._writing is None:
            self._write()

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self._writing = deferToThreadPool(self._reactor, self._pool, self._append, b"".join(lines))
        self._writing.addErrback(lambda _: self._lost(len(lines)))
        self._writing.addCallback(lambda _: self._written())

    def _lost(self, count: int) -> None:
        self.dropped += count
        _log.error("{count} lines of the audit log are lost, {total} in all", count=count, total=self.dropped)

    def _written(self) -> None:
        self._writing = None
        if self._lines:
            self._write()

    def _append(self, text: bytes) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(text)
            while view:
                view = view[os.write(handle, view) :]
            size = os.fstat(handle).st_size
        finally:
            os.close(handle)
        if size > MOST_BYTES:
            self._path.replace(self._path.with_suffix(".1"))
