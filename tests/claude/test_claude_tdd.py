"""The packaged workflow `tdd` with real `claude` processes: ten and more at once, and nobody but them does anything."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from cco_sidecar.core.context.tokens import tokens_in
from tests.claude.cast import Part, Piece, Role, ask, cco, use
from tests.claude.fleet import Fleet, command_of, until
from tests.claude.real_claude import needs_claude

CONTEXT_TOKENS = 2_000
BRIEFING_TOKENS = 1_000
START_TOKENS = 2_000
"""The most that a hook tells at the start."""
MOST_TOKENS = 40_000
"""What a model may be asked with: Claude Code's own instructions and tools (28,000), ours, what the work brought."""
WAIT_MS = 60_000

NEWS = {
    "chief-architect": "architecture_defined",
    "test-engineer": "tests_written",
    "tdd-coding-agent": "implementation_complete",
    "test-automator": "tests_passing",
    "security-auditor": "security_audited",
    "documentation-expert": "documentation_complete",
    "code-reviewer": "review_complete",
}
"""What each type publishes, in the order of the workflow."""


def edited(answer: str) -> bool:
    """Say whether Claude Code made an edit."""
    return "has been updated" in answer or "created successfully" in answer


@define(eq=False)
class Story:
    """What the agents do, and what came of it.

    In each phase the agents of all issues want the same file. One gets it, the others are refused and write one of
    their own. Who is done waits, as long as ``lingers`` says so, until its issue is done.
    """

    root: Path
    issues: int
    lingers: bool
    edits: defaultdict[str, set[str]] = field(factory=lambda: defaultdict(set))
    denials: "Counter[str]" = field(factory=Counter)
    given: list[tuple[int, int]] = field(factory=list)
    """Tokens that were asked for, and that came."""

    def part(self, role: Role) -> Part:
        """Play any of the types."""
        yield from self._read_up()
        shared = f"shared/{role.agent_type}.txt"
        own = f"work/{role.issue_id}/{role.agent_type}.txt"
        path = shared if (yield from self._edit(role, shared)) else own
        if path == own:
            assert (yield from self._edit(role, own)), own
        yield from ask("publish_event", event_type="turn_taken", topic=role.agent_type, data={"path": path})
        yield from self._wait(f"topic:{role.agent_type}", "turn_taken", self.issues)
        yield from ask("store_result", result={"status": "success", "files_affected": [path]})
        news = NEWS[role.agent_type]
        yield from ask("publish_event", event_type=news, topic=role.issue_id, data={"path": path})
        if self.lingers:
            yield from self._wait(f"topic:{role.issue_id}", "review_complete", 1)
        return f"I wrote {path}."

    def _read_up(self) -> Piece[None]:
        for tool, budget in (("briefing", BRIEFING_TOKENS), ("get_context", CONTEXT_TOKENS)):
            text = yield from cco(tool, budget_tokens=budget)
            text = text.partition("\n\n<system-reminder>")[0]
            assert text.startswith("#"), text
            self.given.append((budget, tokens_in(len(text.encode()))))

    def _edit(self, role: Role, path: str) -> Piece[bool]:
        """Claim and edit a file; who does not get the claim tries the edit nevertheless, and is denied."""
        claimed = yield from cco("claim", resource=path)
        if path.startswith("shared/"):
            answer = yield from self._try_to_edit(role, self.root / path)
        else:
            answer = yield from use("Write", file_path=str(self.root / path), content=role.agent_id)
        assert edited(answer) == ('"fence"' in claimed), (claimed, answer)
        if edited(answer):
            self.edits[path].add(role.agent_id)
            return True
        assert f"'{path}' is claimed by 'agent-" in answer, answer
        assert "Do other work first" in answer, answer
        self.denials[path] += 1
        return False

    def _try_to_edit(self, role: Role, path: Path) -> Piece[str]:
        """Edit a file that others edit, too: what has changed meanwhile is to be read again."""
        while True:
            text = yield from use("Read", file_path=str(path))
            by = text.partition("by ")[2].partition("\n")[0]
            answer = yield from use("Edit", file_path=str(path), old_string=by, new_string=role.agent_id)
            if "modified since read" not in answer and "not found in file" not in answer:
                return answer

    def _wait(self, only: str, event_type: str, count: int) -> Piece[None]:
        """Wait until there were so many."""
        seen, cursor = 0, "earliest"
        while seen < count:
            found = yield from ask("wait_for_event", event_type=event_type, filter=only, timeout=WAIT_MS, since=cursor)
            assert found["events"], f"{event_type}: {seen} of {count}"
            seen, cursor = seen + len(found["events"]), found["next_cursor"]


