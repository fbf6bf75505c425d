"""Which token is shown, and when another is asked for."""

import base64
import json
import os
from pathlib import Path

import pytest

from cco_sidecar.client.errors import NotConfigured
from cco_sidecar.client.settings import settings_of
from cco_sidecar.client.tokens import TokenFile, Tokens, claims_of


def token(**claims: object) -> str:
    """Make what looks like a token, for those who do not check its signature; whole seconds."""
    numbers = {name: int(value) for name, value in claims.items() if isinstance(value, float)}
    text = base64.urlsafe_b64encode(json.dumps({**claims, **numbers}).encode()).decode().rstrip("=")
    return f"e30.{text}.c2ln"


@pytest.mark.parametrize("text", [None, "", "x", "a.b", "a.b.c", "e30.W10.x", "e30.é.x", "a.b.c.d", "e30.bnVsbA.x"])
def test_no_claims(text: str | None) -> None:
    """A token that says nothing readable is none the worse: the sidecar is who reads it."""
    assert claims_of(text) == {}


def test_claims() -> None:
    """What a token says is read; times that are no numbers are not."""
    assert claims_of(token(sub="a-1?>~ü", exp=5, iat="x")) == {"sub": "a-1?>~ü", "exp": 5}


def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A replaced file counts from the next question on; one that is missing for a moment does not."""
    file = tmp_path / "token"
    source = TokenFile(file)
    assert source() is None
    file.write_text("one\n")
    assert source() == "one"
    other = tmp_path / "other"
    other.write_text("two\n")
    other.replace(file)
    assert source() == "two"
    file.unlink()
    assert source() == "two"


def test_file_is_not_read_when_it_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged file costs a look, not a read."""
    file = tmp_path / "token"
    file.write_text("one")
    source = TokenFile(file)
    source()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read again"))
    assert source() == "one"


def test_successors_do_not_go_backwards() -> None:
    """Answers may overtake each other: an older successor does not replace a newer one."""
    first, second, third = (token(exp=exp) for exp in (100, 200, 300))
    tokens = Tokens(first, None, lambda: 0.0)
    tokens.take(third)
    tokens.take(second)
    tokens.take("")
    assert tokens.current() == third


def test_newer_of_file_and_successor() -> None:
    """The file counts where it is newer, the answer's successor where that is."""
    file = [token(exp=100)]
    tokens = Tokens(None, lambda: file[0], lambda: 0.0)
    assert tokens.current() == token(exp=100)
    tokens.take(token(exp=300))
    file[0] = token(exp=200)
    assert tokens.current() == token(exp=300)
    file[0] = token(exp=400)
    assert tokens.current() == token(exp=400)


def test_after_a_refusal_the_file_counts() -> None:
    """A token that was refused gives way to the file's, even if that seems older (an admin wrote a new one)."""
    file = [token(exp=100)]
    tokens = Tokens(None, lambda: file[0], lambda: 0.0)
    tokens.take(token(exp=300))
    refused = tokens.current()
    assert tokens.is_other_than(refused)
    assert tokens.current() == token(exp=100)
    assert not tokens.is_other_than(token(exp=100))


def test_another_thread_was_quicker() -> None:
    """If the token is another one already, that is tried."""
    tokens = Tokens("a", None, lambda: 0.0)
    tokens.take("b")
    assert tokens.is_other_than("a")


@pytest.mark.parametrize(
    ("now", "lifetime", "has_file", "is_due"),
    [
        (0, 3600, False, False),
        (3299, 3600, False, False),
        (3300, 3600, False, True),
        (3300, 3600, True, False),
        (3451, 3600, True, True),  # the file ought to have been replaced long ago
        (3600, 3600, False, False),  # too late: only a valid token has a successor
        (3, 8, False, False),
        (4, 8, False, True),
    ],
)
def test_due(now: float, lifetime: int, has_file: bool, is_due: bool) -> None:
    """The successor is asked for when the sidecar would give it, unless the file sees to it."""
    text = token(iat=0, exp=lifetime)
    tokens = Tokens(text, (lambda: text) if has_file else None, lambda: now)
    tokens.current()
    assert tokens.is_due is is_due


def test_never_due() -> None:
    """Of a token that does not say when it ends nothing is known; the admin's is the sidecar's to replace."""
    assert not Tokens("opaque", None, lambda: 0.0).is_due
    assert Tokens("opaque", None, lambda: 0.0).seconds_left is None
    assert not Tokens(token(sub="admin", iat=0, exp=3600), None, lambda: 3500.0).is_due


# The environment


def test_environment_of_a_spawned_agent(tmp_path: Path) -> None:
    """All that the sidecar puts there is taken up."""
    (tmp_path / "token").write_text("newest")
    environ = {
        "SIDECAR_URL": "http://h:4/api",
        "JWT_TOKEN": "first",
        "JWT_TOKEN_FILE": str(tmp_path / "token"),
        "AGENT_ID": "a-1",
        "AGENT_TYPE": "t",
        "ISSUE_ID": "i",
        "PROJECT_ID": "p",
        "CONTEXT_FILE": "/c.json",
    }
    found = settings_of(environ)
    assert found.server.url == "http://h:4"
    assert tuple(found.identity) == ("a-1", "t", "i", "p")
    assert found.token == "first"
    assert found.token_source is not None
    assert found.token_source() == "newest"
    assert found.context_file == Path("/c.json")


def test_arguments_count_more() -> None:
    """What is given beats the environment: a given token is not the environment's file's."""
    environ = {"SIDECAR_URL": "http://h:4/api", "JWT_TOKEN_FILE": "/none", "AGENT_ID": "a-1"}
    given = token(sub="a-2", agent_type="t", issue_id="i", project_id="p")
    found = settings_of(environ, url="https://other", token=f"{given}\n", identity={"issue_id": "j"})
    assert found.server.url == "https://other:443"
    assert (found.token, found.token_source) == (given, None)
    assert tuple(found.identity) == ("a-2", "t", "j", "p")


@pytest.mark.parametrize("environ", [{}, {"JWT_TOKEN": ""}, {"JWT_TOKEN_FILE": "/nowhere/at/all"}])
def test_no_token(environ: dict[str, str]) -> None:
    """Without a token nothing begins, and the message says where one comes from."""
    with pytest.raises(NotConfigured, match="cco token issue"):
        settings_of(environ)


def test_wrong_url() -> None:
    """A URL that is none is told at once."""
    with pytest.raises(NotConfigured, match="SIDECAR_URL"):
        settings_of({"JWT_TOKEN": "t", "SIDECAR_URL": "ftp://x"})


def test_mode_of_the_file_does_not_matter(tmp_path: Path) -> None:
    """A file that cannot be read leaves the token that was known."""
    file = tmp_path / "token"
    file.write_text("one")
    source = TokenFile(file)
    source()
    file.unlink()
    os.mkdir(file)
    assert source() == "one"
