"""The journal on disk: one writer thread, one fdatasync for all that waits, recovery at start.

Why so: design.md section 4, research/events.md section 7. What arrives while one batch is being synced makes up the
next. Between two batches nothing is in flight: there a new segment begins, with a snapshot of the state as it is.
"""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cco_sidecar.backends.segments import first_sequence, frame, scan, segment_name
from cco_sidecar.errors import EventLogUnavailable, Refusal, StorageFull
from cco_sidecar.interfaces import IJournal

_log = Logger()

SEGMENT_BYTES = 8 * 1024 * 1024
MOST_PENDING_BYTES = 64 * 1024 * 1024
BEGIN = b'{"k":"begin","b":{"mark":%d}}'
END = b'{"k":"end","b":null}'
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@frozen
class Recovery:
    """What was found at start: how many records, bytes cut from a torn end, and damaged stretches."""

    records: int
    torn_bytes: int
    damaged: int


@define
class _Segment:
    path: Path
    mark: int  # everything numbered up to here lies in earlier segments
    size: int


@define(eq=False)
class _Pending:
    record: bytes
    done: "Deferred[None] | None"


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@implementer(IJournal)
@define(eq=False)
class FileJournal:
    """A log in a directory that holds nothing but its segments.

    ``snapshot`` gives the state as records; ``mark`` the highest number given to an entry so far, and ``horizon`` the
    highest that is no longer wanted: a segment with none above it is deleted, whole.
    """

    _reactor: IReactorFromThreads
    _directory: Path
    _snapshot: Callable[[], Iterable[bytes]]
    _mark: Callable[[], int]
    _horizon: Callable[[], int]
    _segment_bytes: int = SEGMENT_BYTES
    trouble: str | None = None
    _segments: list[_Segment] = field(factory=list)
    _file: int = -1
    _sequence: int = 0  # of the last record on disk
    _pool: ThreadPool = field(init=False)
    _pending: list[_Pending] = field(factory=list)
    _pending_bytes: int = 0
    _busy: bool = False
    _failed: bool = False
    _closing: bool = False
    _rotate_next: bool = False
    _idle: "list[Deferred[None]]" = field(factory=list)

    @property
    def size_bytes(self) -> int:
        """How much the segments hold on disk."""
        return sum(segment.size for segment in self._segments)

    # Starting; these run before anything is served, and may block.

    def recover(self, apply: Callable[[bytes], None]) -> Recovery:
        """Read all segments, oldest first, and give every record to ``apply``; cut a torn end.

        A segment without a whole snapshot was being made when the process ended: nothing in it was acknowledged.
        Damage with valid records behind it is said loudly and counted; what is readable is kept.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = sorted(path for path in self._directory.iterdir() if first_sequence(path) is not None)
        total = torn = damaged = 0
        for position, path in enumerate(found):
            text = path.read_bytes()
            what = scan(text)
            ended = next((i for i, (_, record) in enumerate(what.records) if record == END), None)
            if ended is None or not what.records[0][1].startswith(b'{"k":"begin"'):
                damaged += self._unfinished(path, text, is_last=position == len(found) - 1)
                continue
            mark = int(what.records[0][1].partition(b'"mark":')[2].partition(b"}")[0])
            if what.damaged:
                _log.error("{count} damaged stretches in {path}: kept what is readable", count=what.damaged, path=path)
            if what.torn:
                torn += what.torn
                _log.warn("{bytes} bytes of an unfinished write cut from {path}", bytes=what.torn, path=path)
                os.truncate(path, what.good_bytes)
            damaged += what.damaged
            for sequence, record in what.records:
                self._sequence = max(self._sequence, sequence)
                if not record.startswith((b'{"k":"begin"', b'{"k":"end"')):
                    apply(record)
                    total += 1
            self._segments.append(_Segment(path, mark, what.good_bytes))
        return Recovery(total, torn, damaged)

    def _unfinished(self, path: Path, text: bytes, *, is_last: bool) -> int:
        if is_last or not text.strip(b"\0"):
            path.unlink()
            return 0
        _log.error("{path} has no readable beginning: passed over, left where it is", path=path)
        return 1

    def open(self) -> None:
        """Begin a new segment, so that every run starts on a whole snapshot.

        :raises OSError: the directory cannot be written.
        """
        self._pool = ThreadPool(0, 1, name=f"journal {self._directory.name}")
        self._pool.start()
        self._begin_segment(list(self._snapshot()), self._mark())
        self._drop_expired()

    # Writing

    def append(self, record: bytes) -> "Deferred[None]":
        """See `IJournal.append`."""
        if self._failed or self._closing:
            raise EventLogUnavailable(
                self.trouble or "The sidecar is shutting down and takes nothing more: try again when it is back."
            )
        if self._pending_bytes > MOST_PENDING_BYTES:
            raise EventLogUnavailable("More is waiting for the disk than can be held: try again in a second.")
        done: Deferred[None] = Deferred()
        self._enqueue(_Pending(record, done))
        return done

    def note(self, record: bytes) -> None:
        """See `IJournal.note`."""
        if not self._failed and self._pending_bytes <= MOST_PENDING_BYTES:
            self._enqueue(_Pending(record, None))

    def flush(self) -> "Deferred[None]":
        """See `IJournal.flush`."""
        if not self._busy and not self._pending:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        return done

    def rotate(self) -> None:
        """Begin a new segment with the next write, and delete what has expired; called now and then."""
        self._rotate_next = len(self._segments) > 0 and self._mark() > self._segments[-1].mark
        if self._rotate_next and not self._failed:
            self._kick()

    def close(self) -> "Deferred[None]":
        """Take nothing more; fire when all that was taken is on disk and the thread has ended."""
        self._closing = True
        return self.flush().addCallback(lambda _: self._stop())

    def _stop(self) -> None:
        self._pool.stop()  # nothing runs in it now, so joining it takes no time
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _enqueue(self, pending: _Pending) -> None:
        self._pending.append(pending)
        self._pending_bytes += len(pending.record)
        self._kick()

    def _kick(self) -> None:
        if self._busy or not (self._pending or self._rotate_next):
            return
        self._busy = True
        batch, self._pending = self._pending, []
        self._pending_bytes = 0
        snapshot = list(self._snapshot()) if self._wants_rotation() else None
        written = deferToThreadPool(
            self._reactor, self._pool, self._write, [item.record for item in batch], snapshot, self._mark()
        )
        written.addCallbacks(self._written, self._not_written, callbackArgs=(batch,), errbackArgs=(batch,))

    def _wants_rotation(self) -> bool:
        return self._rotate_next or self._segments[-1].size >= self._segment_bytes

    def _written(self, _: None, batch: list[_Pending]) -> None:
        self.trouble = None
        self._settle(batch, None)

    def _not_written(self, failure: Failure, batch: list[_Pending]) -> None:
        refusal = self._refusal(failure)
        self.trouble = refusal.message
        if self._failed:
            # Never retried: after a failed fsync nobody knows what the kernel still holds.
            batch, self._pending = batch + self._pending, []
        self._settle(batch, refusal)

    def _refusal(self, failure: Failure) -> Refusal:
        error = failure.value
        if isinstance(error, OSError) and error.errno in _FULL:
            return StorageFull("The disk is full: nothing was accepted. Free some space; reading goes on meanwhile.")
        self._failed = True
        _log.failure("the event log could not be written: nothing more is accepted until a restart", failure)
        return EventLogUnavailable(
            "The event log could not be written: nothing is accepted until the sidecar is restarted. "
            "Check the disk and the sidecar's log."
        )

    def _settle(self, batch: list[_Pending], refusal: Refusal | None) -> None:
        for item in batch:
            if item.done is None:
                continue
            if refusal is None:
                item.done.callback(None)
            else:
                item.done.errback(refusal)
        self._busy = False
        self._kick()
        if not self._busy:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    # In the writer thread (and, for the first segment, before anything is served)

    def _write(self, records: list[bytes], snapshot: list[bytes] | None, mark: int) -> None:
        if snapshot is not None:
            self._rotate_next = False
            self._begin_segment(snapshot, mark)
            self._drop_expired()
        if not records:
            return
        segment = self._segments[-1]
        lines = b"".join(frame(self._sequence + i, record) for i, record in enumerate(records, 1))
        try:
            _write_all(self._file, lines)
            os.fdatasync(self._file)
        except OSError as error:
            if error.errno in _FULL:
                os.ftruncate(self._file, segment.size)
                os.lseek(self._file, segment.size, os.SEEK_SET)
            raise
        self._sequence += len(records)
        segment.size += len(lines)

    def _begin_segment(self, snapshot: list[bytes], mark: int) -> None:
        records = [BEGIN % mark, *snapshot, END]
        lines = b"".join(frame(self._sequence + i, record) for i, record in enumerate(records, 1))
        path = self._directory / segment_name(self._sequence + 1)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_all(handle, lines)
            os.fsync(handle)
            _fsync_directory(self._directory)
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file = handle
        self._sequence += len(records)
        self._segments.append(_Segment(path, mark, len(lines)))

    def _drop_expired(self) -> None:
        # Two stay in any case: the newest snapshot is never the only one.
        horizon = self._horizon()
        for segment, following in list(zip(self._segments[:-2], self._segments[1:-1], strict=True)):
            if following.mark <= max(horizon, segment.mark):  # all its entries are unwanted, or it has none
                segment.path.unlink(missing_ok=True)
                self._segments.remove(segment)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