@define(eq=False)
class Watch:
    """Counts the agents' processes from outside."""

    fleet: Fleet
    most: int = 0

    def look(self) -> None:
        """Count those that are alive now."""
        agents = self.fleet.ok("GET", "/api/agents?status=running&limit=200")["agents"]
        commands = [command_of(agent["process_id"]) for agent in agents if agent["process_id"]]
        self.most = max(self.most, len([command for command in commands if command.startswith("claude -p ")]))


def run_through(fleet: Fleet, issues: int, lingers: bool, seconds: float) -> tuple[Story, Watch]:
    """Let the workflow run on several issues at once, to its end."""
    (fleet.root / "shared").mkdir()
    for agent_type in NEWS:
        (fleet.root / "shared" / f"{agent_type}.txt").write_text("by nobody")
    story, watch = Story(fleet.root, issues, lingers), Watch(fleet)
    fleet.plays |= dict.fromkeys(NEWS, story.part)
    names = [f"issue-{number}" for number in range(issues)]
    for name in names:
        fleet.ok("POST", f"/api/issues/{name}/start", {"task": f"Build part {name}.", "workflow": "tdd"})

    def is_over() -> bool:
        watch.look()
        assert fleet.cast.troubles == [], fleet.cast.troubles
        return all(fleet.ok("GET", f"/api/issues/{name}")["status"] == "done" for name in names)

    def what() -> str:
        return str([fleet.ok("GET", f"/api/issues/{name}")["phases"] for name in names])

    until(is_over, what, seconds)
    return story, watch


def contexts_at_start(fleet: Fleet, agent_id: str) -> Iterator[str]:
    """Give what an agent's model was told by the hook at its start."""
    for line in fleet.log(agent_id).splitlines():
        found = json.loads(line)
        if found.get("subtype") == "hook_response":
            assert found["outcome"] == "success", found
            yield json.loads(found["stdout"])["hookSpecificOutput"]["additionalContext"]


def check(fleet: Fleet, story: Story) -> None:
    """Say that all phases happened, each context was within its budget, and no file was edited by two."""
    for number in range(story.issues):
        issue = fleet.ok("GET", f"/api/issues/issue-{number}")
        for phase in issue["phases"]:
            [agent] = phase["agents"]
            assert (phase["state"], agent["state"], agent["error"]) == ("completed", "completed", None), issue
            assert agent["published"] == [NEWS[agent["agent_type"]]]
            assert agent["attempt"] == 1
            assert agent["result_id"], issue
        assert [phase["agents"][0]["agent_type"] for phase in issue["phases"]] == list(NEWS)
    assert len(fleet.cast.roles) == story.issues * len(NEWS)
    assert {len(who) for who in story.edits.values()} == {1}
    for path, [agent_id] in story.edits.items():
        assert agent_id in (fleet.root / path).read_text(), path
    assert len(story.edits) == story.issues * len(NEWS)
    assert story.denials == {f"shared/{agent_type}.txt": story.issues - 1 for agent_type in NEWS}
    assert len(story.given) == 2 * story.issues * len(NEWS)
    assert [given for given in story.given if given[1] > given[0]] == []
    assert max(tokens_in(len(json.dumps(asked.body))) for asked in fleet.api.turns) < MOST_TOKENS
    begun = [context for agent_id in fleet.cast.roles for context in contexts_at_start(fleet, agent_id)]
    assert len(begun) == story.issues * len(NEWS)
    assert [context for context in begun if tokens_in(len(context.encode())) > START_TOKENS] == []
    assert {event["publisher"] for event in fleet.events("*", limit="1000")} == {"sidecar", *fleet.cast.roles}


@needs_claude
def test_ten_at_once(fleet: Fleet) -> None:
    """Two issues, and who is done stays until its issue is: fourteen are alive at the end."""
    story, watch = run_through(fleet, issues=2, lingers=True, seconds=100)
    check(fleet, story)
    assert watch.most >= 10


@needs_claude
@pytest.mark.soak
def test_ten_issues_at_once(fleet: Fleet) -> None:
    """Seventy agents, ten of them at a time in each phase."""
    story, watch = run_through(fleet, issues=10, lingers=False, seconds=600)
    check(fleet, story)
    assert watch.most >= 10
