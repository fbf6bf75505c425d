"""``cco hook``: what Claude Code says goes to the sidecar, and the answer back; what becomes of it if that fails."""

import ast
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cco_sidecar import runfile
from cco_sidecar.cli import hook_call
from cco_sidecar.cli.hook_call import EVENTS, Call, run, short_way
from tests.cli.test_cli_start import PROBE

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

HOOKS = ("POST", "/api/hooks/claude")
TOKENS = ("POST", "/api/tokens")
NOBODY = "http://127.0.0.1:9"
NOT_LOADED = {"click", "twisted", "attr", "attrs", "msgspec", "http.client", "ssl", "email", "asyncio", "logging"}
NOT_LOADED |= {
    "encodings.idna",
    "unicodedata",
    "subprocess",
    "inspect",
    "hashlib",
    "cco_sidecar.cli.root",
    "cco_sidecar.client.sync",
}


def said(event: str = "Stop", session: str = "s-1", **more: Any) -> dict[str, Any]:
    """Give what Claude Code says of an event."""
    return {"session_id": session, "cwd": "/work", "hook_event_name": event, **more}


def ran(event: str, hook: object, url: str | None = None, **more: Any) -> tuple[int, str, str]:
    """Call it as a program would; give its exit code and what it printed."""
    text = hook if isinstance(hook, bytes) else json.dumps(hook).encode()
    out, err = io.StringIO(), io.StringIO()
    code = run(Call(event, url, **more), os.environ, io.BytesIO(text), out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("event", EVENTS)
def test_each_event(sidecar: "ScriptedSidecar", event: str) -> None:
    """It is posted with the token of the person's agent, and the answer is printed as it came."""
    answer = {"hookSpecificOutput": {"hookEventName": EVENTS[event], "additionalContext": "é"}}
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, answer)
    code, out, err = ran(event, said(EVENTS[event], source="startup", stop_hook_active=False))
    assert (code, json.loads(out), err) == (0, answer, "")
    asked = sidecar.asked[-1]
    assert asked.body == said(EVENTS[event], source="startup", stop_hook_active=False)
    assert asked.headers["authorization"] == "Bearer mine"


def test_one_request_a_hook(sidecar: "ScriptedSidecar") -> None:
    """Only the first asks for a token."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {})
    for _ in range(3):
        assert ran("stop", said()) == (0, "{}\n", "")
    assert [one.path for one in sidecar.asked] == ["/api/tokens", *["/api/hooks/claude"] * 3]


def test_what_the_sidecar_has_no_use_for_stays(sidecar: "ScriptedSidecar") -> None:
    """A tool's answer of megabytes, what was written, and the prompt; paths and short fields go."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {})
    tool_input = {"file_path": "/src/shop/a.py", "content": "x" * 3_000_000, "notebook_path": 7}
    hook = said("PostToolUse", tool_name="Write", tool_input=tool_input, tool_response={"x": "y" * 5_000_000})
    assert ran("post-tool-use", hook | {"prompt": "secret", "effort": {"level": "high"}, "long": "z" * 9000})[0] == 0
    assert sidecar.asked[-1].body == said("PostToolUse", tool_name="Write") | {
        "tool_input": {"file_path": "/src/shop/a.py", "notebook_path": 7}
    }


def test_too_many_fields(sidecar: "ScriptedSidecar") -> None:
    """What is sent is bounded."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {})
    assert ran("stop", said() | {f"n{number}": "x" * 8000 for number in range(500)})[0] == 0
    assert len(json.dumps(sidecar.asked[-1].body)) < 600_000


def test_a_spawned_agent(sidecar: "ScriptedSidecar", monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known by its token; nothing is kept of it."""
    monkeypatch.setenv("AGENT_ID", "a-1")
    monkeypatch.setenv("JWT_TOKEN", "its-own")
    sidecar.on(*HOOKS, {"x": 1})
    assert ran("session-start", said("SessionStart", source="startup")) == (0, '{"x": 1}\n', "")
    assert sidecar.asked[-1].headers["authorization"] == "Bearer its-own"
    assert not (Path(os.environ["CCO_HOME"]) / "run").exists()


def test_a_token_that_counts_no_more(sidecar: "ScriptedSidecar") -> None:
    """A sidecar with other keys: another token is asked for, once."""
    sidecar.on(*TOKENS, {"token": "old"}, 201)
    sidecar.on(*TOKENS, {"token": "new"}, 201)
    sidecar.refuse(*HOOKS, 401, "AUTH_001", "Not one of mine.")
    sidecar.on(*HOOKS, {})
    assert ran("stop", said())[0] == 0
    shown = [one.headers["authorization"] for one in sidecar.asked if one.path == "/api/hooks/claude"]
    assert shown == ["Bearer old", "Bearer new"]
    assert ran("stop", said())[0] == 0
    assert sidecar.asked[-1].headers["authorization"] == "Bearer new"


