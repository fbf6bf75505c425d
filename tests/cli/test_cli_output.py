"""Formats, and what a terminal must never be sent."""

import csv
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
import pytest
import yaml
from hypothesis import given, strategies

from cco_sidecar.cli import output

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

NASTY = "a\x1b[2J\x9b1m\u202eb\r\x07"
AGENT = {"agent_id": "a-1", "agent_type": "tester", "issue_id": "i", "status": "running", "process_id": 7}
AGENTS = {"agents": [AGENT, {**AGENT, "agent_id": "grün,[red]", "exit_code": None}]}

Emit = Callable[..., str]


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Emit:
    """Give a function that emits in a format and gives what was printed."""

    def emit(data: object, wanted: str, *, terminal: bool = False, **more: object) -> str:
        monkeypatch.setattr(output, "is_terminal", lambda: terminal)
        with click.Context(click.Command("x")) as ctx:
            ctx.meta["cco.format"] = wanted
            ctx.meta["cco.no_color"] = True
            output.emit(data, **more)  # type: ignore[arg-type]  # passed on as given
        return capsys.readouterr().out

    return emit


def test_json_is_the_default_in_a_pipe(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Programs get the sidecar's own JSON; an empty list is one."""
    sidecar.on("GET", "/api/agents", AGENTS)
    assert json.loads(cco("agent", "list").stdout) == AGENTS


def test_table(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A table has a line an agent; markup in data is data."""
    sidecar.on("GET", "/api/agents", AGENTS)
    lines = cco("agent", "list", "--format", "table").stdout.splitlines()
    assert lines[0].split("  ")[0] == "AGENT ID"
    assert lines[1].split() == ["a-1", "tester", "i", "running", "7"]
    assert lines[2].startswith("grün,[red]")
    assert len(lines) == 3


def test_empty_table(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Nothing to list is no failure, and nothing on stdout."""
    sidecar.on("GET", "/api/agents", {"agents": []})
    found = cco("agent", "list", "--format", "table")
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr


def test_csv(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """CSV has a header, also without rows, and quotes what needs it."""
    sidecar.on("GET", "/api/agents", AGENTS)
    sidecar.on("GET", "/api/agents", {"agents": []})
    rows = list(csv.DictReader(io.StringIO(cco("agent", "list", "--format", "csv").stdout)))
    assert [row["agent_id"] for row in rows] == ["a-1", "grün,[red]"]
    assert cco("agent", "list", "--format", "csv").stdout.startswith("agent_id,agent_type")


def test_yaml(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """YAML means the same as the JSON."""
    sidecar.on("GET", "/api/agents", AGENTS)
    assert yaml.safe_load(cco("agent", "list", "--format", "yaml").stdout) == AGENTS


def test_wrong_format(cco: "Cco") -> None:
    """A format that there is not is wrong usage."""
    found = cco("agent", "list", "--format", "xml")
    assert found.exit_code == 2
    assert "json" in found.stderr


def test_object_as_table(emitted: Emit) -> None:
    """One object is a line a field; objects within it are taken apart."""
    lines = emitted({"status": "healthy", "checks": {"storage": "ok", "none": {}}}, "table").splitlines()
    assert [line.split() for line in lines] == [
        ["status", "healthy"],
        ["checks.storage", "ok"],
        ["checks.none", "{}"],
    ]


def test_object_as_csv(emitted: Emit) -> None:
    """One object is one row."""
    assert emitted({"a": 1, "b": {"c": [1]}}, "csv") == "a,b.c\n1,[1]\n"


@pytest.mark.parametrize("wanted", ["json", "yaml", "csv", "table", "text"])
def test_no_control_characters_on_a_terminal(emitted: Emit, wanted: str) -> None:
    """Whatever the format, control characters of data are shown, not sent."""
    row = {"value": NASTY, NASTY: "x"}
    printed = emitted({"rows": [row]}, wanted, terminal=True, rows=[row], columns=("value", NASTY), text=NASTY)
    assert all(it.isprintable() or it == "\n" for it in printed)
    assert "[2J" in printed


@given(strategies.text())
def test_json_stays_the_same_json(text: str) -> None:
    """Escaping for the terminal does not change what the JSON means."""
    shown = output.to_json({text: [text]})
    assert json.loads(shown) == {text: [text]}
    assert all(it.isprintable() or it in "\n " or ord(it) > 0x9F for it in shown)
    shown.encode()


def test_narrow_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stdout that knows ASCII alone gets escapes, not a traceback."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.write("grün\n")
    assert raw.getvalue() == b"gr\\xfcn\n"


def test_colours(emitted: Emit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe never gets colours, even where the terminal would."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in emitted([], "table", rows=[{"status": "failed"}], columns=("status",))
