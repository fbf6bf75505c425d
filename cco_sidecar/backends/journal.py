"""The journal on disk: one writer thread, one fdatasync for all that waits, recovery at start.

Why so: design.md section 4, research/events.md section 7. What arrives while one batch is being synced makes up the
next. Between two batches nothing is in flight: there a new segment begins, with a snapshot of the state as it is.
"""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cco_sidecar.backends.recovery import BEGIN, END, Recovery, Segment, recover_segments
from cco_sidecar.backends.segments import frame, segment_name
from cco_sidecar.backends.storage import sync_directory
from cco_sidecar.errors import EventLogUnavailable, Refusal, StorageFull
from cco_sidecar.interfaces import IJournal

_log = Logger()

SEGMENT_BYTES = 8 * 1024 * 1024
MOST_PENDING_BYTES = 64 * 1024 * 1024
FEWEST_SEGMENTS = 8
"""So many stay, expired or not: a live copy lists the directory first, and must still find what it saw."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING = frozenset({errno.EMFILE, errno.ENFILE})  # only a new segment's opening gives these: nothing was written


@frozen
class _Rotation:
    """A new segment: its snapshot, what lies in earlier ones, and what is no longer wanted, all of one moment."""

    snapshot: list[bytes]
    mark: int
    horizon: int


@define(eq=False)
class _Pending:
    record: bytes
    done: "Deferred[None] | None"


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
    _segments: list[Segment] = field(factory=list)
    _file: int = -1
    _sequence: int = 0  # of the last record on disk
    _pool: ThreadPool = field(init=False)
    _pending: list[_Pending] = field(factory=list)
    _pending_bytes: int = 0
    _busy: bool = False
    _failed: bool = False
    _closing: bool = False
    _rotate_next: bool = False
    _notes_lost: bool = False  # a batch was refused that nobody waited for: the next write brings the whole state
    _taken: int = 0  # everything numbered up to here was in an earlier batch than the next
    _idle: "list[Deferred[None]]" = field(factory=list)

    @property
    def size_bytes(self) -> int:
        """How much the segments hold on disk."""
        return sum(segment.size for segment in self._segments)

    # Starting; these run before anything is served, and may block.

    def recover(self, apply: Callable[[bytes], None]) -> Recovery:
        """Read all segments, oldest first, and give every record to ``apply``; cut a torn end.

        Damage with valid records behind it is said loudly and counted; what is readable is kept.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(self._directory.parent)
        found = recover_segments(self._directory, apply, self._mark)
        self._segments, self._sequence = found.segments, found.sequence
        return found.recovery

    def open(self) -> None:
        """Begin a new segment, so that every run starts on a whole snapshot.

        :raises OSError: the directory cannot be written.
        """
        self._pool = ThreadPool(0, 1, name=f"journal {self._directory.name}")
        self._pool.start()
        self._taken = self._mark()
        self._begin_segment(_Rotation(list(self._snapshot()), self._taken, self._horizon()))

    # Writing

    def append(self, record: bytes) -> "Deferred[None]":
        """See `IJournal.append`."""
        if self._failed or self._closing:
            why = self.trouble or "The sidecar is shutting down and takes nothing more: try again when it is back."
            return fail(EventLogUnavailable(why))
        if self._pending_bytes > MOST_PENDING_BYTES:
            return fail(EventLogUnavailable("More is waiting for the disk than can be held: try again in a second."))
        done: Deferred[None] = Deferred()
        self._enqueue(_Pending(record, done))
        return done

    def note(self, record: bytes) -> None:
        """See `IJournal.note`."""
        if self._failed or self._file < 0:
            return
        if self._pending_bytes > MOST_PENDING_BYTES:
            self._notes_lost = True
        else:
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
        if self._file >= 0:
            self._pool.stop()  # nothing runs in it now, so joining it takes no time
            os.close(self._file)
            self._file = -1

    def _enqueue(self, pending: _Pending) -> None:
        self._pending.append(pending)
        self._pending_bytes += len(pending.record)
        self._kick()

    def _kick(self) -> None:
        if self._busy or self._failed or not (self._pending or self._rotate_next):
            return
        self._busy = True
        batch, self._pending = self._pending, []
        self._pending_bytes = 0
        written = maybeDeferred(self._begin_write, [item.record for item in batch])
        written.addCallbacks(self._written, self._not_written, callbackArgs=(batch,), errbackArgs=(batch,))

    def _begin_write(self, records: list[bytes]) -> "Deferred[None]":
        # The batch is numbered already, and lies behind the snapshot: it must not count as earlier.
        rotation = None
        if self._wants_rotation():
            rotation = _Rotation(list(self._snapshot()), self._taken, self._horizon())
            self._rotate_next = self._notes_lost = False
        self._taken = self._mark()
        return deferToThreadPool(self._reactor, self._pool, self._write, records, rotation)

    def _wants_rotation(self) -> bool:
        return self._rotate_next or self._notes_lost or self._segments[-1].size >= self._segment_bytes

    def _written(self, _: None, batch: list[_Pending]) -> None:
        self.trouble = None
        self._settle(batch, None)

    def _not_written(self, failure: Failure, batch: list[_Pending]) -> None:
        refusal = self._refusal(failure)
        self.trouble = refusal.message
        if self._failed:
            # Never retried: after a failed fsync nobody knows what the kernel still holds.
            batch, self._pending = batch + self._pending, []
        elif any(item.done is None for item in batch):
            self._notes_lost = True
        self._settle(batch, refusal)

    def _refusal(self, failure: Failure) -> Refusal:
        error = failure.value
        if isinstance(error, OSError) and error.errno in _FULL:
            return StorageFull("The disk is full: nothing was accepted. Free some space; reading goes on meanwhile.")
        if isinstance(error, OSError) and error.errno in _PASSING:
            return EventLogUnavailable("The sidecar has too many files open: try again in a second.")
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

    def _write(self, records: list[bytes], rotation: _Rotation | None) -> None:
        if rotation is not None:
            self._begin_segment(rotation)
        if not records:
            return
        segment = self._segments[-1]
        lines = b"".join(frame(self._sequence + i, record) for i, record in enumerate(records, 1))
        try:
            _write_all(self._file, lines)
            os.fdatasync(self._file)
        except OSError as error:
            if error.errno in _FULL:
                self._roll_back(segment.size)
            raise
        self._sequence += len(records)
        segment.size += len(lines)

    def _roll_back(self, size: int) -> None:
        try:
            os.ftruncate(self._file, size)
            os.lseek(self._file, size, os.SEEK_SET)
        except OSError as error:
            # What was refused may still lie there, under numbers that must not be given again.
            raise OSError(errno.EIO, "a refused write could not be taken back") from error

    def _begin_segment(self, rotation: _Rotation) -> None:
        records = [BEGIN % rotation.mark, *rotation.snapshot, END]
        lines = b"".join(frame(self._sequence + i, record) for i, record in enumerate(records, 1))
        path = self._directory / segment_name(self._sequence + 1)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_all(handle, lines)
            os.fsync(handle)
            sync_directory(self._directory)
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file = handle
        self._sequence += len(records)
        self._segments.append(Segment(path, rotation.mark, len(lines)))
        self._drop_expired(rotation.horizon)

    def _drop_expired(self, horizon: int) -> None:
        # The newest snapshot is never the only one.
        pairs = list(zip(self._segments, self._segments[1:], strict=False))[: -(FEWEST_SEGMENTS - 1)]
        for segment, following in pairs:
            if following.mark <= max(horizon, segment.mark):  # all its entries are unwanted, or it has none
                segment.path.unlink(missing_ok=True)
                self._segments.remove(segment)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
