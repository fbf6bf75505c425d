"""The files of an answer: the best first, many of them, each short."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from attrs import define, field, frozen

from cco_sidecar.core.context.budget import ONE_FILE, level_of
from cco_sidecar.core.context.fitting import encode, shown
from cco_sidecar.core.context.languages import MOST_REMEMBERED, language_of
from cco_sidecar.core.context.outline.cutting import Cut, beginning, cut
from cco_sidecar.core.context.outline.focus import Focus, changed_lines, focused_lines
from cco_sidecar.core.context.outline.shape import Outliner, lines_of
from cco_sidecar.core.context.project import TOO_BIG, Omission, Project, ProjectFile, Text, Unreadable
from cco_sidecar.core.context.selection import Pick
from cco_sidecar.core.context.tokens import tokens_in
from cco_sidecar.core.secrets.redacting import redactions_in
from cco_sidecar.core.times import rfc3339

OUT_OF_BUDGET = "over the budget"
OUT_OF_TIME = "there was no time left to read it"
_LEAST_CONTENT = 256
_MOST_TOKENS = 10**7
_LAST_SECOND = 253_402_300_799  # of the year 9999: a file's time can be anything
_FRAME_GUESS = 400
_WORTH_GROWING = 1_024
_MOST_GROWN = 32
_LOOKED_AT = 1_000_000
"""After so many characters of files that are cut, the next are cut to their beginnings: a closer look takes time."""

Reader = Callable[[ProjectFile], Text | Unreadable]
"""Gives the text of a file; it may raise to end the gathering."""

ReadAhead = Callable[[Sequence[ProjectFile]], None]
"""Is told which files will be asked for."""


class Shown(Protocol):
    """What is shown of a file; ``omitted`` has the first and last line of each run that is not."""

    @property
    def content(self) -> str:
        """The text."""

    @property
    def json(self) -> bytes:
        """The text as JSON."""

    @property
    def omitted(self) -> Sequence[tuple[int, int]]:
        """See the class."""


Writer = Callable[[Pick, str, Shown, bool, int], bytes]
"""Writes a file down: which it is, its checksum, what is shown, whether that is not all of it, and its tokens.

