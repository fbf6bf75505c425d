"""What a value of the settings must look like: each check gives what `Settings` holds, or says what would be right."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from cco_sidecar.core.identifiers import is_identifier, nearest
from cco_sidecar.core.webhooks.addresses import is_host_name, network_of

_MOST = 2**53  # the largest whole number that every JSON reader keeps exact


class SettingsError(Exception):
    """A setting is wrong; the text is one line that names the option as it was given and says what would be right."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(part if part.isprintable() else " " for part in message))


def shown(value: object) -> str:
    """Give ``value`` as a short piece of one line for a message."""
    text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


@frozen
class Given:
    """A value as somebody gave it.

    ``origin`` is for `Settings.origin`; ``named`` is how its giver would find it again (``--port``,
    ``/path/config.json: sidecar.port``); relative paths start at ``base``; ``user_home`` is what ``~`` means;
    ``is_text`` says that it came from a flag or the environment, where a number is a text.
    """

    value: Any
    origin: str
    named: str
    base: Path
    user_home: Path
    is_text: bool = False

    def wrong(self, right: str) -> SettingsError:
        """Make the refusal: ``right`` says what it must be."""
        return SettingsError(f"{self.named} must be {right}, not {shown(self.value)}.")

    def part(self, key: str, value: object) -> "Given":
        """Give the value below ``key``."""
        named = f"{self.named}.{key}"
        return Given(value, self.origin, named, self.base, self.user_home, self.is_text)


Check = Callable[[Given], Any]
"""Turns a given value into what `Settings` holds, or raises `SettingsError`."""


def whole(low: int, high: int = _MOST) -> Check:
    """Check for a whole number from ``low`` to ``high``."""
    right = f"a whole number, {low} or more" if high == _MOST else f"a whole number from {low} to {high}"

    def check(given: Given) -> int:
        value = given.value
        if given.is_text and isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,17}\s*", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise given.wrong(right)
        return value

    return check


def one_of(*words: str) -> Check:
    """Check for one of ``words``."""

    def check(given: Given) -> str:
        if not isinstance(given.value, str) or given.value.lower() not in words:
            raise given.wrong(f"one of {', '.join(words)}")
        return given.value.lower()

    return check


def truth(given: Given) -> bool:
    """Check for true or false."""
    if not isinstance(given.value, bool):
        raise given.wrong("true or false")
    return given.value


def host(given: Given) -> str:
    """Check for a host name or an address; brackets around an IPv6 address are taken off."""
    text = given.value
    if isinstance(text, str) and text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", text):
        raise given.wrong('a host name or an address, like "127.0.0.1"')
    return text


def network_or_host(given: Given) -> str:
    """Check for an address, a network in CIDR form, or a host name."""
    if not isinstance(given.value, str) or not (network_of(given.value) or is_host_name(given.value)):
        raise given.wrong('a network, an address or a host name, like "10.1.0.0/16", "127.0.0.1" or "ci.example.org"')
    return given.value


def origin_of_pages(given: Given) -> str:
    """Check for the origin of web pages."""
    if not isinstance(given.value, str) or not re.fullmatch(r"https?://[A-Za-z0-9_.:\[\]-]{1,253}", given.value):
        raise given.wrong('an origin, like "https://example.org", without a path')
    return given.value


def list_of(item: Check, right: str) -> Check:
    """Check for a list of which ``item`` checks each."""

    def check(given: Given) -> Sequence[Any]:
        if not isinstance(given.value, list | tuple):
            raise given.wrong(right)
        return tuple(item(given.part(str(index), value)) for index, value in enumerate(given.value))

    return check


def path(given: Given) -> Path:
    """Check for a path and make it absolute, with ``~`` expanded; a link at its end is left to be seen."""
    text = given.value
    if not isinstance(text, str | os.PathLike) or not str(text).strip() or "\0" in str(text):
        raise given.wrong("a path")
    found = Path(text)
    if found.parts[:1] == ("~",):
        found = given.user_home.joinpath(*found.parts[1:])
    found = given.base / found
    try:
        return found.parent.resolve() / found.name if found.name not in {"", ".."} else found.resolve()
    except (OSError, RuntimeError) as error:
        raise given.wrong(f"a path that can be followed ({error})") from None


