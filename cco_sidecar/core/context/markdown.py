"""A context as a Markdown document, to be put into a prompt, within a budget of bytes.

Its files are chosen and cut as those of the JSON answer are, and all else is made from that answer; but in a short
document a file gets less, for there many short ones say more, too.

Nothing that stands in it can end its own block: fences are longer than any run of backticks within them, and names are
written in one line. For one answer and task it is the same to the byte.
"""

import re
from collections.abc import Sequence
from itertools import accumulate, takewhile

import msgspec
from attrs import define, evolve, field

from cco_sidecar.core.context.answers import Answer, LeftOut, Output
from cco_sidecar.core.context.assembly import Assembled, assemble, ending
from cco_sidecar.core.context.budget import ONE_FILE
from cco_sidecar.core.context.filesection import FileSection, Shown
from cco_sidecar.core.context.fitting import shown
from cco_sidecar.core.context.gitsection import SHOWN_COMMITS
from cco_sidecar.core.context.languages import UNKNOWN, language_of
from cco_sidecar.core.context.project import Change, Commit, GitFacts, Project
from cco_sidecar.core.context.request import MOST_BYTES, ContextRequest
from cco_sidecar.core.context.secrets import redact
from cco_sidecar.core.context.selection import Pick, Selection
from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN, LEAST_TOKENS

LEAST_BYTES = LEAST_TOKENS * BYTES_PER_TOKEN
_LEAST_SOURCE = 65_536
_LEAST_FILE = 1_536
_MARK = "[REDACTED:"
_MARKS = " `[REDACTED:<rule>]` stands where a secret was.\n"
_MOST_DEPENDENCIES = 30
_MORE_BYTES = 24
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,32}")
_BACKTICKS = re.compile("`+")


