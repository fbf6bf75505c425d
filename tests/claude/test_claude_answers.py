"""The harness itself: a real `claude` talks to a scripted model."""

from pathlib import Path

from tests.claude.real_claude import DUMMY_KEY, RealClaude, needs_claude, result_of
from tests.claude.scripted_api import ScriptedApi, Text, ToolUse, Trouble, in_order


@needs_claude
def test_claude_says_what_the_script_says(tmp_path: Path) -> None:
    """The prompt reaches the model under the dummy key, and its text comes out."""
    with ScriptedApi(in_order(Text("The answer is 42, says the script."))) as api:
        claude = RealClaude(tmp_path / "home", api)
        done = claude.run(tmp_path, "-p", "What is the answer?")
    assert (done.returncode, done.stdout.strip()) == (0, "The answer is 42, says the script."), done
    assert "What is the answer?" in api.turns[0].text
    assert api.turns[0].headers["x-api-key"] == DUMMY_KEY


@needs_claude
def test_claude_calls_the_tool_that_the_script_names(tmp_path: Path) -> None:
    """A call is carried out and its answer goes back to the model; the stream tells turns, tokens and cost."""
    (tmp_path / "note.txt").write_text("the grass is blue")
    read = ToolUse("Read", {"file_path": str(tmp_path / "note.txt")}, call_id="toolu_read")
    with ScriptedApi(in_order((Text("I look."), read), Text("It is blue."))) as api:
        claude = RealClaude(tmp_path / "home", api)
        result = result_of(claude.ask(tmp_path, "What colour is the grass?"))
    assert "the grass is blue" in api.turns[1].results["toolu_read"]
    assert result["result"] == "It is blue."
    assert result["num_turns"] == 2
    assert result["usage"]["output_tokens"] > 0
    assert result["total_cost_usd"] > 0


@needs_claude
def test_claude_tries_again_after_an_overload(tmp_path: Path) -> None:
    """A 529 is repeated by claude itself."""
    with ScriptedApi(in_order(Trouble(529), Text("Back again."))) as api:
        claude = RealClaude(tmp_path / "home", api)
        result = result_of(claude.ask(tmp_path, "Hello?"))
    assert result["result"] == "Back again."
    assert len(api.turns) == 2