def holds(question: Callable[[], bool]) -> bool:
    """Ask a path; a name that is too long, or that lies where one may not look, is not there."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def directory(given: Given) -> Path:
    """Check for a directory that is there."""
    found = path(given)
    if not holds(found.is_dir):
        raise given.wrong("a directory that exists")
    return found.resolve()


def optional_file(given: Given) -> Path | None:
    """Check for a file that is there, or None."""
    if given.value is None:
        return None
    found = path(given)
    if not holds(found.is_file):
        raise given.wrong("a file that exists")
    return found


def known_keys(given: Given, known: Iterable[str]) -> Mapping[str, Any]:
    """Check for an object that has none but the known keys."""
    if not isinstance(given.value, dict):
        raise given.wrong("an object")
    allowed = list(known)
    for key in given.value:
        if key not in allowed:
            near = nearest(key[:128], allowed)
            hint = f"did you mean {near}?" if near else f"known are {', '.join(allowed)}."
            raise SettingsError(f"{given.named} has the unknown key {shown(key)}; {hint}")
    return given.value


@frozen
class Bucket:
    """A token bucket: refilled at ``per_minute``, holding at most ``burst`` requests."""

    per_minute: int
    burst: int


@frozen
class Runner:
    """How the processes of agents are made: an argument list (no shell) and names added to their environment."""

    command: Sequence[str]
    env: Mapping[str, str]
    first_request_seconds: int | None = None
    """Until an agent's first request, 0 for ever; None as `AgentSettings` has it."""
    output: str = "text"
    """``stream-json`` is Claude Code's, which says what the work took and what came of it."""
    resume: Sequence[str] | None = None
    """The argument list that goes on with a conversation; None where none can."""


@frozen
class ResourceLimits:
    """What each process of an agent may use; None is as much as there is."""

    open_files: int | None = 4096
    memory_mb: int | None = None
    processes: int | None = None
    file_size_mb: int | None = None
    core_mb: int | None = 0


_BUSY = ("coding", "integration", "development", "data", "infrastructure", "security", "aiMl", "mcp")
_QUIET = ("documentation", "research", "business", "support")
DEFAULT_BUCKETS: Mapping[str, Bucket] = {name: Bucket(300, 60) for name in _BUSY} | {
    name: Bucket(120, 30) for name in _QUIET
}
"""The limits of contract section 3; a category that is not in it (``architect``) has none."""


def buckets(given: Given) -> Mapping[str, Bucket]:
    """Check for limits by category; they are laid over `DEFAULT_BUCKETS`."""
    found = dict(DEFAULT_BUCKETS)
    if not isinstance(given.value, dict):
        raise given.wrong("an object of categories")
    for name, value in given.value.items():
        part = given.part(name, value)
        if not is_identifier(name):
            raise SettingsError(f"{given.named} has {shown(name)}, which cannot be the name of a category.")
        fields = known_keys(part, ("per_minute", "burst"))
        before = found.get(name)
        if before is None and len(fields) < 2:
            raise part.wrong('both "per_minute" and "burst" for a category that has no limits of its own')
        usual = {"per_minute": before.per_minute, "burst": before.burst} if before else {}
        found[name] = Bucket(**{key: whole(1)(part.part(key, it)) for key, it in {**usual, **fields}.items()})
    return found


def _word(given: Given) -> str:
    if not isinstance(given.value, str) or "\0" in given.value:
        raise given.wrong("a text")
    return given.value


def _environment(given: Given) -> Mapping[str, str]:
    if not isinstance(given.value, dict):
        raise given.wrong("an object of names and texts")
    for name in given.value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SettingsError(f"{given.named} has {shown(name)}, which cannot be the name of a variable.")
    return {name: _word(given.part(name, value)) for name, value in given.value.items()}


def resource_limits(given: Given) -> ResourceLimits:
    """Check for limits of agents' processes; null takes one away."""
    least = {"open_files": 16, "memory_mb": 16, "processes": 1, "file_size_mb": 1, "core_mb": 0}
    fields = known_keys(given, least)
    found = {
        name: None if value is None else whole(least[name], 2**40)(given.part(name, value))
        for name, value in fields.items()
    }
    return ResourceLimits(**found)


def runners(given: Given) -> Mapping[str, Runner]:
    """Check for runners by name; whether their programs are there is not looked at."""
    if not isinstance(given.value, dict):
        raise given.wrong("an object of runners")
    found = {}
    for name, value in given.value.items():
        if not is_identifier(name):
            raise SettingsError(f"{given.named} has {shown(name)}, which cannot be the name of a runner.")
        part = given.part(name, value)
        fields = known_keys(part, ("command", "env", "first_request_seconds", "output", "resume"))
        named_command = part.part("command", fields.get("command"))
        command = list_of(_word, "a list: the program and its arguments")(named_command)
        if not command or not command[0]:
            raise named_command.wrong("a list: the program and its arguments")
        patience = fields.get("first_request_seconds")
        if patience is not None:
            patience = whole(0)(part.part("first_request_seconds", patience))
        output = one_of("text", "stream-json")(part.part("output", fields.get("output", "text")))
        resume = fields.get("resume")
        if resume is not None:
            resume = list_of(_word, "a list: the program and its arguments")(part.part("resume", resume))
        environment = _environment(part.part("env", fields.get("env", {})))
        found[name] = Runner(command, environment, patience, output, resume)
    return found
