"""What `cco init` would change in a repository; all of it is known before anything is written."""

import difflib
from collections.abc import Callable, Iterator, Mapping

from attrs import frozen

from cco_sidecar.repository import blocks, settings, texts
from cco_sidecar.repository.files import NotOurs, Repository
from cco_sidecar.repository.jsontext import NotJson
from cco_sidecar.repository.settings import Reach

SERVERS = ".mcp.json"
SETTINGS = ".claude/settings.json"
SKILL = ".claude/skills/cco/SKILL.md"
AGENTS = ".claude/agents"
GUIDE = "CLAUDE.md"
IGNORES = ".gitignore"

AgentFiles = Callable[[str], str | None]
"""Gives the text of an agent type's file; None when there is no such type."""


@frozen
class Change:
    """A file as it is and as it would be; None: it is not there.

    :param kept: it is the person's own by that name, and stays as it is.
    """

    name: str
    before: str | None
    after: str | None
    kept: bool = False

    @property
    def is_due(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """Give it as a unified diff."""
        before, after = (self.before or "").splitlines(True), (self.after or "").splitlines(True)
        names = (
            "/dev/null" if self.before is None else f"a/{self.name}",
            "/dev/null" if self.after is None else f"b/{self.name}",
        )
        lines = difflib.unified_diff(before, after, *names)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def plan(repository: Repository, reach: Reach, picked: Mapping[str, str], agent_file: AgentFiles) -> list[Change]:
    """Say what it takes to have all there that is ours.

    :param picked: the texts of the agents that were asked for, by type; those written before are kept up to date.
    :raises NotOurs: a file can't be read, or is not what it should be; nothing should be written then.
    """
    return [
        _edited(repository, SERVERS, lambda text: settings.put_server(text, reach)),
        _edited(repository, SETTINGS, lambda text: settings.put_settings(text, reach)),
        _whole(repository, SKILL, texts.SKILL),
        *_agents(repository, picked, agent_file),
        _edited(repository, GUIDE, lambda text: blocks.MARKDOWN.put(text, texts.GUIDE)),
        _edited(repository, IGNORES, lambda text: blocks.HASH.put(text, texts.IGNORED)),
    ]


def plan_removal(repository: Repository) -> list[Change]:
    """Say what it takes to have nothing there that is ours.

    :raises NotOurs: as for `plan`.
    """
    names = [SKILL, *repository.names(AGENTS, ".md")]
    return [
        _edited(repository, SERVERS, settings.drop_server),
        _edited(repository, SETTINGS, settings.drop_settings),
        *(Change(name, repository.read(name), None) for name in names if _is_file_of_ours(repository, name)),
        _edited(repository, GUIDE, blocks.MARKDOWN.drop),
        _edited(repository, IGNORES, blocks.HASH.drop),
    ]


def carry_out(repository: Repository, changes: list[Change]) -> None:
    """Write what is due.

    :raises NotOurs: a file can't be written; those before it are.
    """
    for change in changes:
        if not change.is_due:
            continue
        if change.after is None:
            repository.remove(change.name)
        else:
            repository.write(change.name, change.after)


def url_before(repository: Repository) -> str | None:
    """Give the sidecar's URL that the repository has already; None when it has none.

    :raises NotOurs: the file can't be read.
    """
    text = repository.read(SERVERS)
    return None if text is None else settings.url_in(text)


def denies_before(repository: Repository) -> bool:
    """Say whether the repository's hooks deny an edit that the sidecar can't be asked about.

    :raises NotOurs: the file can't be read.
    """
    return settings.denies_in(repository.read(SETTINGS) or "{}")


def _agents(repository: Repository, picked: Mapping[str, str], agent_file: AgentFiles) -> Iterator[Change]:
    wanted = {f"{AGENTS}/{agent_type}.md": text for agent_type, text in picked.items()}
    for name in repository.names(AGENTS, ".md"):
        if name not in wanted and _is_file_of_ours(repository, name):
            text = agent_file(name.rpartition("/")[2].removesuffix(".md"))
            if text is not None:
                wanted[name] = text
    for name in sorted(wanted):
        yield _whole(repository, name, wanted[name])


def _edited(repository: Repository, name: str, edit: Callable[[str], str]) -> Change:
    """Change part of a file; one that would hold nothing any more goes. Line ends stay as they are."""
    before = repository.read(name)
    text = before or ""
    has_returns = "\r\n" in text and text.count("\n") == text.count("\r\n")
    if has_returns:
        text = text.replace("\r\n", "\n")
    try:
        after = edit(text)
    except NotJson as error:
        raise NotOurs(f"{name} is no JSON that could be added to: {error}.") from None
    if after == text:
        return Change(name, before, before)
    if has_returns:
        after = after.replace("\n", "\r\n")
    return Change(name, before, after or None)


def _whole(repository: Repository, name: str, text: str) -> Change:
    """Change a file that is ours alone, unless a person has one by that name."""
    before = repository.read(name)
    if before is not None and not _is_ours(before):
        return Change(name, before, before, kept=True)
    return Change(name, before, text)


def _is_file_of_ours(repository: Repository, name: str) -> bool:
    """Say whether init wrote a file; what can't be read is somebody else's."""
    try:
        return _is_ours(repository.read(name))
    except NotOurs:
        return False


def _is_ours(text: str | None) -> bool:
    return text is not None and texts.MARK in text
