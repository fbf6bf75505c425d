"""Claude Code's JSON files of a project: our server, our hooks, our permission, beside whatever else is there."""

import re
from collections.abc import Mapping
from itertools import pairwise

from attrs import frozen

from cco_sidecar.core.hooks.tools import ALL_OF_OURS, EDITS, SERVER
from cco_sidecar.repository import jsontext

_HOOK_SECONDS = 10
_DENYING = "pre-tool-use"
_DENIES = " --on-failure deny"
_OURS = re.compile(r"(?:^|[\s;&|/'\"])cco['\"]? hook ")


@frozen
class _Hook:
    event: str
    command: str
    matcher: str | None = None


_HOOKS = (
    _Hook("SessionStart", "session-start"),
    _Hook("UserPromptSubmit", "user-prompt-submit"),
    _Hook("PreToolUse", _DENYING, "|".join(EDITS)),
    _Hook("PostToolUse", "post-tool-use"),
    _Hook("PostToolUseFailure", "post-tool-use-failure"),
    _Hook("PreCompact", "pre-compact"),
    _Hook("Stop", "stop"),
    _Hook("SessionEnd", "session-end"),
)


@frozen
class Reach:
    """How Claude Code reaches the sidecar: the program `cco`, and the URL, written out, for hooks expand nothing.

    :param denies: whether an edit that the sidecar can't be asked about is denied.
    """

    program: str
    url: str
    denies: bool = False

    @property
    def server(self) -> dict[str, object]:
        """The MCP server's entry: over stdio, for `cco` finds the token, and no file of a repository may hold one.

        ``alwaysLoad``: the tools are there from the first turn on, and not to be searched for.
        """
        arguments = ["mcp", "--sidecar-url", self.url]
        return {"type": "stdio", "command": self.program, "args": arguments, "alwaysLoad": True}

    def hook(self, event: str) -> dict[str, object]:
        """Give a hook's entry. A spawned agent has hooks of its own, from its runner, and passes these by.

        Exit 2, which is also that of wrong usage, would block what the hook is about, a person's every prompt too: a
        hook says no in its answer, and whatever fails is 1, which Claude Code shows and passes over. Only where an edit
        is to be denied in doubt it is 2, so that it is denied, too, when there is no `cco`.
        """
        ask = f"{_shell(self.program)} hook {event} --sidecar-url {self.url}"
        end = f"{_DENIES} || exit 2" if self.denies and event == _DENYING else " || exit 1"
        command = f'[ -n "$AGENT_ID" ] || {ask}{end}'
        return {"type": "command", "command": command, "timeout": _HOOK_SECONDS}


def _shell(word: str) -> str:
    return word if re.fullmatch(r"[\w./+-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def url_in(text: str) -> str | None:
    """Give the URL that our server's entry has; None when there is none."""
    try:
        node = jsontext.get(text, ["mcpServers", SERVER, "args"])
    except jsontext.NotJson:
        return None
    arguments = node.value if node is not None and isinstance(node.value, list) else []
    after = [second for first, second in pairwise(arguments) if first == "--sidecar-url"]
    return str(after[0]) if after else None


def denies_in(text: str) -> bool:
    """Say whether our hooks deny an edit that the sidecar can't be asked about."""
    try:
        found = _find_hook(text, "PreToolUse")
        node = None if found is None else jsontext.get(text, [*found, "command"])
    except jsontext.NotJson:
        return False
    return node is not None and _DENIES in str(node.value)


def put_server(text: str, reach: Reach) -> str:
    """Give ``.mcp.json`` with our server."""
    return jsontext.put(text, ["mcpServers", SERVER], reach.server)


def drop_server(text: str) -> str:
    """Give ``.mcp.json`` without our server; empty when nothing else was in it."""
    return jsontext.drop(text, ["mcpServers", SERVER])


def put_settings(text: str, reach: Reach) -> str:
    """Give ``.claude/settings.json`` with our hooks and permission."""
    text = _with_item(text, ["enabledMcpjsonServers"], SERVER)
    text = _with_item(text, ["permissions", "allow"], ALL_OF_OURS)
    for hook in _HOOKS:
        text = _put_hook(text, hook, reach.hook(hook.command))
    return text


def drop_settings(text: str) -> str:
    """Give ``.claude/settings.json`` without what is ours; empty when nothing else was in it."""
    text = _without_item(text, ["enabledMcpjsonServers"], SERVER)
    text = _without_item(text, ["permissions", "allow"], ALL_OF_OURS)
    root = jsontext.get(text, ["hooks"])
    for event in [member.key for member in root.members] if root else []:
        while (found := _find_hook(text, str(event))) is not None:
            text = jsontext.drop(text, found)
            if _is_left_bare(text, found[:3]):
                text = jsontext.drop(text, found[:3])
    return text


def _with_item(text: str, path: list[str], item: str) -> str:
    node = jsontext.get(text, path)
    if node is not None and isinstance(node.value, list) and item in node.value:
        return text
    return jsontext.append(text, path, item)


def _without_item(text: str, path: list[str], item: str) -> str:
    node = jsontext.get(text, path)
    if node is None or not isinstance(node.value, list) or item not in node.value:
        return text
    return jsontext.drop(text, [*path, node.value.index(item)])


def _put_hook(text: str, hook: _Hook, entry: Mapping[str, object]) -> str:
    found = _find_hook(text, hook.event)
    if found is not None:
        return jsontext.put(text, found, dict(entry))
    group: dict[str, object] = {} if hook.matcher is None else {"matcher": hook.matcher}
    return jsontext.append(text, ["hooks", hook.event], {**group, "hooks": [dict(entry)]})


def _find_hook(text: str, event: str) -> list[str | int] | None:
    """Find our hook of an event, in whatever group it stands."""
    node = jsontext.get(text, ["hooks", event])
    for group in node.members if node else ():
        inner = group.node.child("hooks")
        for one in inner.node.members if inner else ():
            command = one.node.child("command")
            if command is not None and _OURS.search(str(command.node.value)):
                return ["hooks", event, group.key, "hooks", one.key]
    return None


def _is_left_bare(text: str, group: list[str | int]) -> bool:
    """Say whether a group of hooks has nothing left but its matcher."""
    node = jsontext.get(text, group)
    return node is not None and isinstance(node.value, dict) and set(node.value) == {"matcher"}
