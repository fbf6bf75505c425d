"""Runners: the command without a shell, and the environment that is exactly the contract's."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.backends.agents.runners import (
    MOST_TASK_BYTES,
    PLACEHOLDERS,
    Runner,
    agent_environment,
    bounded_task,
    check_extra,
    packaged_runners,
    parse_runners,
)
from cco_sidecar.backends.agents.tokenfiles import (
    context_path,
    environment_path,
    token_path,
)
from cco_sidecar.backends.private import read_private, remove_private, write_private
from cco_sidecar.errors import InvalidBody

VALUES = {name: f"<{name}>" for name in PLACEHOLDERS}
CONTRACT = {
    "AGENT_ID": "a1",
    "AGENT_TYPE": "python-specialist",
    "ISSUE_ID": "issue-1",
    "PROJECT_ID": "p",
    "PROJECT_ROOT": "/src",
    "TASK": "do it",
    "SIDECAR_URL": "http://127.0.0.1:3001/api",
    "JWT_TOKEN": "t.o.k",
    "JWT_TOKEN_FILE": "/home/me/.cco/run/tokens/a1",
    "CONTEXT_FILE": "/home/me/.cco/run/context/a1.json",
    "CCO_HOOK_KEY": "cch_p/a1/proof",
}


def test_a_key_for_those_who_have_hooks() -> None:
    """Any other program's environment has none."""
    values = {name.lower(): value for name, value in CONTRACT.items() if not name.startswith(("JWT", "CCO"))}
    found = agent_environment({}, token="t", token_file="f", hook_key=None, runner_env={}, extra={}, **values)
    assert "CCO_HOOK_KEY" not in found


def environment(
    base: dict[str, str] | None = None, runner: dict[str, str] | None = None, extra: dict[str, str] | None = None
) -> dict[str, str]:
    values = {name.lower(): value for name, value in CONTRACT.items()}
    token = values.pop("jwt_token")
    renamed = {name: values.pop(f"{prefix}_{name}") for prefix, name in (("jwt", "token_file"), ("cco", "hook_key"))}
    return agent_environment(base or {}, token=token, runner_env=runner or {}, extra=extra or {}, **values, **renamed)


def test_packaged() -> None:
    """The packaged runners are Claude Code and the demo."""
    runners = packaged_runners()
    assert set(runners) == {"claude", "demo"}
    command = runners["claude"].expand(VALUES)
    assert command[:3] == ["claude", "-p", "<task>"]
    assert command[command.index("--mcp-config") + 1] == "<mcp_config>"
    assert command[command.index("--settings") + 1] == "<settings_file>"
    assert command[command.index("--model") + 1] == "<model>"
    assert "--strict-mcp-config" in command
    tools = command[command.index("--tools") + 1].split(",")
    assert {"Bash", "Read", "Edit", "Write"} < set(tools)
    assert {"SendMessage", "EnterWorktree", "ScheduleWakeup", "Workflow"}.isdisjoint(tools)
    assert int(runners["claude"].env["MCP_CONNECT_TIMEOUT_MS"]) > 30_000
    assert runners["claude"].output == "stream-json"
    assert runners["demo"].expand(VALUES) == ["<python>", "-P", "-m", "cco_sidecar.demo.agent"]


def test_packaged_resume() -> None:
    """The packaged `claude` goes on with a conversation under the same options that it began with."""
    runner = packaged_runners()["claude"]
    resumed = runner.expand({**VALUES, "session_id": "session-1"})
    assert resumed[resumed.index("--resume") + 1] == "session-1"
    assert not any(argument == "<task>" for argument in resumed)
    begun = runner.expand({**VALUES, "session_id": ""})
    assert begun[2] == "<task>"
    assert resumed[6:] == begun[3:]  # after "--resume", its session, "--fork-session"
    assert packaged_runners()["demo"].expand({**VALUES, "session_id": "session-1"})[0] == "<python>"


def test_each_argument_by_itself() -> None:
    """A task is one argument, whatever is in it, and is not expanded again."""
    runner = parse_runners({"x": {"command": ["run", "--task={task}", "{issue_id}/{agent_id}"]}})["x"]
    values = {**VALUES, "task": "a b'; rm -rf / {python} $HOME"}
    assert runner.expand(values) == ["run", "--task=a b'; rm -rf / {python} $HOME", "<issue_id>/<agent_id>"]


def test_a_task_is_no_option() -> None:
    """A task that looks like an option of the program is not taken for one."""
    runner = Runner("x", ("claude", "-p", "{task}"))
    assert runner.expand({**VALUES, "task": "--dangerously-skip-permissions"})[2] == " --dangerously-skip-permissions"


