"""A context as a Markdown document, to be put into a prompt: made from the JSON answer, within a budget of bytes.

Nothing that stands in it can end its own block: fences are longer than any run of backticks within them, and names are
written in one line. For one answer and task it is the same to the byte.
"""

import re
from collections.abc import Sequence

import msgspec
from attrs import define, field

from cco_sidecar.core.context import request
from cco_sidecar.core.context.answers import Answer, File, LeftOut, Output
from cco_sidecar.core.context.assembly import OUT_OF_BUDGET, Assembled, ending
from cco_sidecar.core.context.fitting import shown
from cco_sidecar.core.context.gitsection import SHOWN_COMMITS
from cco_sidecar.core.context.page import (
    Page,
    byte_size,
    fence_of,
    fenced,
    first_lines,
    inline_code,
    one_line,
    plain_text,
)
from cco_sidecar.core.context.project import Change, Commit, GitFacts
from cco_sidecar.core.context.secrets import redact
from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN, LEAST_TOKENS

LEAST_BYTES = LEAST_TOKENS * BYTES_PER_TOKEN
_LEAST_CONTENT = 120
_LEAST_SOURCE = 65_536
_MOST_DEPENDENCIES = 30
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,32}")


def source_budget(most_bytes: int) -> int:
    """Say how large the JSON answer may be that a document of ``most_bytes`` is made from.

    It has what a document has not (checksums, the whole tree, escapes) and fewer, longer files.
    """
    return min(max(4 * most_bytes, _LEAST_SOURCE), request.MOST_BYTES)


