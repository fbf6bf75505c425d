"""The journal on disk: one writer process, one fdatasync for all that waits, recovery at start.

Why so: design.md section 4, research/events.md section 7. What arrives while one batch is being synced makes up the
next. The writer carries out one order at a time; when a new segment is due, its snapshot goes there in slices, between
batches, which go on into the segment before until the snapshot is whole and on disk.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cco_sidecar.backends.journal_writer import FULL
from cco_sidecar.backends.quarantine import Quarantine
from cco_sidecar.backends.recovery import Recovery, Segment, everything, recover_segments
from cco_sidecar.backends.rotation import Rotation, Snapshot
from cco_sidecar.backends.segments import PROBE, frame
from cco_sidecar.backends.storage import sync_directory
from cco_sidecar.backends.writer_process import Answer, Writer, WriterStarter
from cco_sidecar.errors import EventLogUnavailable, Refusal, StorageFull
from cco_sidecar.interfaces import IJournal

_log = Logger()

SEGMENT_BYTES = 8 * 1024 * 1024
MOST_PENDING_BYTES = 64 * 1024 * 1024
FEWEST_SEGMENTS = 8
"""So many stay, expired or not: a live copy lists the directory first, and must still find what it saw."""
AGAIN_SECONDS = 1.0
"""After so long what the disk refused is tried again, asked or not."""
MOST_DEATHS = 3
DEATHS_SECONDS = 60.0
LOCK_SECONDS = 30.0

_PASSING = FULL | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@define(eq=False)
class _Pending:
    record: bytes
    done: "Deferred[None] | None"


@implementer(IJournal)
@define(eq=False)
class FileJournal:
    """A log in a directory that holds nothing but its segments.

    ``snapshot`` gives the state as records, of this moment, also when they are walked later; ``mark`` the highest
    number given to an entry so far, and ``horizon`` the highest that is no longer wanted: a segment with none above it
    is deleted, whole.
    """

    _reactor: IReactorTime
    _directory: Path
    _snapshot: Callable[[], Snapshot]
    _mark: Callable[[], int]
    _horizon: Callable[[], int]
    _start_writer: WriterStarter
    _quarantine: Quarantine
    _segment_bytes: int = SEGMENT_BYTES
    trouble: str | None = None
    damaged: int = 0
    """How many damaged stretches recovery found."""
    _segments: list[Segment] = field(factory=list)
    _sequence: int = 0  # the last on disk
    _handle: int = -1  # the directory, and the lock on it; the writer has it, too, and may outlive this process
    _writer: Writer | None = None
    _rotation: Rotation | None = None
    _unfinished: bytes = b""  # the file of one that ended with its writer, until another has removed it
    _pending: list[_Pending] = field(factory=list)
    _pending_bytes: int = 0
    _in_hand: list[_Pending] = field(factory=list)  # the batch that the writer has
    _full_at: int = 0
    _busy: bool = False
    _failed: bool = False
    _closing: bool = False
    _rotate_next: bool = False
    _slice_next: bool = False
    _notes_lost: bool = False  # a batch was refused that nobody waited for: a new segment brings the whole state
    _taken: int = 0  # everything numbered up to here was in an earlier batch than the next
    _deaths: list[float] = field(factory=list)
    _soon: IDelayedCall | None = None
    _again: IDelayedCall | None = None
    _idle: "list[Deferred[None]]" = field(factory=list)

    @property
    def size_bytes(self) -> int:
        """How much the segments hold on disk."""
        return sum(segment.size for segment in self._segments)

    # Starting; these run before anything is served, and may block.

    def recover(self, apply: Callable[[bytes], None], lasts: Callable[[bytes], bool] = everything) -> Recovery:
        """Read all segments, and give the records to ``apply`` in the order of writing; cut a torn end.

        Damage with valid records behind it is said loudly and counted; what is readable is kept. Of what was written
        before the newest whole snapshot, only what ``lasts`` is given: what no snapshot has.

        :raises OSError: the directory cannot be used, or an earlier writer does not end.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(self._directory.parent)
        self._handle = _locked(self._directory)
        found = recover_segments(self._directory, apply, self._mark, self._quarantine, lasts)
        self._segments, self._sequence = found.segments, found.sequence
        self.damaged = found.recovery.damaged
        return found.recovery

    def open(self) -> None:
        """Begin a new segment, so that every run starts on a whole snapshot.

        :raises OSError: the directory cannot be written.
        """
        writer = self._start_writer(self._handle, self._writer_gone)
        try:
            self._begin_first(writer)
        except BaseException:
            writer.close()
            raise
        self._writer = writer

    def _begin_first(self, writer: Writer) -> None:
        self._taken = self._mark()
        rotation = Rotation(self._snapshot(), self._sequence + 1, self._taken, self._horizon())
        _insist(writer.ask_now(b"begin", rotation.name))
        while lines := rotation.slice():
            _insist(writer.ask_now(b"fill", lines))
            rotation.written += len(lines)
        end = self._end_line(rotation)
        _insist(writer.ask_now(b"switch", end))
        self._switched(rotation, len(end))
        expired = self._expired(rotation.horizon)
        _insist(writer.ask_now(b"remove", _names(expired)))
        self._forget(expired)

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
        if self._failed or self._writer is None:
            return
        if self._pending_bytes > MOST_PENDING_BYTES:
            self._notes_lost = True
        else:
            self._enqueue(_Pending(record, None))

    def flush(self) -> "Deferred[None]":
        """See `IJournal.flush`."""
        if self._is_idle():
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        return done

    def rotate(self) -> None:
        """Begin a new segment, and delete what has expired when it is in use; called now and then."""
        if self._mark() > self._segments[-1].mark:
            self._rotate_next = True
            self._kick_soon()

    def close(self) -> "Deferred[None]":
        """Take nothing more; fire when all that was taken is on disk and the writer has ended."""
        self._closing = True
        self._cancel_again()  # now or never
        self._kick_soon()
        return self.flush().addCallback(lambda _: self._stop())

    def _stop(self) -> "Deferred[None]":
        self._cancel_calls()
        writer, self._writer = self._writer, None
        ended = writer.close() if writer is not None else succeed(None)
        return ended.addCallback(lambda _: self._let_go())

    def _let_go(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _cancel_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _cancel_calls(self) -> None:
        self._cancel_again()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def _enqueue(self, pending: _Pending) -> None:
        self._pending.append(pending)
        self._pending_bytes += len(pending.record)
        self._kick_soon()

    def _kick_soon(self) -> None:
        # Not at once: what else this turn of the reactor brings goes into the same batch.
        if self._soon is None and not self._busy and not self._failed:
            self._soon = self._reactor.callLater(0, self._turn_is_over)

    def _begin_turn(self) -> None:
        self._soon = None
        self._kick_soon()

    def _turn_is_over(self) -> None:
        self._soon = None
        self._kick()

    def _kick(self) -> None:
        if self._busy or self._failed or self._writer is None:
            return
        if self._closing and self._rotation is not None and not self._rotation.needed:
            self._order(self._writer, b"drop", b"", self._dropped)
        elif self._rotation is None and self._wants_rotation():
            self._begin_rotation(self._writer)
        elif self._pending and not (self._slice_next and self._rotation is not None):
            self._send_batch(self._writer)
        elif self._rotation is not None:
            self._send_slice(self._writer, self._rotation)

    def _order(self, writer: Writer, order: bytes, payload: bytes, done: Callable[[Answer], None]) -> None:
        self._busy = True
        writer.ask(order, payload).addCallback(done).addErrback(self._unforeseen)

    def _send_batch(self, writer: Writer) -> None:
        batch, self._pending = self._pending, []
        self._in_hand = batch
        self._pending_bytes = 0
        self._taken = self._mark()
        self._slice_next = True
        rotation, first, lines = self._rotation, self._sequence + 1, []
        if rotation is not None and not rotation.skipped:
            lines.append(rotation.skip())
            first = rotation.last + 1
        lines += [frame(number, item.record) for number, item in enumerate(batch, first)]
        payload = b"".join(lines)

        def answered(answer: Answer) -> None:
            if answer.errno:
                self._batch_refused(answer)
                return
            self._sequence = first + len(batch) - 1
            self._segments[-1].size += len(payload)
            if rotation is not None:
                rotation.skipped = True
            if self.trouble is not None:
                self.trouble = None
                self._cancel_again()
            self._settle(None)

        self._order(writer, b"write", payload, answered)

    def _batch_refused(self, answer: Answer) -> None:
        if not answer.undone or answer.errno not in _PASSING:
            self._fail(OSError(answer.errno, os.strerror(answer.errno)))
            return
        refusal: Refusal = StorageFull(
            "The disk is full: nothing was accepted. Free some space; reading goes on meanwhile."
        )
        self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        self.trouble = refusal.message
        self._notes_lost = self._notes_lost or any(item.done is None for item in self._in_hand)
        self._try_again_later()
        self._settle(refusal)

    def _settle(self, refusal: Refusal | None) -> None:
        batch, self._in_hand = self._in_hand, []
        for item in batch:
            if item.done is None:
                continue
            try:
                if refusal is None:
                    item.done.callback(None)
                else:
                    item.done.errback(refusal)
            except Exception:  # noqa: BLE001 - one who takes it badly must not keep the others from theirs
                _log.failure("an acknowledgement could not be given")
        self._free()

    def _free(self) -> None:
        """Go on with what waits, and tell those who wait for nothing to wait any more."""
        self._busy = False
        if self._pending and self._soon is None and not self._failed:
            # A turn later than need be: whoever has just been answered may ask again, and shares the next sync.
            self._soon = self._reactor.callLater(0, self._begin_turn)
        else:
            self._kick()
        if self._is_idle():
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    def _is_idle(self) -> bool:
        if self._failed or self._writer is None:
            return not self._busy
        return not (self._busy or self._pending or self._rotation is not None or self._wants_rotation())

    def _try_again_later(self) -> None:
        if self._again is None:
            self._again = self._reactor.callLater(AGAIN_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        if self.trouble is not None and not self._pending and not self._failed:
            self.note(PROBE)  # nobody may come and ask, and readiness would stay lost
        self._kick_soon()

    # A new segment

    def _wants_rotation(self) -> bool:
        if self._again is not None or (self._closing and not self._notes_lost):
            return False
        return self._rotate_next or self._notes_lost or self._segments[-1].size >= self._full_at

    def _begin_rotation(self, writer: Writer) -> None:
        needed, self._rotate_next, self._notes_lost = self._notes_lost, False, False
        try:
            snapshot = self._snapshot()
        except Exception as error:  # noqa: BLE001 - whatever a keeper did: without snapshots the log would grow for ever
            self._fail(error)
            return
        # One number is left for the line that says so in the segment before.
        self._rotation = Rotation(snapshot, self._sequence + 2, self._mark(), self._horizon(), needed)
        self._order(writer, b"begin", self._rotation.name, self._rotation_goes_on)

    def _send_slice(self, writer: Writer, rotation: Rotation) -> None:
        self._slice_next = False
        lines = rotation.slice()
        if lines:
            rotation.written += len(lines)
            self._order(writer, b"fill", lines, self._rotation_goes_on)
            return
        end = self._end_line(rotation)

        def switched(answer: Answer) -> None:
            if answer.errno:
                self._rotation_goes_on(answer)
                return
            self._switched(rotation, len(end))
            expired = self._expired(rotation.horizon)
            if expired:
                self._order(writer, b"remove", _names(expired), lambda answer: self._removed(answer, expired))
            else:
                self._free()

        self._order(writer, b"switch", end, switched)

    def _rotation_goes_on(self, answer: Answer) -> None:
        if answer.errno:
            self._abandon_rotation()
            if not answer.undone or answer.errno not in _PASSING:
                self._fail(OSError(answer.errno, os.strerror(answer.errno)))
                return
            _log.warn("no new segment of the log could be begun: {why}", why=os.strerror(answer.errno))
            self._try_again_later()
        self._free()

    def _abandon_rotation(self) -> None:
        if self._rotation is not None:
            self._rotate_next = True
            self._notes_lost = self._notes_lost or self._rotation.needed
            self._rotation = None

    def _dropped(self, answer: Answer) -> None:
        self._rotation = None
        self._free()

    def _end_line(self, rotation: Rotation) -> bytes:
        previous = self._segments[-1].first if self._segments else 0
        return rotation.end(self._taken, previous, self._sequence)

    def _switched(self, rotation: Rotation, end_bytes: int) -> None:
        size = rotation.written + end_bytes
        path = self._directory / rotation.name.decode()
        self._segments.append(Segment(path, self._taken, size))
        self._sequence = max(self._sequence, rotation.last)
        # A large snapshot must not be written again and again for little.
        self._full_at = size + max(self._segment_bytes, size)
        self._rotation = None

    def _expired(self, horizon: int) -> list[Segment]:
        # The newest snapshot is never the only one.
        pairs = list(zip(self._segments, self._segments[1:], strict=False))[: -(FEWEST_SEGMENTS - 1)]
        # All its entries are unwanted, or it has none.
        return [segment for segment, later in pairs if later.mark <= max(horizon, segment.mark)]

    def _removed(self, answer: Answer, expired: list[Segment]) -> None:
        if answer.errno:
            _log.warn("old segments could not be deleted: {why}", why=os.strerror(answer.errno))
        else:
            self._forget(expired)
        self._free()

    def _forget(self, expired: list[Segment]) -> None:
        self._segments = [segment for segment in self._segments if segment not in expired]

    # When it goes wrong

    def _unforeseen(self, failure: Failure) -> None:
        self._fail(failure.value)

    def _fail(self, error: BaseException | None) -> None:
        """Take nothing more until a restart."""
        # Never retried: after a failed fsync nobody knows what the kernel still holds.
        self._failed = True
        _log.failure("the event log could not be written: nothing more is accepted until a restart", Failure(error))
        refusal = EventLogUnavailable(
            "The event log could not be written: nothing is accepted until the sidecar is restarted. "
            "Check the disk and the sidecar's log."
        )
        self.trouble = refusal.message
        self._cancel_calls()
        self._rotation = None
        self._in_hand, self._pending = self._in_hand + self._pending, []
        self._settle(refusal)

    def _writer_gone(self) -> None:
        """Start another writer, which takes back what was not acknowledged."""
        now = self._reactor.seconds()
        self._deaths = [*(at for at in self._deaths if at + DEATHS_SECONDS > now), now]
        if self._failed or self._writer is None:
            return
        self._writer = None
        if len(self._deaths) >= MOST_DEATHS:
            self._fail(ChildProcessError(f"its writer ended {MOST_DEATHS} times within {DEATHS_SECONDS:.0f} s"))
            return
        _log.error("the event log's writer ended unexpectedly: another one takes its place")
        try:
            writer = self._start_writer(self._handle, self._writer_gone)
        except OSError as error:
            self._fail(error)
            return
        self._writer = writer
        if self._rotation is not None:
            self._unfinished = self._rotation.name
            self._abandon_rotation()
        segment = self._segments[-1]
        payload = b"%s %d %s" % (segment.path.name.encode(), segment.size, self._unfinished)
        self._order(writer, b"reopen", payload, self._reopened)

    def _reopened(self, answer: Answer) -> None:
        if answer.errno:
            self._fail(OSError(answer.errno, os.strerror(answer.errno)))
            return
        self._unfinished = b""
        if self._in_hand:
            self._refuse(
                EventLogUnavailable(
                    "The event log's writer ended: nothing of this was accepted: try again in a second."
                )
            )
        else:
            self._free()


def _names(segments: list[Segment]) -> bytes:
    return b"\n".join(segment.path.name.encode() for segment in segments)


def _insist(answer: Answer) -> None:
    if answer.errno:
        raise OSError(answer.errno, os.strerror(answer.errno))


def _locked(directory: Path) -> int:
    """Open the directory once nobody writes to it any more: the writer of a killed sidecar may be at its last batch."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    ends = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                os.close(handle)
                raise
            time.sleep(0.005)
        else:
            return handle
