"""Runners: which program an agent type's work is done by, and the whole environment it gets (contract section 8)."""

import difflib
import re
from collections.abc import Collection, Mapping
from importlib import resources
from typing import Literal

import msgspec
from attrs import field, frozen

from cco_sidecar.errors import InvalidBody

DEFAULT_RUNNER = "claude"
MOST_TASK_BYTES = 64 * 1024
"""Linux takes at most 128 KiB for one argument or variable."""
MOST_NAMES = 64
MOST_VALUE_BYTES = 8 * 1024
PLACEHOLDERS = frozenset({"task", "python", "agent_id", "agent_type", "issue_id", "project_id", "project_root"})
PLACEHOLDERS |= {"model", "mcp_config", "settings_file"}
RESUME_PLACEHOLDERS = PLACEHOLDERS | {"session_id"}

Output = Literal["text", "stream-json"]

_CUT = "\n[cut here: a task has at most 64 KiB]"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}|\{([A-Za-z_]\w*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "TERM", *_CERTIFICATES)
_OWN = frozenset(
    [
        "AGENT_ID",
        "AGENT_TYPE",
        "ISSUE_ID",
        "PROJECT_ID",
        "PROJECT_ROOT",
        "TASK",
        "SIDECAR_URL",
        "JWT_TOKEN",
        "JWT_TOKEN_FILE",
        "CONTEXT_FILE",
        "CCO_HOOK_KEY",
    ]
)
# What makes a loader, an interpreter or git run other code than the runner names.
_REFUSED = frozenset(
    [
        "NODE_OPTIONS",
        "NODE_PATH",
        "NODE_REPL_EXTERNAL_MODULE",
        "NODE_TLS_REJECT_UNAUTHORIZED",
        "PERLLIB",
        "BASH_ENV",
        "ENV",
        "IFS",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "ZDOTDIR",
        "SHELL",
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "LOCPATH",
        "HOSTALIASES",
        "LOGNAME",
        "USER",
    ]
)
_REFUSED_BEGINNINGS = ("LD_", "DYLD_", "PYTHON", "PERL5", "RUBY", "GEM_", "BUNDLE_", "GIT_", "CCO_", "MALLOC_")


class _RunnerText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: list[str]
    env: dict[str, str] = {}
    first_request_seconds: int | None = None
    output: Output = "text"
    resume: list[str] = []


@frozen
class Runner:
    """A program that agents run as.

    :param command: arguments, with placeholders such as ``{task}``; ``{{task}}`` is ``{task}`` itself.
    :param first_request_seconds: until its agent's first request, 0 for ever; None as the settings have it.
    :param output: ``stream-json`` is Claude Code's: it says what the work took, and what came of it.
    :param resume: the command that goes on with a conversation, with ``{session_id}``; empty if none can.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(factory=dict)
    first_request_seconds: int | None = None
    output: Output = "text"
    resume: tuple[str, ...] = ()

    def wants(self, placeholder: str) -> bool:
        """Say whether a command names a placeholder."""
        arguments = (*self.command, *self.resume)
        return any(found[2] == placeholder for argument in arguments for found in _PLACEHOLDER.finditer(argument))

    def expand(self, values: Mapping[str, str]) -> list[str]:
        """Fill in the placeholders, each argument by itself and without a shell.

        :param values: one for each of `PLACEHOLDERS`, and ``session_id`` to go on with that conversation.
        """
        goes_on = self.resume and values.get("session_id")
        return [_expand(argument, values) for argument in (self.resume if goes_on else self.command)]


def _expand(argument: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[2] is None:
            return f"{{{found[1]}}}"
        text = bounded_task(values["task"]) if found[2] == "task" else values[found[2]]
        # A task that begins with a dash must not be taken for an option of the program.
        return f" {text}" if found.start() == 0 and text.startswith("-") else text

    return _PLACEHOLDER.sub(value, argument)


def packaged_runners() -> dict[str, Runner]:
    """Read the runners that come with the sidecar."""
    text = resources.files("cco_sidecar.data").joinpath("runners.json").read_bytes()
    return parse_runners(msgspec.json.decode(text, type=dict[str, object]))


def parse_runners(configured: Mapping[str, object]) -> dict[str, Runner]:
    """Check runners as the configuration has them: ``{NAME: {"command": [...], "env": {...}}}``.

    :raises ValueError: one is wrong; the message names it and says what would be right.
    """
    return {name: _parse_runner(name, body) for name, body in configured.items()}


def _parse_runner(name: str, body: object) -> Runner:
    try:
        text = msgspec.convert(body, _RunnerText)
    except msgspec.ValidationError as error:
        raise ValueError(f"runner {name!r}: {error}") from error
    if not text.command or not text.command[0]:
        raise ValueError(f"runner {name!r}: command must be a list that begins with a program")
    if text.resume and not text.resume[0]:
        raise ValueError(f"runner {name!r}: resume must be a list that begins with a program")
    for argument in text.command:
        _check_placeholders(name, argument, PLACEHOLDERS)
    for argument in text.resume:
        _check_placeholders(name, argument, RESUME_PLACEHOLDERS)
    if text.resume and (text.output != "stream-json" or not any("{session_id}" in each for each in text.resume)):
        raise ValueError(f'runner {name!r}: resume must have {{session_id}}, and output "stream-json" that tells it')
    for variable, value in text.env.items():
        if _NAME.fullmatch(variable) is None or "\0" in value:
            raise ValueError(f"runner {name!r}: env has {variable!r}, which can't be an environment variable")
        if variable in _OWN:
            raise ValueError(f"runner {name!r}: env has {variable}, which the sidecar sets itself")
    return Runner(
        name, tuple(text.command), dict(text.env), text.first_request_seconds, text.output, tuple(text.resume)
    )


def _check_placeholders(name: str, argument: str, known: Collection[str]) -> None:
    if "\0" in argument:
        raise ValueError(f"runner {name!r}: a NUL in its command")
    for found in _PLACEHOLDER.finditer(argument):
        if found[2] is None or found[2] in known:
            continue
        near = difflib.get_close_matches(found[2], known, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"runner {name!r}: there is no placeholder {found[0]}; did you mean {{{near}}}? "
            f"(write {{{found[0]}}} for the text itself)"
        )


def bounded_task(task: str) -> str:
    """Cut a task to what an argument and a variable can hold, and say so in it."""
    text = task.replace("\0", "").encode("utf-8", "replace")
    if len(text) <= MOST_TASK_BYTES:
        return text.decode()
    return text[: MOST_TASK_BYTES - len(_CUT)].decode("utf-8", "ignore") + _CUT


def agent_environment(
    base: Mapping[str, str],
    *,
    agent_id: str,
    agent_type: str,
    issue_id: str,
    project_id: str,
    project_root: str,
    task: str,
    sidecar_url: str,
    token: str,
    token_file: str,
    context_file: str,
    hook_key: str | None,
    runner_env: Mapping[str, str],
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Make the whole environment of an agent.

    :param base: the sidecar's own; only the contract's few names are taken from it.
    :param sidecar_url: ends in ``/api``.
    :param hook_key: for a program that has hooks; None for any other.
    :param extra: what the spawn asked for, checked by `check_extra`.
    """
    inherited = {name: base[name] for name in _INHERITED if name in base}
    own = {
        "AGENT_ID": agent_id,
        "AGENT_TYPE": agent_type,
        "ISSUE_ID": issue_id,
        "PROJECT_ID": project_id,
        "PROJECT_ROOT": project_root,
        "TASK": bounded_task(task),
        "SIDECAR_URL": sidecar_url,
        "JWT_TOKEN": token,
        "JWT_TOKEN_FILE": token_file,
        "CONTEXT_FILE": context_file,
    }
    if hook_key is not None:
        own["CCO_HOOK_KEY"] = hook_key
    return {**inherited, **runner_env, **extra, **own}


def check_extra(environment: Mapping[str, str]) -> None:
    """Check the ``environment`` of a spawn.

    :raises InvalidBody: a name or value that is not taken; ``details["path"]`` has the name.
    """
    if len(environment) > MOST_NAMES:
        raise InvalidBody(f"environment has more than {MOST_NAMES} names.", path="$.environment")
    for name, value in environment.items():
        why = _why_not(name, value)
        if why is not None:
            raise InvalidBody(f"environment: {why}", path=f"$.environment.{name[:128]}")


def _why_not(name: str, value: str) -> str | None:
    if _NAME.fullmatch(name) is None or len(name) > 128:
        return "a name must be at most 128 letters, digits or '_' and not begin with a digit."
    if name in _OWN or name in _INHERITED:
        return f"{name} is set by the sidecar and can't be asked for."
    if name in _REFUSED or name.startswith(_REFUSED_BEGINNINGS):
        return f"{name} could make the agent run other code and can't be asked for."
    if "\0" in value:
        return f"the value of {name} holds a NUL."
    try:
        too_long = len(value.encode()) > MOST_VALUE_BYTES
    except UnicodeEncodeError:
        return f"the value of {name} is not valid Unicode."
    return f"the value of {name} has more than {MOST_VALUE_BYTES} bytes." if too_long else None