def markdown(answer: Assembled, git: GitFacts | None, task: str, most_bytes: int) -> Assembled:
    """Make the document of an answer; its ``head`` is all of it.

    :param git: what the answer's git section was made of, since that has hardly a diff when it is short.
    :param most_bytes: the most that it may take, at least `LEAST_BYTES`.
    """
    found = msgspec.json.decode(answer.head + ending(0, False), type=Answer)
    page = Page(most_bytes)
    page.add(_title(found))
    page.section("Task", [fenced(first_lines(redact(plain_text(task))[0], page.left // 4), "text")] if task else [], 2)
    page.section("Project", _project(found), 10)
    if git is not None:
        _add_git(page, git)
    page.section("Earlier agents", [line for one in found.context.previous_agent_outputs for line in _output(one)], 5)
    reserve = min(max(page.left // 12, 200), 4096, page.left // 2)
    page.left -= reserve
    files = _Files(page)
    files.take(found.context.relevant_files)
    page.left += reserve
    out = [_left_out(one) for one in (*files.dropped, *found.omitted)]
    page.section(f"Left out: {len(files.dropped) + found.omitted_count} files", out, 1)
    return Assembled("".join(page.parts).encode(), answer.truncated or page.cut, files.count)


@define(eq=False)
class _Files:
    """Takes files, best first, while the page has room."""

    _page: Page
    count: int = field(default=0, init=False)
    dropped: list[LeftOut] = field(factory=list, init=False)

    def take(self, files: Sequence[msgspec.Raw]) -> None:
        has_heading = bool(files) and self._page.add("\n## Files\n")
        for raw in files:
            file = msgspec.json.decode(raw, type=File)
            if not (has_heading and self._put(file)):
                self.dropped.append(LeftOut(file.path, file.size, OUT_OF_BUDGET))
        self._page.cut = self._page.cut or bool(self.dropped)

    def _put(self, file: File) -> bool:
        """Add a file: whole if it takes no more than a quarter of the room, or if that is little."""
        if self._page.left < 2 * _LEAST_CONTENT:
            return False
        content = plain_text(file.content)
        room = min(max(self._page.left // 4, 2_000), self._page.left)
        block = _file(file, content, file.truncated)
        if byte_size(block) > room:
            frame = byte_size(_file(file, "", True)) + 2 * len(fence_of(content))
            if room - frame < _LEAST_CONTENT:
                return False
            content = first_lines(content, room - frame)
            block = _file(file, content, True)
            self._page.cut = True
        is_in = self._page.add(block)
        self.count += is_in
        return is_in


def _title(answer: Answer) -> str:
    redactions = answer.context.metadata.get("redactions")
    marks = " `[REDACTED:<rule>]` stands where a secret was." if redactions else ""
    heading = f"# Context of {answer.agent_type} on {answer.issue_id}\n"
    return f"{heading}\nThe project as it is now, best files first.{marks}\n"


def _project(answer: Answer) -> list[str]:
    structure, metadata = answer.context.project_structure, answer.context.metadata
    name = structure.root.rstrip("/").rpartition("/")[2] or structure.root
    lines = [f"- {inline_code(name)}: {structure.total_files} files, {structure.total_size_bytes} bytes\n"]
    for title, value in (("Kind", metadata.get("project_type")), ("Tests", metadata.get("test_command"))):
        if isinstance(value, str):
            lines.append(f"- {title}: {inline_code(value)}\n")
    languages = metadata.get("languages")
    if isinstance(languages, dict) and languages:
        lines.append(f"- Languages: {', '.join(f'{one_line(str(key))} ({n})' for key, n in languages.items())}\n")
    names = [str(one["name"]) for one in _dicts(metadata.get("dependencies")) if "name" in one]
    if names:
        more = ", …" if len(names) > _MOST_DEPENDENCIES else ""
        lines.append(f"- Depends on: {', '.join(map(inline_code, names[:_MOST_DEPENDENCIES]))}{more}\n")
    directories = [path for path in structure.directories if path.count("/") <= 1]
    return [*lines, *(f"- {inline_code(path + '/')}\n" for path in directories)]


def _add_git(page: Page, git: GitFacts) -> None:
    place = f"Branch {inline_code(git.branch)}" if git.branch else "No branch"
    head = f", at {inline_code(git.head[:10])}" if git.head else ""
    page.section("Git", [f"{place}{head}.\n"], 2)
    page.section("Uncommitted changes", [_change(one) for one in git.changes], 8)
    most = max(page.left // 20, min(1_000, page.left // 5 - 120))
    page.section("Diffs", [_diff(one.diff, most) for one in git.changes if one.diff], 5)
    page.section("Recent commits", [_commit(one) for one in git.commits[:SHOWN_COMMITS]], 12)


def _change(change: Change) -> str:
    return f"- {inline_code(shown(change.path))}: {one_line(change.status)}\n"


def _diff(diff: str, most_bytes: int) -> str:
    head = first_lines(plain_text(diff), most_bytes)
    return fenced(head, "diff") + ("(The rest of this diff is left out.)\n" if len(head) < len(diff) else "")


def _commit(commit: Commit) -> str:
    first = commit.message.strip().split("\n", 1)[0]
    return f"- {inline_code(commit.hash[:10])} {one_line(first)} ({one_line(commit.author)}, {commit.timestamp[:10]})\n"


def _output(output: Output) -> list[str]:
    who, status = f"{inline_code(output.agent)} ({one_line(output.agent_type)})", one_line(output.status)
    lines = [f"- {who}: {status}, {output.timestamp}\n"]
    for decision in output.decisions:
        text = decision if isinstance(decision, str) else msgspec.json.encode(decision).decode()
        lines.append(f"  - {one_line(plain_text(text))}\n")
    if output.files_affected:
        lines.append(f"  - files: {', '.join(map(inline_code, output.files_affected))}\n")
    return lines


def _file(file: File, content: str, cut: bool) -> str:
    language = file.language or "text"
    info = language if _LANGUAGE.fullmatch(language) and language != "unknown" else "text"
    shortened = ", shortened" if cut else ""
    about = f"{one_line(language)}, {file.size} bytes{shortened}: {one_line(file.reason)}"
    return f"\n### {inline_code(file.path)}\n\n{about}\n\n" + fenced(content, info)


def _left_out(one: LeftOut) -> str:
    return f"- {inline_code(one.path)} ({one.size} bytes): {one_line(one.why)}\n"


def _dicts(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
