"""Finding the sidecar, showing a token, and what its refusals and silences become."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click import UsageError

from cco_sidecar import runfile
from cco_sidecar.cli import place
from cco_sidecar.cli.sidecar import Sidecar, TookTooLong, route

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

EMPTY: dict[str, list[str]] = {"agents": []}


def scripted(sidecar: "ScriptedSidecar", status: int = 200, body: object = EMPTY, **headers: str) -> None:
    """Let the sidecar answer to `cco agent list`."""
    sidecar.on("GET", "/api/agents", body, status, **headers)


def closed_port() -> int:
    """Give a port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def announce(home: Path, sidecar: "ScriptedSidecar", port_as_given: int, token: str = "of-the-run-file") -> None:
    """Write the run file of a sidecar that lives in this process."""
    file = home / f"token-{port_as_given}"
    file.write_text(token)
    entry = runfile.RunFile(sidecar.url, sidecar.port, os.getpid(), "/data", str(file))
    runfile.write(home, port_as_given, entry)


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
def test_url_tolerance(sidecar: "ScriptedSidecar", cco: "Cco", suffix: str) -> None:
    """A URL may end in /api or a slash."""
    scripted(sidecar)
    assert cco("--sidecar-url", sidecar.url + suffix, "agent", "list").exit_code == 0
    assert sidecar.asked[0].path == "/api/agents"
    assert sidecar.asked[0].headers["host"] == f"127.0.0.1:{sidecar.port}"


def test_global_options_anywhere(sidecar: "ScriptedSidecar", cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """Global options may stand before, between and after; the last one counts."""
    scripted(sidecar)
    monkeypatch.setenv("CCO_SIDECAR_URL", "http://127.0.0.1:1")
    for arguments in (
        ["--sidecar-url", sidecar.url, "--token", "t", "agent", "list"],
        ["agent", "--sidecar-url", sidecar.url, "--token", "t", "list"],
        ["--token", "other", "agent", "list", "--sidecar-url", sidecar.url, "--token", "t", "--format", "json"],
    ):
        assert cco(*arguments).exit_code == 0
        assert sidecar.asked[-1].headers["authorization"] == "Bearer t"


def test_token_order(
    sidecar: "ScriptedSidecar", cco: "Cco", home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source of a token gives way to the one before it."""
    scripted(sidecar)

    def shown() -> str:
        assert cco("agent", "list").exit_code == 0
        return sidecar.asked[-1].headers["authorization"].removeprefix("Bearer ")

    assert shown() == "the-admin-token"
    announce(home, sidecar, 3001)
    assert shown() == "of-the-run-file"
    monkeypatch.setenv("JWT_TOKEN", "own")
    assert shown() == "own"
    (tmp_path / "jwt").write_text("own-from-file\n")
    monkeypatch.setenv("JWT_TOKEN_FILE", str(tmp_path / "jwt"))
    assert shown() == "own-from-file"
    monkeypatch.setenv("CCO_TOKEN", "given")
    assert shown() == "given"


def test_token_without_header_tricks(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A token with a line break never reaches a header."""
    found = cco("--token", "a\r\nX-Evil: 1", "agent", "list")
    assert found.exit_code == 2
    assert sidecar.asked == []


def test_place_of_spawned_agent(home: Path, sidecar: "ScriptedSidecar", monkeypatch: pytest.MonkeyPatch) -> None:
    """SIDECAR_URL, which ends in /api, is used after CCO_SIDECAR_URL."""
    environ = {"CCO_HOME": str(home), "SIDECAR_URL": "http://127.0.0.1:5/api"}
    assert place.find(None, environ).server.url == "http://127.0.0.1:5"
    assert place.find(None, {**environ, "CCO_SIDECAR_URL": "http://h:6"}).server.url == "http://h:6"


def test_place_by_run_files(home: Path, sidecar: "ScriptedSidecar") -> None:
    """The sidecar of the port that is set, else the only one; a port in the environment allows no other."""
    environ = {"CCO_HOME": str(home)}
    assert place.find(None, environ).server.url == "http://127.0.0.1:3001"
    announce(home, sidecar, 4000)
    assert place.find(None, environ).server.url == sidecar.url
    assert place.find(None, {**environ, "CCO_SIDECAR_PORT": "4000"}).server.url == sidecar.url
    assert place.find(None, {**environ, "CCO_SIDECAR_PORT": "4001"}).server.url == "http://127.0.0.1:4001"
    other = runfile.RunFile("http://127.0.0.1:9", 9, os.getpid(), "/data", "/none")
    runfile.write(home, 9, other)
    assert place.find(None, environ).server.url == "http://127.0.0.1:3001"
    (home / "config.json").write_text('{"sidecar": {"port": 9}}')
    assert place.find(None, environ).server.url == "http://127.0.0.1:9"


@pytest.mark.parametrize("text", ["", "[]", '{"sidecar": 1}', '{"sidecar": {"port": "x"}}', "[" * 100_000])
def test_place_with_wrong_config(home: Path, text: str) -> None:
    """A wrong config file is for the service to refuse; the default port is as good a guess as any."""
    (home / "config.json").write_text(text)
    assert place.wanted_port({"CCO_HOME": str(home)}) == (3001, False)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "VAL_001", 2),
        (400, "VAL_002", 2),
        (422, "VAL_003", 2),
        (400, "EVT_002", 2),
        (400, "EVT_003", 2),
        (403, "EVT_004", 4),
        (401, "AUTH_001", 4),
        (403, "AUTH_005", 4),
        (403, "SEC_001", 4),
        (404, "NOT_FOUND", 1),
        (409, "CLM_001", 1),
        (429, "RATE_001", 1),
        (503, "EVT_001", 1),
        (500, "CTX_001", 1),
    ],
)
def test_refusals(sidecar: "ScriptedSidecar", cco: "Cco", status: int, code: str, exit_code: int) -> None:
    """A refusal is told as its message, code and request id, on stderr, also where data is JSON."""
    sidecar.refuse("GET", "/api/agents", status, code, "Not\x1b[31m so.")
    found = cco("agent", "list", "--format", "json")
    assert found.exit_code == exit_code
    assert found.stdout == ""
    assert found.stderr == f"Error: Not\\u001b[31m so.\n  ({code}, request req-7)\n"


