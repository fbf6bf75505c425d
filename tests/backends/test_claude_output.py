"""What Claude Code's output says, read from the agent's log as it is found there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed

from cco_sidecar.backends.agents import tailing
from cco_sidecar.backends.agents.claude import settings_file
from cco_sidecar.backends.agents.hearing import MOST_OF_ALL_BYTES, MOST_OF_ONE_BYTES, Ear, Heard, Hearing
from cco_sidecar.backends.agents.runners import packaged_runners
from cco_sidecar.backends.agents.shim.log import Log
from cco_sidecar.backends.agents.tailing import MOST_LINE_BYTES, Tail
from cco_sidecar.backends.agents.tallying import MOST_MESSAGES, Said
from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.agent_work import Work
from tests.fakes import outcome

INIT: dict[str, Any] = {"type": "system", "subtype": "init", "session_id": "s"}
MODEL = {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 2}
DONE = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "api_error_status": None,
    "num_turns": 4,
    "result": "All green.",
    "total_cost_usd": 0.25,
    "modelUsage": {"big": MODEL, "small": MODEL},
}
LOST: dict[str, Any] = {
    "type": "result",
    "subtype": "error_during_execution",
    "is_error": True,
    "num_turns": 0,
    "total_cost_usd": 0,
    "modelUsage": {},
    "errors": ["No conversation found with session ID: a3f0d27c-5a25-4bb9-83a1-81310aab03fa"],
}
USAGE = {
    "input_tokens": 20.0,
    "output_tokens": 10.0,
    "cache_read_tokens": 6.0,
    "cache_creation_tokens": 4.0,
    "turns": 4.0,
    "cost_usd": 0.25,
}


def test_settings() -> None:
    """Every hook goes to the sidecar; where no edit may go unasked, a program asks that says no when it fails."""
    url = "http://127.0.0.1:3001"
    open_ones = json.loads(settings_file("/usr/bin/python 3", url, may_fail=True))["hooks"]
    closed = json.loads(settings_file("/usr/bin/python 3", url, may_fail=False))["hooks"]
    kinds = {
        event: {hook["type"] for group in groups for hook in group["hooks"]} for event, groups in open_ones.items()
    }
    assert {event for event, found in kinds.items() if found != {"http"}} == {"SessionStart"}
    assert set(open_ones) == set(closed) == {*open_ones} | {"PreToolUse", "PostToolUse", "Stop", "PreCompact"}
    [ask] = open_ones["PreToolUse"][0]["hooks"]
    assert ask["url"] == f"{url}/api/hooks/claude"
    assert ask["headers"] == {"Authorization": "Bearer $CCO_HOOK_KEY"}
    assert ask["allowedEnvVars"] == ["CCO_HOOK_KEY"]
    [program] = closed["PreToolUse"][0]["hooks"]
    assert program["command"] == "'/usr/bin/python 3' -P -m cco_sidecar hook pre-tool-use --on-failure deny || exit 2"
    assert "NotebookEdit" in closed["PreToolUse"][0]["matcher"]
    assert closed["PreToolUse"][1] == {"matcher": "mcp__cco__.*", "hooks": open_ones["Stop"][0]["hooks"]}


def message(number: int, tokens: int, *content: object, model: str = "", **more: object) -> dict[str, Any]:
    """One line of an assistant's message."""
    usage = {"input_tokens": tokens, "output_tokens": 1}
    said = {"id": f"msg_{number}", "model": model, "usage": usage, "content": content}
    return {"type": "assistant", "message": said, "parent_tool_use_id": None, **more}


def said(path: Path, *lines: object, before: bytes = b"") -> Said | None:
    """Read a log of these lines."""
    log = path / "agent.log"
    log.write_bytes(before + encoded(*lines))
    return last_words(log)