It takes no more bytes for the content than JSON does, but for a fence around it.
"""


def in_json(pick: Pick, checksum: str, kept: Shown, is_cut: bool, tokens: int) -> bytes:
    """Write a file down as a member of ``relevant_files``; ``tokens`` is an estimate."""
    return _Frame.of(pick).around(kept.json, checksum, tokens, kept.omitted if is_cut else None)


@frozen
class _Frame:
    """What is around the content of one file, as JSON: made once, for it takes longer than the rest."""

    before: bytes
    between: bytes
    after: bytes

    @classmethod
    def of(cls, pick: Pick) -> "_Frame":
        return cls._made(pick.file, pick.reason)

    @classmethod
    @lru_cache(MOST_REMEMBERED)
    def _made(cls, file: ProjectFile, reason: str) -> "_Frame":
        modified = rfc3339(min(max(file.modified_ns / 1e9, 0), _LAST_SECOND))
        about = modified.encode(), file.size, encode(language_of(file.path))
        return cls(
            b'{"path":%b,"content":' % encode(shown(file.path)),
            b',"last_modified":"%b","size":%d,"language":%b,"checksum":"sha256:' % about,
            b'","reason":%b,"truncated":' % encode(reason),
        )

    def around(self, content: bytes, checksum: str, tokens: int, omitted: Sequence[tuple[int, int]] | None) -> bytes:
        """Put it around content; ``tokens`` is an estimate, ``omitted`` None for a file that is whole."""
        end = b'false,"tokens":%d}' % tokens
        if omitted is not None:
            end = b'true,"tokens":%d,"omitted_lines":%b}' % (tokens, encode(omitted))
        return b"".join((self.before, content, self.between, checksum.encode(), self.after, end))


@frozen
class Outcome:
    """What became of a file: its tokens, None if it is not there; ``cut`` says why it is not, or not whole."""

    tokens: int | None
    cut: str = ""


@frozen
class _Entry:
    """One file as it is in the answer."""

    pick: Pick
    written: bytes = field(repr=False)
    content_bytes: int
    redactions: int
    cut: bool

    @property
    def outcome(self) -> Outcome:
        return Outcome(tokens_in(self.content_bytes), OUT_OF_BUDGET if self.cut else "")


@define(eq=False)
class FileSection:
    """Takes files until there is no room left, and remembers what became of each.

    When not all fit, each gets as much as the others leave, and none that is big gets so much that a better spread one
    would be pushed out: it is cut. What the task names, and what is changed, is served first and may take more; so may
    the best of the others, as far as the level's favour goes.
    """

    _read: Reader
    _outliner: Outliner
    _focus: Focus
    _project: Project
    _is_late: Callable[[], bool] = lambda: False
    _read_ahead: ReadAhead = lambda _files: None
    is_whole: bool = field(default=True, init=False)
    """Whether there was time for all."""
    _left: int = field(default=0, init=False)
    _write: Writer = field(default=in_json, init=False)
    _least_frame: int = field(default=0, init=False)
    omitted: list[Omission] = field(factory=list, init=False)
    _entries: dict[int, _Entry] = field(factory=dict, init=False)
    _diffs: dict[str, str] = field(factory=dict, init=False)
    _looked_at: dict[str, int] = field(factory=dict, init=False)
    _left_out: bool = field(default=False, init=False)

    def take(self, picks: Sequence[Pick], most_bytes: int, one_file: int = ONE_FILE, write: Writer = in_json) -> None:
        """Take the files, given best first and all at once, in at most so many bytes with a comma after each.

        :param one_file: what a file may have, however many there are.
        :param write: writes each down.
        """
        self._left, self._write = most_bytes, write
        self._least_frame = len(write(_NOTHING, "0" * 64, _EMPTY, True, 0)) - len(language_of(""))
        git = self._project.git
        self._diffs = {change.path: change.diff for change in git.changes} if git else {}
        turns = sorted(enumerate(picks), key=lambda one: not _is_dear(one[1]))
        level = level_of([_guess(pick) for _, pick in turns], self._left, one_file)
        dear_left, favour = self._left // 2, level.favour
        reach = level.reach([_guess(pick) for _, pick in turns], self._left)
        self._read_ahead([pick.file for _, pick in turns[:reach] if pick.file.size])
        for turn, (place, pick) in enumerate(turns):
            if self._is_late():
                self.is_whole = False
                self._leave_out(pick, OUT_OF_TIME)
                continue
            most = level.allowance(turn, self._left - favour)
            if _is_dear(pick):
                most = max(most, dear_left // 2)
            elif level.beyond(_most_for(pick)) <= favour:
                most = max(most, _most_for(pick))
            entry = self._entry(pick, min(self._left, most), level.fill)
            if isinstance(entry, str):
                self._leave_out(pick, entry)
                continue
            self._put(place, entry)
            if _is_dear(pick):
                dear_left -= len(entry.written)
            else:
                favour = max(favour - level.beyond(len(entry.written)), 0)
        self._grow(turns)

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """What became of each of the files, by path."""
        left_out = {one.path: Outcome(None, one.why) for one in self.omitted}
        return left_out | {entry.pick.file.path: entry.outcome for entry in self._entries.values()}

    @property
    def fragments(self) -> list[bytes]:
        """The files as they were written down, best first."""
        return [entry.written for _, entry in sorted(self._entries.items())]

    @property
    def content_bytes(self) -> int:
        """How many bytes of content they have."""
        return sum(entry.content_bytes for entry in self._entries.values())

    @property
    def redactions(self) -> int:
        """How many secrets were replaced in what they show."""
        return sum(entry.redactions for entry in self._entries.values())

    @property
    def cut(self) -> bool:
        """Whether a file is not there, or not whole, for want of room."""
        return self._left_out or any(entry.cut for entry in self._entries.values())

    def _put(self, place: int, entry: _Entry) -> None:
        before = self._entries.get(place)
        self._left -= len(entry.written) + 1 - (len(before.written) + 1 if before else 0)
        self._entries[place] = entry

    def _grow(self, turns: Sequence[tuple[int, Pick]]) -> None:
        """Give what is left over to files that were cut."""
        cut_ones = [(place, pick) for place, pick in turns if place in self._entries and self._entries[place].cut]
        for place, pick in cut_ones[:_MOST_GROWN]:
            if self._left < _WORTH_GROWING or not self.is_whole:
                return
            entry = self._entry(pick, self._left + len(self._entries[place].written), True)
            if isinstance(entry, _Entry):
                self._put(place, entry)

    def _entry(self, pick: Pick, most: int, fill: bool) -> _Entry | str:
        """Make the entry of a file, in at most ``most`` bytes with a comma, or say why there is none."""
        least = min(pick.file.size, _LEAST_CONTENT)
        if most < self._least_frame + len(pick.file.path) + least:
            return OUT_OF_BUDGET  # said before anything is made: there may be very many files more
        room = most - 1 - len(self._write(pick, "0" * 64, _EMPTY, True, _MOST_TOKENS))
        text = self._read(pick.file) if room >= least else Unreadable(OUT_OF_BUDGET)
        if isinstance(text, Unreadable):
            return text.why
        why = "" if pick.named else text.generated(language_of(pick.file.path))
        if why:
            return why
        entry = self._written(pick, text, room, fill)
        over = 0 if entry is None else len(entry.written) + 1 - most
        if over > 0:  # it needs a longer fence
            entry = self._written(pick, text, room - over, fill)
        return entry or OUT_OF_BUDGET

    def _written(self, pick: Pick, text: Text, room: int, fill: bool) -> _Entry | None:
        """Write a file down with content that takes at most ``room`` bytes of JSON; None if that would say nothing."""
        if len(text.json) - 2 <= room:
            written = self._write(pick, text.checksum, text, False, tokens_in(text.size_bytes))
            redactions = text.redactions + redactions_in(shown(pick.file.path))
            return _Entry(pick, written, text.size_bytes, redactions, False)
        if room < _LEAST_CONTENT:
            return None
        kept = self._cut(pick, text, room, fill)
        size = len(kept.content.encode("utf-8", "replace"))
        redactions = min(text.redactions, redactions_in(kept.content)) + redactions_in(shown(pick.file.path))
        written = self._write(pick, text.checksum, kept, True, tokens_in(size))
        return _Entry(pick, written, size, redactions, True)

    def _cut(self, pick: Pick, text: Text, room: int, fill: bool) -> Cut:
        language = language_of(pick.file.path)
        if pick.file.path not in self._looked_at:
            if sum(self._looked_at.values()) >= _LOOKED_AT:
                return beginning(text.content, language, room)
            self._looked_at[pick.file.path] = len(text.content)
        outline = self._outliner(language, text.content, text.checksum)
        changed = changed_lines(self._diffs.get(pick.file.path, ""))
        found = focused_lines(self._focus, text.content, lines_of(text.content))
        # Neither the changes nor the words of the task take all the windows.
        return cut(text.content, language, outline, _in_turn(changed, found), room, fill=fill)

    def _leave_out(self, pick: Pick, why: str) -> None:
        self.omitted.append(Omission(pick.file.path, pick.file.size, why))
        self._left_out = self._left_out or why in (OUT_OF_BUDGET, OUT_OF_TIME, TOO_BIG)


def _in_turn(first: Sequence[int], second: Sequence[int]) -> list[int]:
    longest = max(len(first), len(second))
    return [line for place in range(longest) for line in (*first[place : place + 1], *second[place : place + 1])]


def _is_dear(pick: Pick) -> bool:
    return pick.named or bool(pick.file.status)


def _guess(pick: Pick) -> int:
    """Guess how many bytes a file takes when it is not cut; its quotes and line feeds take two each."""
    return pick.file.size + pick.file.size // 16 + _FRAME_GUESS + len(pick.file.path)


def _most_for(pick: Pick) -> int:
    """Give how many bytes most files take at most."""
    return _guess(pick) + pick.file.size // 8


_NOTHING = Pick(ProjectFile("", 0, 0), "")
_EMPTY = Cut("", [])