@pytest.mark.parametrize("body", [b"<html>Bad gateway", b"[]", b"null", b"\xff"])
def test_not_a_sidecar(sidecar: "ScriptedSidecar", cco: "Cco", body: bytes) -> None:
    """What another server answers is not taken for a sidecar's word."""
    scripted(sidecar, 502, body)
    found = cco("agent", "list")
    assert found.exit_code == 1
    assert "not the sidecar" in found.stderr
    assert "HTTP 502" in found.stderr


def test_success_that_is_no_json(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A web page with status 200 is no answer either."""
    scripted(sidecar, 200, b"<html>hello")
    found = cco("agent", "list")
    assert (found.exit_code, found.stdout) == (1, "")


def test_no_sidecar(cco: "Cco", home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sidecar the message says how to start one."""
    monkeypatch.setenv("CCO_SIDECAR_PORT", str(closed_port()))
    found = cco("agent", "list")
    assert found.exit_code == 3
    assert "cco daemon start" in found.stderr


def test_no_sidecar_there_but_elsewhere(
    sidecar: "ScriptedSidecar", cco: "Cco", home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one runs elsewhere, the message says where."""
    announce(home, sidecar, 4000)
    monkeypatch.setenv("CCO_SIDECAR_URL", f"http://127.0.0.1:{closed_port()}")
    found = cco("agent", "list")
    assert found.exit_code == 3
    assert sidecar.url in found.stderr


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://user@x", "http://x:99999", "http://x?y", "http://a b"])
def test_wrong_url(cco: "Cco", url: str) -> None:
    """A URL that is none is wrong usage."""
    found = cco("--sidecar-url", url, "agent", "list")
    assert found.exit_code == 2
    assert "http://127.0.0.1:3001" in found.stderr


def test_took_too_long(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar that hangs is given up, with 124."""
    monkeypatch.setattr("cco_sidecar.client.asking.MARGIN_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = Sidecar(f"http://127.0.0.1:{listening.getsockname()[1]}", "t", {"CCO_HOME": str(home)})
        with pytest.raises(TookTooLong) as caught:
            silent.get(route("health"), seconds=0.05)
    assert caught.value.exit_code == 124


def test_refreshed_token_is_used(sidecar: "ScriptedSidecar", home: Path) -> None:
    """A successor that comes with an answer replaces a token that was given."""
    scripted(sidecar, 200, EMPTY, X_Refreshed_Token="next")
    found = Sidecar(sidecar.url, "first", {"CCO_HOME": str(home)})
    found.get(route("api", "agents"))
    found.look()
    found.get(route("api", "agents"))
    assert [it.headers["authorization"] for it in sidecar.asked] == ["Bearer first", "Bearer next"]


def test_route() -> None:
    """Names are escaped in paths, and never empty."""
    assert route("api", "agents", "a/b c?é") == "/api/agents/a%2Fb%20c%3F%C3%A9"
    with pytest.raises(UsageError):
        route("api", "agents", "")


def test_the_admin_token_goes_to_no_other_machine(tmp_path: Path) -> None:
    """Without a token that was given, a sidecar elsewhere is shown none."""
    (tmp_path / "admin-token").write_text("secret")
    environ = {"CCO_HOME": str(tmp_path)}
    assert place.find_token(None, environ, None, "127.0.0.1") == "secret"
    assert place.find_token(None, environ, None, "sidecar.example.org") is None
    assert place.find_token("given", environ, None, "sidecar.example.org") == "given"