def test_a_successor_is_kept(sidecar: "ScriptedSidecar") -> None:
    """What comes along with an answer is shown from then on."""
    from tests.cli.test_person import a_token

    sidecar.on(*TOKENS, {"token": a_token("a", 60)}, 201)
    sidecar.on(*HOOKS, {}, X_Refreshed_Token=a_token("a", 3600))
    ran("stop", said())
    ran("stop", said())
    assert sidecar.asked[-1].headers["authorization"] == f"Bearer {a_token('a', 3600)}"


def test_without_a_sidecar(home: Path) -> None:
    """It is said at the session's start and passed over from then on, with an exit code that shows nothing."""
    code, out, err = ran("session-start", said("SessionStart", source="startup"), NOBODY)
    assert (code, out) == (1, "")
    assert err.startswith("cco hook session-start: No sidecar answers at http://127.0.0.1:9 (")
    assert err.endswith("Start it: cco daemon start\n")
    assert err.count("\n") == 1
    assert ran("stop", said(), NOBODY) == (0, "", "")
    assert ran("post-tool-use", said("PostToolUse"), NOBODY) == (0, "", "")
    assert ran("stop", said(session="s-2"), NOBODY)[0] == 1
    assert ran("session-start", said("SessionStart", source="clear"), NOBODY)[0] == 1


def test_without_an_admin_token(sidecar: "ScriptedSidecar", home: Path) -> None:
    """The sidecar of another home is asked all the same, with none, and says what is wrong with that."""
    (home / "admin-token").unlink()
    sidecar.refuse(*TOKENS, 401, "AUTH_001", "Show a token.")
    assert ran("stop", said())[2] == "cco hook stop: Show a token.\n"
    assert "authorization" not in sidecar.asked[0].headers


def test_a_sidecar_that_goes_away(sidecar: "ScriptedSidecar") -> None:
    """That is said once; and once more, when it was there again meanwhile."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {})
    codes = [ran("stop", said(), url)[0] for url in (None, NOBODY, NOBODY, None, NOBODY)]
    assert codes == [0, 1, 0, 0, 1]


def test_another_sidecar_runs(home: Path) -> None:
    """Whoever changed the port is told how to say so."""
    runfile.write(home, 4567, runfile.RunFile("http://127.0.0.1:4567", 4567, os.getpid(), "/s", "/t"))
    err = ran("stop", said(), NOBODY)[2]
    assert err.endswith("One runs at http://127.0.0.1:4567: write that into this repository with cco init.\n")


def test_one_that_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, but not for long."""
    monkeypatch.setattr(hook_call, "ANSWER_SECONDS", 0.2)
    (home / "admin-token").write_text("t")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        code, _, err = ran("stop", said(), url)
        assert (code, "did not answer in time" in err, "cco health" in err) == (1, True, True)
        assert ran("stop", said(), url)[0] == 0


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [(500, "INT_001", "cco health"), (401, "AUTH_001", "no."), (404, "NOT_FOUND", "cco daemon restart")],
)
def test_refusals(sidecar: "ScriptedSidecar", status: int, code: str, hint: str) -> None:
    """The sidecar's words are shown, once, with what to do."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.refuse(*HOOKS, status, code, "It says\nno.")
    exit_code, out, err = ran("stop", said())
    assert (exit_code, out, err.count("\n")) == (1, "", 1)
    assert "It says no." in err
    assert hint in err
    assert ran("stop", said()) == (0, "", "")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{"])
def test_what_is_no_sidecar(sidecar: "ScriptedSidecar", body: bytes) -> None:
    """Nothing of it reaches Claude Code."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, body)
    code, out, err = ran("stop", said())
    assert (code, out, "not the sidecar" in err) == (1, "", True)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", json.dumps(said("PreToolUse")).encode()])
def test_what_is_no_hook(sidecar: "ScriptedSidecar", text: bytes) -> None:
    """It is said, and nothing is sent."""
    code, _, err = ran("stop", text)
    assert (code, "stdin" in err) == (1, True)
    assert sidecar.asked == []


def test_too_large_an_input(sidecar: "ScriptedSidecar", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_call, "MOST_INPUT_BYTES", 100)
    assert ran("stop", said(long="x" * 100))[0] == 1
    assert sidecar.asked == []


def test_deny(home: Path) -> None:
    """An edit that cannot be asked about is denied, each time, with what to do; nothing else is."""
    for _ in range(2):
        code, out, err = ran("pre-tool-use", said("PreToolUse"), NOBODY, on_failure="deny")
        assert (code, err) == (0, "")
        output = json.loads(out)["hookSpecificOutput"]
        assert (output["hookEventName"], output["permissionDecision"]) == ("PreToolUse", "deny")
        assert "cco daemon start" in output["permissionDecisionReason"]
    assert json.loads(ran("pre-tool-use", b"?", NOBODY, on_failure="deny")[1])
    assert ran("stop", said(), NOBODY, on_failure="deny")[:2] == (1, "")


