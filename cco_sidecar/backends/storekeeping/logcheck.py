"""Is the log of a project whole: its records, its snapshots, and that nothing is missing between them."""

import os
from collections.abc import Collection

from attrs import define, frozen

from cco_sidecar.backends.placing import read_regular
from cco_sidecar.backends.storekeeping.findings import Findings
from cco_sidecar.backends.storekeeping.layout import Kind, Parts, is_segment
from cco_sidecar.backends.storekeeping.looking import Look, look_at

KEEP_A_COPY = "copy the storage away; a start keeps what is readable, 'cco storage restore' brings an earlier backup"


@frozen
class LogFacts:
    """What the log of a project holds; the sequences are those of its first and last record, None without any."""

    segments: int = 0
    records: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    size_bytes: int = 0


def first_of(name: str) -> int:
    """Give the sequence that a segment's name has."""
    return int(name.partition(".")[0])


def read_segment(directory: int, name: str) -> tuple[bytes, Look]:
    """Read a segment and look at it.

    :raises OSError: it cannot be read.
    """
    text = read_regular(directory, name, Kind.SEGMENT.most_bytes)
    return text, look_at(text)


def segment_names(directory: int) -> list[str]:
    """Name the segments, oldest first."""
    return sorted(name for name in os.listdir(directory) if is_segment(name))


def check_log(
    directory: int, parts: Parts, findings: Findings, *, is_live: bool, set_aside: Collection[int]
) -> LogFacts:
    """Look at every segment of an open directory, oldest first.

    :param is_live: whether a sidecar may be writing to it.
    :param set_aside: the first sequences of segments that lie in quarantine: what is lost there is known.
    """
    seen = Findings()
    facts = _LogCheck(parts, seen, is_live, set_aside).run(directory)
    if not seen.is_sound and is_live:
        # What a full disk refuses is taken back: who reads just then sees a mixture. It is not there twice.
        seen = Findings()
        facts = _LogCheck(parts, seen, is_live, set_aside).run(directory)
    findings.add(seen)
    return facts


@define
class _LogCheck:
    """Goes through the segments; ``_highest`` is the highest number that an event so far has, or must have had."""

    _parts: Parts
    _findings: Findings
    _is_live: bool
    _set_aside: Collection[int]
    _facts: LogFacts = LogFacts()
    _highest: int = 0
    _before: tuple[int, int] | None = None  # first and last sequence of the segment before

    def run(self, directory: int) -> LogFacts:
        """Check all of it."""
        names = segment_names(directory)
        if names and self._is_unfinished(directory, names[-1]):
            names.pop()
        for name in names:
            parts = (*self._parts, name)
            try:
                text, look = read_segment(directory, name)
            except FileNotFoundError:
                continue  # it has expired
            except OSError as error:
                self._findings.damage(parts, f"cannot be read: {error.strerror}", KEEP_A_COPY)
                continue
            self._check_records(parts, look, is_last=name == names[-1])
            self._check_place(parts, first_of(name), look)
            self._count(first_of(name), look, len(text))
        return self._facts

    def _is_unfinished(self, directory: int, name: str) -> bool:
        try:
            _, look = read_segment(directory, name)
        except OSError:
            return False
        if look.is_unfinished and not self._is_live:
            problem = "was never finished, and never in use"
            self._findings.note((*self._parts, name), problem, "nothing: the next start removes it")
        return look.is_unfinished

    def _check_records(self, parts: Parts, look: Look, *, is_last: bool) -> None:
        what, damage = look.what, self._findings.damage
        if what.damaged:
            damage(parts, f"{_count(what.damaged, 'stretch', 'es')} within it cannot be read", KEEP_A_COPY)
        if look.unreadable:
            damage(parts, f"{_count(look.unreadable, 'record')} is no JSON of ours", KEEP_A_COPY)
        if what.torn and not (is_last and what.records and look.is_torn):
            damage(parts, f"the last {_count(what.torn, 'byte')} cannot be read", KEEP_A_COPY)
        elif what.torn and not self._is_live:
            problem = f"ends with an unfinished write of {_count(what.torn, 'byte')}: it was never acknowledged"
            self._findings.note(parts, problem, "nothing: the next start cuts it off")
        if not look.has_snapshot and not what.damaged:
            damage(parts, "does not begin with a whole snapshot of the state", KEEP_A_COPY)

    def _check_place(self, parts: Parts, first: int, look: Look) -> None:
        damage = self._findings.damage
        if look.what.records and not look.what.damaged and look.what.records[0][0] != first:
            damage(parts, f"its first record is numbered {look.what.records[0][0]}, not as its name says", KEEP_A_COPY)
        if self._before is None or look.mark is None:
            return
        before, last = self._before
        if look.previous == before and look.previous_last != last:
            damage(parts, f"the segment before it went on to {look.previous_last}, but ends at {last}", KEEP_A_COPY)
        elif look.mark > self._highest and not self._was_set_aside(before, first):
            # Segments without events go before older ones do: only missing events tell of a loss.
            missing = f"events up to number {look.mark} are missing before it"
            damage(parts, missing, KEEP_A_COPY)

    def _was_set_aside(self, before: int, first: int) -> bool:
        return any(before <= gone < first for gone in self._set_aside)

    def _count(self, first: int, look: Look, size: int) -> None:
        facts, numbers = self._facts, [number for number, _ in look.what.records]
        self._highest = max(self._highest, look.highest, look.mark or 0)
        self._before = (first, look.last)
        known = [number for number in (facts.first_sequence, facts.last_sequence) if number is not None] + numbers
        self._facts = LogFacts(
            facts.segments + 1,
            facts.records + len(numbers),
            min(known, default=None),
            max(known, default=None),
            facts.size_bytes + size,
        )


def _count(number: int, word: str, plural: str = "s") -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}{plural}"