def encoded(*lines: object) -> bytes:
    """Give these lines as they are printed."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def last_words(log: Path) -> Said | None:
    """Read a log to its end."""
    return Ear(Tail(log)).finish()


def test_success(tmp_path: Path) -> None:
    """The summary has it all; the usage of all models counts."""
    assert said(tmp_path, INIT, message(1, 7), DONE) == Said(USAGE, text="All green.", answered=True)


@pytest.mark.parametrize(
    ("more", "failure", "reason"),
    [
        ({"api_error_status": 529, "result": "API Error: 529"}, "overloaded", "API Error: 529"),
        ({"api_error_status": 500, "result": "x"}, "overloaded", "x"),
        ({"api_error_status": 429, "result": "Request rejected"}, "rate_limited", "Request rejected"),
        ({"api_error_status": 401, "result": "Failed to authenticate."}, "login", "Failed to authenticate."),
        ({"result": "Not logged in · Please run /login"}, "login", "Not logged in · Please run /login"),
        ({"subtype": "error_max_turns", "result": None, "errors": ["Too many"]}, "max_turns", "Too many"),
        ({"subtype": "error_max_budget_usd", "result": None, "errors": ["A", "B"]}, "max_budget", "A; B"),
        ({"api_error_status": 400, "result": "no"}, "error", "no"),
        ({"subtype": "error_during_execution", "result": None}, "error", ""),
    ],
)
def test_failure(tmp_path: Path, more: dict[str, Any], failure: str, reason: str) -> None:
    """What is not the agent's own fault is told apart; its text is no result."""
    assert said(tmp_path, INIT, {**DONE, "is_error": True, **more}) == Said(USAGE, failure=failure, reason=reason)


def test_cut_off(tmp_path: Path) -> None:
    """Of one that was killed, the messages that it had are counted, each once; half a line is no line."""
    log = tmp_path / "agent.log"
    found = said(tmp_path, INIT, message(1, 7), message(1, 7), message(2, 8))
    log.write_bytes(log.read_bytes() + b'{"type": "assis')
    assert last_words(log) == found
    assert found is not None
    assert (found.usage["input_tokens"], found.usage["turns"], found.text) == (15.0, 2.0, None)
    assert "cost_usd" not in found.usage


def test_started_again(tmp_path: Path) -> None:
    """What every start took counts; what was said is of the last one."""
    again = {**INIT, "session_id": "t"}
    assert said(tmp_path, INIT, DONE, again) == Said(USAGE)
    found = said(tmp_path, INIT, DONE, again, message(1, 7))
    assert found is not None
    assert (found.text, found.usage["input_tokens"], found.usage["turns"]) == (None, 27, 5)
    twice = said(tmp_path, INIT, DONE, again, {**DONE, "result": "Green again."})
    assert twice == Said({name: 2 * value for name, value in USAGE.items()}, text="Green again.")


def test_several_summaries(tmp_path: Path) -> None:
    """A session that goes on by itself tells its sum again: that is not added."""
    more = {**DONE, "total_cost_usd": 0.5, "num_turns": 6, "modelUsage": {"big": {**MODEL, "inputTokens": 90}}}
    found = said(tmp_path, INIT, DONE, INIT, message(9, 7), more)
    assert found is not None
    assert (found.usage["input_tokens"], found.usage["cost_usd"], found.usage["turns"]) == (90, 0.5, 6)
    assert "cost_usd_estimated" not in found.usage


def test_how_to_go_on(tmp_path: Path) -> None:
    """A limit says when it ends, and which conversation it was; a message of Claude Code itself is no answer."""
    init = {**INIT, "session_id": "a3f0d27c-5a25-4bb9-83a1-81310aab03fa"}
    retry = {"type": "system", "subtype": "api_retry", "retry_delay_ms": 30_000, "error_status": 429}
    limit = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1_795_366_633}}
    error = {"type": "assistant", "message": {"id": "e", "model": "<synthetic>", "content": []}}
    end = {**DONE, "is_error": True, "api_error_status": 429}
    found = said(tmp_path, init, retry, limit, error, end)
    assert found is not None
    assert (found.session_id, found.answered) == (init["session_id"], False)
    assert (found.resets_at, found.retry_after) == (1_795_366_633.0, 30.0)
    allowed = {**limit, "rate_limit_info": {"status": "allowed", "resetsAt": 1}}
    found = said(tmp_path, init, limit, message(1, 7), allowed, error, end)
    assert found is not None
    assert (found.resets_at, found.answered) == (None, True)


@pytest.mark.parametrize("session_id", ["--dangerously", "", None, 7, "a b c d e f g h", "x" * 65])
def test_no_session(tmp_path: Path, session_id: object) -> None:
    """What is put on a command line must be the name of a conversation."""
    found = said(tmp_path, {**INIT, "session_id": session_id}, DONE)
    assert found is not None
    assert found.session_id == ""