def test_the_end_of_a_session(sidecar: "ScriptedSidecar", home: Path) -> None:
    """The claude's file goes with it, also when the sidecar could not be told; not when the claude goes on."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {})
    file = home / "run" / "persons" / "session.0.s-1.json"
    for reason, url, is_there in (("clear", None, True), ("other", None, False), ("other", NOBODY, False)):
        ran("stop", said())
        ran("session-end", said("SessionEnd", reason=reason), url)
        assert file.exists() is is_there, reason


def test_a_home_that_cannot_be_written(home: Path) -> None:
    """Neither then is anything held up."""
    (home / "run").write_text("a file")
    assert ran("stop", said(), NOBODY)[0] == 1


def test_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes what `cco init` writes; anything else is read by click."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    url = ["--sidecar-url", "http://127.0.0.1:3001"]
    assert short_way(["stop", *url], {}) == Call("stop", url[1])
    assert short_way(["pre-tool-use", *url, "--on-failure", "deny"], {}) == Call("pre-tool-use", url[1], None, "deny")
    for other in (
        [],
        ["halt"],
        ["stop", "--help"],
        ["stop", "--token", "x"],
        ["stop", *url, *url],
        ["stop", "--on-failure", "perhaps"],
        ["stop", "--sidecar-url", "ftp://x"],
        [*url, "stop"],
    ):
        assert short_way(other, {}) is None, other
    assert short_way(["stop"], {"CCO_SIDECAR_URL": "::"}) is None
    assert short_way(["stop"], {"_CCO_COMPLETE": "bash_complete"}) is None
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert short_way(["stop"], {}) is None


def probe(hook: object, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", *arguments], input=json.dumps(hook), capture_output=True, text=True, check=False
    )


def test_the_short_way_is_light(sidecar: "ScriptedSidecar") -> None:
    """Nothing heavy is imported by all of it, a token asked for included."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {"x": 1})
    program = PROBE.replace(
        "import sys\n", "import os, sys\ndef leave(code):\n    raise SystemExit(code)\nos._exit = leave\n"
    )
    done = probe(said(), "-c", program, "hook", "stop", "--sidecar-url", sidecar.url)
    assert done.stdout == '{"x": 1}\n', done.stderr
    code, modules = ast.literal_eval(done.stderr.splitlines()[-1])
    assert code == 0
    assert "cco_sidecar.cli.person" in modules
    assert not set(modules) & NOT_LOADED


@pytest.mark.parametrize("way", ["short", "click"])
def test_as_a_program(sidecar: "ScriptedSidecar", way: str) -> None:
    """Both ways do the same, and the exit code is that of the process."""
    sidecar.on(*TOKENS, {"token": "mine"}, 201)
    sidecar.on(*HOOKS, {"x": 1})
    words = ["hook", "stop", "--sidecar-url"] if way == "short" else ["--no-color", "hook", "stop", "--sidecar-url"]
    done = probe(said(), "-m", "cco_sidecar", *words, sidecar.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"x": 1}\n', "")
    done = probe(said(session="s-2"), "-m", "cco_sidecar", *words, NOBODY)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cco daemon start" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["stpo"], "'stop'"),
        (["PreToolUse"], "'pre-tool-use'"),
        (["xyzzy"], "session-start, user-prompt-submit"),
        ([], "EVENT"),
        (["stop", "--on-failure", "perhaps"], "'allow', 'deny'"),
        (["stop", "--sidecar-url", "ftp://x"], "http://127.0.0.1:3001"),
    ],
)
def test_wrong_usage(cco: "Cco", arguments: list[str], hint: str) -> None:
    """It is told with what was probably meant."""
    found = cco("hook", *arguments, text=json.dumps(said()))
    assert (found.exit_code, found.stdout) == (2, "")
    assert hint in found.stderr


def test_through_click(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Flags that no hook has work as everywhere."""
    sidecar.on(*HOOKS, {"x": 1})
    found = cco("hook", "stop", "--token", "given", text=json.dumps(said()))
    assert (found.exit_code, found.stdout) == (0, '{"x": 1}\n')
    assert sidecar.asked[-1].headers["authorization"] == "Bearer given"
    assert "session-end" in cco("hook", "--help").stdout


def test_at_a_terminal(cco: "Cco", monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for a person to type JSON."""
    from cco_sidecar.cli import hook

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    class Sys:
        stdin = Terminal(io.BytesIO())

    monkeypatch.setattr(hook, "sys", Sys)
    found = cco("hook", "stop")
    assert (found.exit_code, "cco init" in found.stderr) == (2, True)


def test_completion() -> None:
    """A shell is told the events."""
    environ = {**os.environ, "_CCO_COMPLETE": "bash_complete", "COMP_WORDS": "cco hook pre-", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "cco_sidecar"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,pre-tool-use", "plain,pre-compact"]
