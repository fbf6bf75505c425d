"""The names of accounts: the same for the same account, another for another, and no way back to a secret."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from cco_sidecar.backends.agents.accounts import AccountNames
from cco_sidecar.backends.agents.runners import Runner

RUNNERS = {
    "claude": Runner("claude", ("claude",), output="stream-json"),
    "other": Runner("other", ("claude",), {"ANTHROPIC_API_KEY": "sk-other"}, output="stream-json"),
    "demo": Runner("demo", ("demo",)),
}


def names(home: Path) -> AccountNames:
    made = AccountNames(RUNNERS, {"HOME": "/home/ann", "ANTHROPIC_API_KEY": "not-inherited"}, home / "key")
    made.open()
    return made


def test_same_account(tmp_path: Path) -> None:
    """Also after a restart, and whichever runner brings the key."""
    first = names(tmp_path).of("claude", {"ANTHROPIC_API_KEY": "sk-other", "OTHER": "1"})
    assert names(tmp_path).of("other", {}) == first
    assert first.startswith("key-")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({}, "login"),
        ({"HOME": "/home/bob"}, "login"),
        ({"CLAUDE_CONFIG_DIR": "/etc/claude"}, "login"),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}, "login"),
        ({"ANTHROPIC_API_KEY": "sk-1"}, "key"),
        ({"ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}, "key"),
        ({"ANTHROPIC_API_KEY": "sk-1", "ANTHROPIC_AUTH_TOKEN": "t"}, "token"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "t"}, "oauth"),
        ({"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_PROFILE": "a"}, "bedrock"),
    ],
)
def test_other_accounts(tmp_path: Path, extra: Mapping[str, str], kind: str) -> None:
    """Each of these is an account of its own, said by its kind; the name tells nothing else."""
    made = names(tmp_path)
    name = made.of("claude", extra)
    assert name.startswith(f"{kind}-")
    assert not any(value in name for value in extra.values() if len(value) > 1)
    others = [{}, {"ANTHROPIC_API_KEY": "sk-2"}, {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_PROFILE": "b"}]
    assert name not in {made.of("claude", other) for other in others if other != extra}


def test_key_of_the_home(tmp_path: Path) -> None:
    """Whoever does not have the home's key can't try guesses."""
    extra = {"ANTHROPIC_API_KEY": "guessed"}
    assert names(tmp_path / "a").of("claude", extra) != names(tmp_path / "b").of("claude", extra)


def test_no_account(tmp_path: Path) -> None:
    """A program that does not say what stopped it has none; neither has a runner that is not there."""
    assert [names(tmp_path).of(name, {}) for name in ("demo", "gone")] == ["", ""]