def test_braces() -> None:
    """Doubled braces are the text itself, and JSON stays as it is."""
    runner = parse_runners({"x": {"command": ["run", "{{task}}", '{"a": {"b": 1}}', "{}"]}})["x"]
    assert runner.expand(VALUES) == ["run", "{task}", '{"a": {"b": 1}}', "{}"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"command": ["run", "{taks}"]}, "there is no placeholder {taks}; did you mean {task}?"),
        ({"command": []}, "command must be a list that begins with a program"),
        ({"command": [""]}, "command must be a list that begins with a program"),
        ({"command": "run {task}"}, "Expected `array`, got `str`"),
        ({"command": ["a\0b"]}, "a NUL in its command"),
        ({"command": ["run"], "shell": True}, "unknown field `shell`"),
        ({"command": ["run"], "env": {"A-B": "x"}}, "'A-B', which can't be an environment variable"),
        ({"command": ["run"], "env": {"JWT_TOKEN": "x"}}, "JWT_TOKEN, which the sidecar sets itself"),
        ({"command": ["run", "{session_id}"]}, "there is no placeholder {session_id}"),
        ({"command": ["run"], "resume": ["run"], "output": "stream-json"}, "resume must have {session_id}"),
        ({"command": ["run"], "resume": ["run", "{session_id}"]}, 'and output "stream-json" that tells it'),
        ({"command": ["run"], "resume": ["", "{session_id}"]}, "resume must be a list that begins with a program"),
        ({}, "missing required field `command`"),
    ],
)
def test_wrong_runner(body: object, message: str) -> None:
    """A wrong runner is refused with its name and what is wrong."""
    with pytest.raises(ValueError, match="runner 'mine'") as refused:
        parse_runners({"mine": body})
    assert message in str(refused.value)


def test_environment_is_the_contract() -> None:
    """Of the sidecar's own environment only the contract's names reach an agent."""
    base = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
        "TERM": "dumb",
        "SSL_CERT_FILE": "/certs",
        "NODE_EXTRA_CA_CERTS": "/more",
    }
    secrets = {"AWS_SECRET_ACCESS_KEY": "x", "CCO_HOME": "/y", "LD_PRELOAD": "z", "JWT_TOKEN": "another"}
    assert environment({**base, **secrets}) == {**base, **CONTRACT}


def test_environment_precedence() -> None:
    """The runner's variables beat the sidecar's, the spawn's beat those, and the contract's beat all."""
    found = environment(
        {"PATH": "/bin", "HOME": "/h"},
        runner={"PATH": "/opt/bin", "MODEL": "small", "AGENT_ID": "x"},
        extra={"MODEL": "large", "ISSUE_ID": "x"},
    )
    assert found == {"PATH": "/opt/bin", "HOME": "/h", "MODEL": "large", **CONTRACT}


@pytest.mark.parametrize(
    "name",
    [
        *CONTRACT,
        *("PATH", "HOME", "LANG", "TMPDIR", "TERM", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"),
        *("LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS"),
        *("NODE_PATH", "PERL5LIB", "PERL5OPT", "RUBYOPT", "BASH_ENV", "ENV", "IFS", "GIT_SSH_COMMAND", "CCO_HOME"),
        *("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "GLIBC_TUNABLES", "GCONV_PATH"),
        *("", "1A", "A-B", "A=B", "A B", "Ä", "A\0", "A\n", "x" * 129),
    ],
)
def test_refused_names(name: str) -> None:
    """A spawn may not set what the sidecar sets, nor what makes programs run other code, nor what is no name."""
    with pytest.raises(InvalidBody) as refused:
        check_extra({"FINE": "1", name: "x"})
    assert str(refused.value.details["path"]).startswith(f"$.environment.{name[:100]}")


@pytest.mark.parametrize("value", ["\0", "x" * 8_193, "ä" * 4_097, "\ud800"])
def test_refused_values(value: str) -> None:
    """A value must fit, and be text that a process can be given."""
    with pytest.raises(InvalidBody) as refused:
        check_extra({"A": value})
    assert refused.value.details["path"] == "$.environment.A"


def test_number_of_names() -> None:
    """At most 64 names."""
    check_extra({f"A{number}": "x" * 8_192 for number in range(64)})
    with pytest.raises(InvalidBody):
        check_extra({f"A{number}": "" for number in range(65)})


@given(st.text(max_size=300), st.integers(1, 400))
def test_bounded_task(text: str, times: int) -> None:
    """A task always fits into an argument and a variable, and says when it was cut."""
    task = text * times
    found = bounded_task(task)
    assert len(found.encode()) <= MOST_TASK_BYTES
    assert "\0" not in found
    if len(task.encode("utf-8", "replace")) <= MOST_TASK_BYTES:
        assert found == task.replace("\0", "").encode("utf-8", "replace").decode()
    else:
        assert found.endswith("64 KiB]")


def test_private_file(tmp_path: Path) -> None:
    """A token is readable by this user alone, replaced at once, and gone when removed."""
    path = token_path(tmp_path / "run", "a1")
    before = os.umask(0)
    try:
        write_private(path, b"one")
        write_private(path, b"two")
    finally:
        os.umask(before)
    assert read_private(path) == b"two"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert list(path.parent.iterdir()) == [path]
    remove_private(path)
    remove_private(path)
    assert read_private(path) is None


def test_private_directory(tmp_path: Path) -> None:
    """A directory that is open to others is closed; a symlink in its place is refused and not followed."""
    (tmp_path / "run" / "tokens").mkdir(parents=True, mode=0o755)
    write_private(token_path(tmp_path / "run", "a1"), b"x")
    assert stat.S_IMODE((tmp_path / "run" / "tokens").stat().st_mode) == 0o700
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "context").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        write_private(context_path(tmp_path / "run", "a1"), b"x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_paths_differ() -> None:
    """Each of an agent's private files has a place of its own."""
    run = Path("/run")
    assert len({token_path(run, "a"), context_path(run, "a"), environment_path(run, "a")}) == 3