def markdown(request: ContextRequest, project: Project, selection: Selection, files: FileSection) -> Assembled:
    """Make the document of at most ``request.budget_bytes``, at least `LEAST_BYTES`; its ``head`` is all of it."""
    source = evolve(request, budget_bytes=min(max(4 * request.budget_bytes, _LEAST_SOURCE), MOST_BYTES))
    answer = assemble(source, project, evolve(selection, picks=[]), files)
    found = msgspec.json.decode(answer.head + ending(0, False), type=Answer)
    page = _Page(request.budget_bytes - _size(_MARKS))
    page.add(_title(found))
    task = _head(redact(_plain(request.task))[0], page.left // 4)
    page.section("Task", [_fenced(task, "text")] if task else [], 2)
    page.section("Project", _project(found), 10)
    if project.git is not None:
        _add_git(page, project.git)
    page.section("Earlier agents", [line for one in found.context.previous_agent_outputs for line in _output(one)], 5)
    reserve = min(max(page.left // 12, 200), 4096, page.left // 2)
    page.left -= reserve
    if selection.picks:
        page.add("\n## Files\n")
        files.take(selection.picks, page.left, min(max(page.left // 8, _LEAST_FILE), ONE_FILE), _file)
    count = sum(page.add(fragment.decode()) for fragment in files.fragments)
    page.left += reserve + _size(_MARKS)
    if any(_MARK in part for part in page.parts):
        page.parts[0] = page.parts[0].removesuffix("\n") + _MARKS
        page.left -= _size(_MARKS)
    out = [LeftOut(shown(one.path), one.size, one.why) for one in files.omitted]
    title = f"Left out: {len(out) + found.omitted_count} files"
    page.section(title, [_left_out(one) for one in (*out, *found.omitted)], 1)
    cut = answer.truncated or files.cut or page.cut
    return Assembled("".join(page.parts).encode(), cut, count, files.is_whole)


@define(eq=False)
class _Page:
    """A document that grows; ``left`` is how many bytes it still has room for, ``cut`` says that something was not."""

    left: int
    parts: list[str] = field(factory=list, init=False)
    cut: bool = field(default=False, init=False)

    def add(self, text: str) -> bool:
        """Add a piece, unless it does not fit."""
        size = _size(text)
        if size > self.left:
            self.cut = True
            return False
        self.parts.append(text)
        self.left -= size
        return True

    def section(self, title: str, items: Sequence[str], divisor: int) -> None:
        """Add a section with as many items, from the first, as fit into so much of what is left."""
        if not items:
            return
        heading = f"\n## {title}\n\n"
        room = self.left // divisor - _size(heading) - _MORE_BYTES
        sizes = accumulate(map(_size, items))
        count = sum(1 for _ in takewhile(lambda size: size <= room, sizes))
        more = f"- and {len(items) - count} more\n" if count < len(items) else ""
        self.cut = self.cut or bool(more)
        self.add(heading + "".join(items[:count]) + more)


def _title(answer: Answer) -> str:
    heading = f"# Context of {answer.agent_type} on {answer.issue_id}\n"
    return f"{heading}\nThe project as it is now, best files first.\n"


def _project(answer: Answer) -> list[str]:
    structure, metadata = answer.context.project_structure, answer.context.metadata
    name = structure.root.rstrip("/").rpartition("/")[2] or structure.root
    lines = [f"- {_code(name)}: {structure.total_files} files, {structure.total_size_bytes} bytes\n"]
    for title, value in (("Kind", metadata.get("project_type")), ("Tests", metadata.get("test_command"))):
        if isinstance(value, str):
            lines.append(f"- {title}: {_code(value)}\n")
    languages = metadata.get("languages")
    if isinstance(languages, dict) and languages:
        lines.append(f"- Languages: {', '.join(f'{_line(str(key))} ({n})' for key, n in languages.items())}\n")
    names = [str(one["name"]) for one in _dicts(metadata.get("dependencies")) if "name" in one]
    if names:
        more = ", …" if len(names) > _MOST_DEPENDENCIES else ""
        lines.append(f"- Depends on: {', '.join(map(_code, names[:_MOST_DEPENDENCIES]))}{more}\n")
    directories = [path for path in structure.directories if path.count("/") <= 1]
    return [*lines, *(f"- {_code(path + '/')}\n" for path in directories)]


def _add_git(page: _Page, git: GitFacts) -> None:
    place = f"Branch {_code(git.branch)}" if git.branch else "No branch"
    head = f", at {_code(git.head[:10])}" if git.head else ""
    page.section("Git", [f"{place}{head}.\n"], 2)
    page.section("Uncommitted changes", [_change(one) for one in git.changes], 8)
    most = max(page.left // 20, min(1_000, page.left // 5 - 120))
    page.section("Diffs", [_diff(one.diff, most) for one in git.changes if one.diff], 5)
    page.section("Recent commits", [_commit(one) for one in git.commits[:SHOWN_COMMITS]], 12)


def _change(change: Change) -> str:
    return f"- {_code(shown(change.path))}: {_line(change.status)}\n"


def _diff(diff: str, most_bytes: int) -> str:
    head = _head(_plain(diff), most_bytes)
    return _fenced(head, "diff") + ("(The rest of this diff is left out.)\n" if len(head) < len(diff) else "")


def _commit(commit: Commit) -> str:
    first = commit.message.strip().split("\n", 1)[0]
    return f"- {_code(commit.hash[:10])} {_line(first)} ({_line(commit.author)}, {commit.timestamp[:10]})\n"


def _output(output: Output) -> list[str]:
    lines = [f"- {_code(output.agent)} ({_line(output.agent_type)}): {_line(output.status)}, {output.timestamp}\n"]
    for decision in output.decisions:
        text = decision if isinstance(decision, str) else msgspec.json.encode(decision).decode()
        lines.append(f"  - {_line(_plain(text))}\n")
    if output.files_affected:
        lines.append(f"  - files: {', '.join(map(_code, output.files_affected))}\n")
    return lines


def _file(pick: Pick, _checksum: str, kept: Shown, is_cut: bool, _tokens: int) -> bytes:
    language = language_of(pick.file.path)
    info = language if _LANGUAGE.fullmatch(language) and language != UNKNOWN else "text"
    about = f"{language}, {pick.file.size} bytes{', shortened' if is_cut else ''}: {_line(pick.reason)}"
    block = f"\n### {_code(shown(pick.file.path))}\n\n{about}\n\n{_fenced(_plain(kept.content), info)}"
    return block.encode()


def _left_out(one: LeftOut) -> str:
    return f"- {_code(one.path)} ({one.size} bytes): {_line(one.why)}\n"


def _fenced(content: str, info: str) -> str:
    fence = _fence(content)
    return f"{fence}{info}\n{content}{'' if not content or content.endswith(chr(10)) else chr(10)}{fence}\n"


def _fence(content: str) -> str:
    return "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(content)), default=0))


def _code(text: str) -> str:
    """Give a name as inline code, in one line."""
    line = _line(text)
    marks = "`" * (1 + max(map(len, _BACKTICKS.findall(line)), default=0))
    space = " " if len(marks) > 1 else ""
    return f"{marks}{space}{line}{space}{marks}"


def _line(text: str) -> str:
    r"""Give a text in one line: a line feed becomes a blank, any other control character ``\x1b``."""
    return _UNSAFE.sub(lambda found: _visible(found[0]), _plain(text).strip())


def _visible(char: str) -> str:
    if char == "\n":
        return " "
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _plain(text: str) -> str:
    """Give a text that is sound Unicode (a task may hold half a character)."""
    return text.encode("utf-8", "replace").decode()


def _head(text: str, most_bytes: int) -> str:
    """Give the first lines of a text that take at most so many bytes, with a line end; a first line is itself cut."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    head = encoded[: max(most_bytes - 1, 0)].decode("utf-8", "ignore")
    return head[: head.rfind("\n") + 1] or head


def _size(text: str) -> int:
    return len(text.encode())


def _dicts(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
