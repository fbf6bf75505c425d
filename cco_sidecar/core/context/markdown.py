"""A context as a Markdown document, to be put into a prompt, within a budget of bytes.

Its files are chosen and cut as those of the JSON answer are, and all else is made from that answer; but in a short
document a file gets less, for there many short ones say more, too. For one answer and task it is the same to the byte.
"""

import re

import msgspec
from attrs import evolve

from cco_sidecar.core.context.answers import Answer, LeftOut, Output
from cco_sidecar.core.context.assembly import Assembled, assemble, ending
from cco_sidecar.core.context.budget import ONE_FILE
from cco_sidecar.core.context.filesection import FileSection, Shown
from cco_sidecar.core.context.fitting import shown
from cco_sidecar.core.context.gitsection import SHOWN_COMMITS
from cco_sidecar.core.context.languages import UNKNOWN, language_of
from cco_sidecar.core.context.page import Page, byte_size, fenced, first_lines, inline_code, one_line, plain_text
from cco_sidecar.core.context.project import Change, Commit, GitFacts, Project
from cco_sidecar.core.context.request import MOST_BYTES, ContextRequest
from cco_sidecar.core.context.selection import Pick, Selection
from cco_sidecar.core.context.tokens import BYTES_PER_TOKEN, LEAST_TOKENS
from cco_sidecar.core.secrets.redacting import redact

LEAST_BYTES = LEAST_TOKENS * BYTES_PER_TOKEN
_LEAST_SOURCE = 65_536
_LEAST_FILE = 1_536
_MARK = "[REDACTED:"
_MARKS = " `[REDACTED:<rule>]` stands where a secret was.\n"
_MOST_DEPENDENCIES = 30
_LANGUAGE = re.compile(r"[a-z0-9+#-]{1,32}")


def markdown(request: ContextRequest, project: Project, selection: Selection, files: FileSection) -> Assembled:
    """Make the document of at most ``request.budget_bytes``, at least `LEAST_BYTES`; its ``head`` is all of it."""
    source = evolve(request, budget_bytes=min(max(4 * request.budget_bytes, _LEAST_SOURCE), MOST_BYTES))
    answer = assemble(source, project, evolve(selection, picks=[]), files)
    found = msgspec.json.decode(answer.head + ending(0, False), type=Answer)
    page = Page(request.budget_bytes - byte_size(_MARKS))
    page.add(_title(found))
    task = first_lines(redact(plain_text(request.task))[0], page.left // 4)
    page.section("Task", [fenced(task, "text")] if task else [], 2)
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
    page.left += reserve + byte_size(_MARKS)
    if any(_MARK in part for part in page.parts):
        page.parts[0] = page.parts[0].removesuffix("\n") + _MARKS
        page.left -= byte_size(_MARKS)
    out = [LeftOut(shown(one.path), one.size, one.why) for one in files.omitted]
    title = f"Left out: {len(out) + found.omitted_count} files"
    page.section(title, [_left_out(one) for one in (*out, *found.omitted)], 1)
    cut = answer.truncated or files.cut or page.cut
    return Assembled("".join(page.parts).encode(), cut, count, files.is_whole)


def _title(answer: Answer) -> str:
    heading = f"# Context of {answer.agent_type} on {answer.issue_id}\n"
    return f"{heading}\nThe project as it is now, best files first.\n"


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
    who = f"{inline_code(output.agent)} ({one_line(output.agent_type)})"
    lines = [f"- {who}: {one_line(output.status)}, {output.timestamp}\n"]
    for decision in output.decisions:
        text = decision if isinstance(decision, str) else msgspec.json.encode(decision).decode()
        lines.append(f"  - {one_line(plain_text(text))}\n")
    if output.files_affected:
        lines.append(f"  - files: {', '.join(map(inline_code, output.files_affected))}\n")
    return lines


def _file(pick: Pick, _checksum: str, kept: Shown, is_cut: bool, _tokens: int) -> bytes:
    language = language_of(pick.file.path)
    info = language if _LANGUAGE.fullmatch(language) and language != UNKNOWN else "text"
    about = f"{language}, {pick.file.size} bytes{', shortened' if is_cut else ''}: {one_line(pick.reason)}"
    block = f"\n### {inline_code(shown(pick.file.path))}\n\n{about}\n\n{fenced(plain_text(kept.content), info)}"
    return block.encode()


def _left_out(one: LeftOut) -> str:
    return f"- {inline_code(one.path)} ({one.size} bytes): {one_line(one.why)}\n"


def _dicts(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
