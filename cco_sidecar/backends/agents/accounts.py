"""Names for the accounts that agents of Claude Code work for: they tell accounts apart, and nothing else about them."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from attrs import define

from cco_sidecar.backends.agents.runners import Runner
from cco_sidecar.backends.private import read_private, write_private

KEY_BYTES = 32
_LABEL_DIGITS = 10
_ENDPOINT = ("ANTHROPIC_BASE_URL",)
_CLOUDS = {
    "bedrock": (
        "CLAUDE_CODE_USE_BEDROCK",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_BEARER_TOKEN_BEDROCK",
    ),
    "vertex": ("CLAUDE_CODE_USE_VERTEX", "ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"),
}
_KEYS = {"token": "ANTHROPIC_AUTH_TOKEN", "key": "ANTHROPIC_API_KEY", "oauth": "CLAUDE_CODE_OAUTH_TOKEN"}
"""In the order in which Claude Code takes them."""


@define(eq=False)
class AccountNames:
    """Gives each account a name, from the environment that an agent will have.

    The name has a digest under a key of this sidecar's home: of a password that could be guessed nothing is told.

    :param base: the sidecar's own environment, of which an agent inherits ``HOME``.
    :param path: of the private file that has the key.
    """

    _runners: Mapping[str, Runner]
    _base: Mapping[str, str]
    _path: Path
    _key: bytes = b""

    def open(self) -> None:
        """Read the key, or make it; blocks for a moment."""
        self._key = read_private(self._path) or b""
        if len(self._key) != KEY_BYTES:
            self._key = secrets.token_bytes(KEY_BYTES)
            write_private(self._path, self._key)

    def of(self, runner_name: str, extra: Mapping[str, str]) -> str:
        """Name the account of an agent; empty where its program does not say when the account is of no use.

        :param extra: what the spawn adds to the environment.
        """
        runner = self._runners.get(runner_name)
        if runner is None or runner.output != "stream-json":
            return ""
        inherited = {name: self._base[name] for name in ("HOME",) if name in self._base}
        kind, parts = _identity({**inherited, **runner.env, **extra})
        text = "\0".join([kind, *parts]).encode("utf-8", "surrogateescape")
        return f"{kind}-{hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_LABEL_DIGITS]}"


def _identity(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Say what kind of account it is, and what tells it from others of the kind."""
    for kind, names in _CLOUDS.items():
        if environment.get(names[0]):
            return kind, [environment.get(name, "") for name in names]
    endpoint = [environment.get(name, "") for name in _ENDPOINT]
    for kind, name in _KEYS.items():
        if environment.get(name):
            return kind, [environment[name], *endpoint]
    # Logged in by a person: that is kept in a directory.
    directory = environment.get("CLAUDE_CONFIG_DIR") or environment.get("HOME", "")
    return "login", [directory, *endpoint]