def test_answered_by_now(tmp_path: Path) -> None:
    """Whether the model has answered is seen while the agent runs, and only of its newest process."""
    log = tmp_path / "agent.log"
    error = {"type": "assistant", "message": {"id": "e", "model": "<synthetic>", "content": []}}
    answered = []
    for lines in ([INIT], [INIT, message(1, 7), DONE], [DONE, INIT, error], [DONE, INIT, message(1, 7)]):
        log.write_bytes(encoded(*lines))
        answered.append(Ear(Tail(log)).is_answered())
    assert answered == [False, False, False, True]
    assert not Ear(Tail(tmp_path / "missing")).is_answered()


def test_a_lost_conversation(tmp_path: Path) -> None:
    """It is said, and what was taken before stays counted."""
    found = said(tmp_path, INIT, message(1, 7), DONE, LOST)
    assert found == Said(USAGE, failure="error", reason=LOST["errors"][0], session_lost=True)


def test_other_output(tmp_path: Path) -> None:
    """What others wrote between the lines is passed over, and of a long output its end is enough."""
    noise = b"warning\n{}\n[1]\n" + b'{"type": 3}\n{"type"\n' + b"x" * (2 * MOST_LINE_BYTES) + b"\n"
    assert said(tmp_path, DONE, before=noise) == Said(USAGE, text="All green.")
    assert said(tmp_path, before=noise) is None
    assert last_words(tmp_path / "missing") is None


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), lambda it: st.dictionaries(st.text(), it)))
def test_any_values(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Whatever the fields hold, it is read, and the numbers are finite."""
    line = dict.fromkeys(DONE, value) | {"type": "result"}
    odd = {"type": "assistant", "message": {"id": str(value), "usage": value}}
    for lines in ([line], [odd], [{**line, "is_error": True}], [{**line, "modelUsage": {"m": {"inputTokens": value}}}]):
        found = said(tmp_path_factory.getbasetemp(), INIT, *lines)
        assert found is None or all(0 <= number < 1e15 for number in found.usage.values())


def test_while_it_runs(tmp_path: Path) -> None:
    """Each look reads what is new, says what it does, and what that took at least; the end puts it right."""
    log = tmp_path / "agent.log"
    ear = Ear(Tail(log))
    assert ear.listen() == (Work(None), 0)

    def after(*lines: object) -> Work:
        with log.open("ab") as opened:
            opened.write(encoded(*lines))
        return ear.listen()[0]

    assert after(INIT) == Work(None, "waiting for the model")
    text, call = {"type": "text", "text": "x" * 50}, {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}
    work = after(message(1, 1000, text, model="claude-opus-4-8"), message(1, 1000, call, model="claude-opus-4-8"))
    assert work.doing == "using Bash"
    assert work.usage is not None
    assert (work.usage["input_tokens"], work.usage["output_tokens"], work.usage["turns"]) == (1000, 13, 1)
    assert work.usage["cost_usd_estimated"] == pytest.approx(0.005 + 13 * 25e-6)
    assert "cost_usd" not in work.usage
    assert after({"type": "user", "message": {}}).doing == "waiting for the model"
    assert ear.listen() == (Work(work.usage, "waiting for the model"), 0)
    of_child = after(message(2, 10, model="claude-haiku-4-5", parent_tool_use_id="toolu_1"))
    assert of_child.usage is not None
    assert (of_child.usage["input_tokens"], of_child.usage["turns"]) == (1010, 1)
    done = after({**DONE, "modelUsage": {"claude-opus-4-8": {**MODEL, "inputTokens": 1010, "outputTokens": 40}}})
    assert done == Work({**USAGE, "input_tokens": 1010, "output_tokens": 40, "cache_read_tokens": 3,
                         "cache_creation_tokens": 2}, "")  # fmt: skip
    found = ear.finish()
    assert found is not None
    assert (found.usage, found.text) == (done.usage, "All green.")


def test_of_no_tier(tmp_path: Path) -> None:
    """What a model costs that nobody has heard of is not made up; every message counts, however many there are."""
    many = MOST_MESSAGES + 10
    found = said(tmp_path, INIT, *(message(number, 2, model="other") for number in range(many)))
    assert found is not None
    assert (found.usage["input_tokens"], found.usage["turns"]) == (2 * many, many)
    assert not {"cost_usd", "cost_usd_estimated"} & found.usage.keys()


@given(st.lists(st.integers(1, 250), min_size=1, max_size=30), st.integers(1, 300), st.data())
def test_rotation(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int, data: st.DataObject) -> None:
    """Each line is given once and in order, whenever the shim rotates and whenever somebody looks."""
    path = tmp_path_factory.mktemp("log") / "agent.log"
    log, tail = Log(str(path).encode(), 2_000), Tail(path)  # all that is written fits into the files that are kept
    written: list[bytes] = []
    read: list[bytes] = []
    for number, size in enumerate(sizes):
        line = b"%d %s\n" % (number, b"x" * size)
        written.append(line[:-1])
        log.write(line)
        for _ in range(data.draw(st.integers(0, 20))):
            read.extend(tail.read(most)[0])
    while True:
        lines, many = tail.read(most)
        read.extend(lines)
        if not many:
            break
    assert read == written


def test_a_look_is_bounded(tmp_path: Path) -> None:
    """A look reads so much and no more; the next goes on; what lies there but is no file is not read."""
    log = tmp_path / "agent.log"
    log.write_bytes(encoded(INIT, *(message(number, 1) for number in range(5_000))))
    ear = Ear(Tail(log))
    first, many = ear.listen()
    assert many == MOST_OF_ONE_BYTES
    assert first.usage is not None
    second = ear.listen()[0].usage
    assert second is not None
    assert 0 < first.usage["turns"] < second["turns"]
    log.unlink()
    os.mkfifo(log)
    assert Ear(Tail(log)).listen() == (Work(None), 0)


def test_too_long_a_line(tmp_path: Path) -> None:
    """It is passed over, whole; what follows it is read."""
    log = tmp_path / "agent.log"
    log.write_bytes(b"x" * (MOST_LINE_BYTES + 10))
    tail = Tail(log)
    assert tail.read(2 * MOST_LINE_BYTES) == ([], MOST_LINE_BYTES + 10)
    with log.open("ab") as opened:
        opened.write(b"its end\nanother\n")
    assert tail.read(100)[0] == [b"another"]


def test_rotated_at_this_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes another between the look and the opening is not taken for it."""
    log, older = tmp_path / "agent.log", tmp_path / "agent.log.1"
    log.write_bytes(b"one\n")
    tail = Tail(log)
    assert tail.read(100)[0] == [b"one"]
    with log.open("ab") as opened:
        opened.write(b"two\n")
    look = tailing._file
    stale = {path: look(path) for path in (log, older)}
    log.rename(older)
    log.write_bytes(b"three\n")
    monkeypatch.setattr(tailing, "_file", stale.get)
    assert tail.read(100) == ([], 0)
    monkeypatch.undo()
    assert tail.read(100)[0] == [b"two", b"three"]


def test_a_look_at_many(tmp_path: Path) -> None:
    """One look reads so much of all together; it says that there is more, and the next goes on with the others."""
    agents = [running(f"a{number}") for number in range(20)]
    whole = encoded(INIT, *(message(number, 1) for number in range(2_400)))
    for agent in agents:
        (tmp_path / agent.agent_id).write_bytes(whole)
    hearing = Hearing(packaged_runners(), tmp_path.joinpath, lambda work: succeed(work()), None)  # type: ignore[arg-type]  # nothing is stored
    assert len(whole) > MOST_OF_ONE_BYTES
    assert 20 * len(whole) > MOST_OF_ALL_BYTES
    work: dict[str, Work] = {}
    for look in range(100):
        heard = outcome(hearing.listen(agents))[0]
        assert isinstance(heard, Heard)
        work |= heard.work
        assert look > 0 or 15 < len(heard.work) < 20
        if not heard.is_behind:
            break
    assert {name: found.usage["turns"] for name, found in work.items() if found.usage} == {
        agent.agent_id: 2_400.0 for agent in agents
    }
    other = evolve(running("b"), runner="demo")
    assert outcome(hearing.listen([other])) == [Heard({}, is_behind=False)]
    assert hearing.last_words(other) is None


def running(name: str) -> Agent:
    """Give an agent of the packaged runner."""
    return Agent(name, "t", "i", "p", "admin", "", "claude", "normal", 1.0, 0.0, status="running")
