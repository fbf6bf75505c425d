"""One agent for all programs of a person's `claude`: what is kept, when it is asked for anew, who is whom."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cco_sidecar import runfile
from cco_sidecar.cli import person_files
from cco_sidecar.cli.asking import Trouble
from cco_sidecar.cli.claude_process import Process, machine
from cco_sidecar.cli.person import Agent, Person, who
from cco_sidecar.cli.person_files import Busy, Kept, PersonFiles, Unkept, key_of

if TYPE_CHECKING:
    from tests.cli.conftest import ScriptedSidecar

TOKENS = ("POST", "/api/tokens")


def a_token(agent_id: str, ends_in: float = 3600, jti: str = "jti-1") -> str:
    """Make what can be read as a token."""
    claims = {"sub": agent_id, "jti": jti, "exp": int(time.time() + ends_in)}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def me() -> Process:
    """Give a process that runs: this one."""
    ticks = runfile.start_ticks(os.getpid())
    assert ticks is not None
    return Process(machine(), os.getpid(), ticks)


GONE = Process(machine(), os.getpid(), 7)
"""One that had this pid before."""


def files_of(home: Path, process: Process, session: str = "") -> PersonFiles:
    key = key_of(process, session)
    assert key is not None
    return PersonFiles(home, key, machine())


def person(
    home: Path, sidecar: "ScriptedSidecar", process: Process, session: str = "", **environ: str
) -> tuple[Person, PersonFiles]:
    """Make a program of the `claude` that ``process`` is."""
    files = files_of(home, process)
    variables = {"CCO_HOME": str(home), "CLAUDE_PROJECT_DIR": "/nowhere", **environ}
    return Person(sidecar.url, variables, files, session, lambda: 5.0), files


def asked_for(sidecar: "ScriptedSidecar") -> list[dict[str, Any]]:
    return [one.body for one in sidecar.asked if one.path == "/api/tokens"]


def test_programs_of_one_claude_are_one_agent(home: Path, sidecar: "ScriptedSidecar") -> None:
    """The first asks, with an id of its own making; the next shows the same token."""
    sidecar.on(*TOKENS, {"token": a_token("x")}, 201)
    first, files = person(home, sidecar, me(), "s-1", CCO_ISSUE="issue-7", PROJECT_ID="shop")
    second, _ = person(home, sidecar, me(), "s-1", CCO_ISSUE="issue-8")
    assert first.token() == second.token() == a_token("x")
    (body,) = asked_for(sidecar)
    agent_id = body["agent_id"]
    assert agent_id.startswith("chief-architect-")
    assert body == {
        "agent_type": "chief-architect",
        "issue_id": "issue-7",  # what the first was told counts
        "agent_id": agent_id,
        "project_id": "shop",
    }
    assert sidecar.asked[0].headers["authorization"] == "Bearer the-admin-token"
    kept = files.read()
    assert kept == Kept(agent_id, "issue-7", "shop", "s-1", sidecar.url, a_token("x"))


def test_what_is_kept_is_private(home: Path, sidecar: "ScriptedSidecar") -> None:
    """Nobody else can read it, and it is not where a repository would be."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    person(home, sidecar, me(), "s-1")[0].token()
    directory = home / "run" / "persons"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert "t" not in json.loads((directory / "sessions.json").read_text())["s-1"].values()


def test_two_claudes_are_two_agents(home: Path, sidecar: "ScriptedSidecar") -> None:
    """Also in the same directory, on the same issue; what one has left that has gone is cleared away."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    gone, files = person(home, sidecar, GONE)
    assert gone.is_news("late")
    person(home, sidecar, me(), "s-1")[0].token()
    person(home, sidecar, me()._replace(pid=os.getppid()), "s-2")[0].token()
    one, other = asked_for(sidecar)
    assert one["agent_id"] != other["agent_id"]
    assert files.read() is None


@pytest.mark.parametrize("why", ["ended", "refused", "elsewhere"])
def test_a_token_is_asked_for_anew(home: Path, sidecar: "ScriptedSidecar", why: str) -> None:
    """For the same agent: when it has ended, when it was refused, and when the sidecar is another one."""
    old = a_token("x", 2 if why == "ended" else 3600)
    sidecar.on(*TOKENS, {"token": old}, 201)
    sidecar.on(*TOKENS, {"token": "new"}, 201)
    asker, files = person(home, sidecar, me(), "s-1")
    assert asker.token() == old
    kept = files.read()
    assert kept is not None
    if why == "elsewhere":
        files.write(kept._replace(url="http://127.0.0.1:9"))
    assert asker.token(old if why == "refused" else None) == "new"
    one, other = asked_for(sidecar)
    assert one["agent_id"] == other["agent_id"] == kept.agent_id


def test_a_refused_token_that_another_program_replaced(home: Path, sidecar: "ScriptedSidecar") -> None:
    """Nothing is asked then."""
    asker, files = person(home, sidecar, me())
    with files.locked(1.0):
        files.write(Kept("a", "main", None, "", sidecar.url, "newer"))
    assert asker.token("older") == "newer"
    assert sidecar.asked == []


def test_successors(home: Path, sidecar: "ScriptedSidecar") -> None:
    """What follows is kept for all; what is older, of another agent, or no token at all, is not."""
    asker, files = person(home, sidecar, me())
    with files.locked(1.0):
        files.write(Kept("a", "main", None, "", sidecar.url, a_token("a", 100)))
    for wrong in (a_token("a", 50), a_token("b", 500), "x"):
        asker.take(wrong)
    assert asker.token() == a_token("a", 100)
    asker.take(a_token("a", 3600))
    assert person(home, sidecar, me())[0].token() == a_token("a", 3600)


def test_a_resumed_session_is_the_agent_that_it_was(home: Path, sidecar: "ScriptedSidecar") -> None:
    """In another process, when the first has ended; by its server, which knows the session, as by its hooks."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    first, _ = person(home, sidecar, GONE, "s-1")
    first.token()
    first.leave()
    person(home, sidecar, me(), "s-1")[0].token()
    one, other = asked_for(sidecar)
    assert one["agent_id"] == other["agent_id"]


def test_a_session_that_two_go_on_with(home: Path, sidecar: "ScriptedSidecar") -> None:
    """While the first runs, the second is another agent; one that was killed does not run."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    person(home, sidecar, me(), "s-1")[0].token()
    person(home, sidecar, GONE, "s-1")[0].token()
    person(home, sidecar, GONE._replace(start_ticks=8), "s-1")[0].token()
    first, second, third = (body["agent_id"] for body in asked_for(sidecar))
    assert first != second
    assert third == second


def test_another_issue_is_another_agent(home: Path, sidecar: "ScriptedSidecar") -> None:
    """An agent works on one issue of one project: a session that goes on with another one is a new agent."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    for environ in ({}, {"CCO_ISSUE": "issue-2"}, {"PROJECT_ID": "shop"}):
        asker, _ = person(home, sidecar, GONE, "s-1", **environ)
        asker.token()
        asker.leave()
    assert len({body["agent_id"] for body in asked_for(sidecar)}) == 3


def test_a_session_that_becomes_known_late(home: Path, sidecar: "ScriptedSidecar") -> None:
    """`claude --continue` tells its server another session than its hooks: all then become the agent that it was."""
    sidecar.on(*TOKENS, {"token": a_token("x", jti="jti-old")}, 201)
    sidecar.on("DELETE", "/api/tokens/jti-old", {"revoked": ["jti-old"]})
    before, _ = person(home, sidecar, GONE, "s-1")
    before.token()
    before.leave()
    server, files = person(home, sidecar, me(), "made-up")
    server.token()
    hook, _ = person(home, sidecar, me(), "s-1")
    hook.attend("s-1", is_resumed=True)
    hook.token()
    server.token()
    was, made_up, again = (body["agent_id"] for body in asked_for(sidecar))
    assert was == again != made_up
    assert ("DELETE", "/api/tokens/jti-old") in [(one.method, one.path) for one in sidecar.asked]
    kept = files.read()
    assert kept is not None
    assert (kept.agent_id, kept.session_id) == (was, "s-1")


def test_a_new_session_in_the_same_claude(home: Path, sidecar: "ScriptedSidecar") -> None:
    """After /clear it is the same agent, and so it is when the later session is resumed."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    asker, _ = person(home, sidecar, GONE, "s-1")
    asker.token()
    asker.attend("s-2", is_resumed=False)
    asker.leave()
    person(home, sidecar, me(), "s-2")[0].token()
    one, other = asked_for(sidecar)
    assert one["agent_id"] == other["agent_id"]


def test_trouble_is_told_once(home: Path, sidecar: "ScriptedSidecar") -> None:
    """The same kind is no news until something went well, in whatever program of the claude."""
    one, _ = person(home, sidecar, me())
    other, _ = person(home, sidecar, me())
    assert [one.is_news("late"), other.is_news("late"), one.is_news("AUTH_001")] == [True, False, True]
    other.went_well()
    assert one.is_news("AUTH_001")
    (home / "run" / "persons").chmod(0o700)
    assert asked_for(sidecar) == []


def test_refusals(home: Path, sidecar: "ScriptedSidecar") -> None:
    """The sidecar's own words come through; a sidecar of another machine is not shown this one's admin token."""
    sidecar.refuse(*TOKENS, 400, "VAL_001", "issue_id is wrong.")
    with pytest.raises(Trouble, match="issue_id is wrong") as caught:
        person(home, sidecar, me())[0].token()
    assert (caught.value.kind, caught.value.status) == ("VAL_001", 400)
    away = Person("http://example.invalid:1", {"CCO_HOME": str(home)}, Unkept(), "", lambda: 1.0)
    with pytest.raises(Trouble, match="CCO_TOKEN"):
        away.token()


def test_files_of_those_that_have_gone(home: Path) -> None:
    """They are removed when another one begins; of those nobody can know about, the ones that are old."""
    gone, runs = files_of(home, GONE), files_of(home, me())
    other_boot = files_of(home, me()._replace(machine="0.1"))
    by_session = PersonFiles(home, str(key_of(None, "s-9")), "")
    kept = Kept("a", "main", None)
    with runs.locked(1.0):
        for files in (gone, runs, other_boot, by_session):
            files.write(kept)
    files_of(home, me()._replace(pid=1)).sweep()
    assert [files.read() for files in (gone, runs, other_boot, by_session)] == [None, kept, kept, kept]
    old = time.time() - person_files.UNUSED_SECONDS - 1
    directory = home / "run" / "persons"
    (directory / ".1.2.3-4.json.77").write_text("{")
    for path in directory.iterdir():
        os.utime(path, (old, old))
    runs.sweep()
    assert sorted(path.name for path in directory.iterdir()) == ["claude.lock", f"{key_of(me(), '')}.json"]


def test_sessions_are_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten; what is no session's name is not written down."""
    monkeypatch.setattr(person_files, "MOST_SESSIONS", 2)
    files = files_of(home, me())
    with files.locked(1.0):
        for session in ("s-1", "s-2", "s-1", "s-3", "../x", ""):
            files.remember(Kept("a", "main", None, session))
    assert list(json.loads((home / "run" / "persons" / "sessions.json").read_text())) == ["s-1", "s-3"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"agent_id": 7, "issue_id": "main", "project_id": null}', "{" * 9999]
)
def test_damaged_files(home: Path, sidecar: "ScriptedSidecar", text: str) -> None:
    """They are as if they were not there."""
    sidecar.on(*TOKENS, {"token": "t"}, 201)
    asker, files = person(home, sidecar, me(), "s-1")
    asker.token()
    (home / "run" / "persons" / f"{key_of(me(), '')}.json").write_text(text)
    (home / "run" / "persons" / "sessions.json").write_text(text)
    assert files.read() is None
    assert asker.token() == "t"
    assert files.read() is not None


def test_a_home_that_cannot_be_written(home: Path, sidecar: "ScriptedSidecar") -> None:
    """That is a trouble, with the path in it, and always news."""
    (home / "run").write_text("a file")
    asker, _ = person(home, sidecar, me())
    with pytest.raises(Trouble, match="persons"):
        asker.token()
    assert [asker.is_news("files"), asker.is_news("files")] == [True, True]


def test_who_is_kept_out(home: Path) -> None:
    """Another process waits for the lock, for so long; another claude's is another lock."""
    files = files_of(home, me())
    program = (
        "import sys, time; from pathlib import Path; from cco_sidecar.cli.person_files import PersonFiles\n"
        "with PersonFiles(Path(sys.argv[1]), sys.argv[2], '').locked(1):\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(home), str(key_of(me(), ""))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(Busy), files.locked(0.05):
            pass
        with files_of(home, GONE).locked(0.05), files.all_locked(0.05):
            pass
        holder.stdin.close()
        assert holder.wait() == 0
    with files.locked(0.05):
        pass


def test_who(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent by its environment or a flag; else a person, whose programs belong together if that can be known."""

    def left() -> float:
        return 1.0

    environ = {"CCO_HOME": str(home)}
    for name in ("AGENT_ID", "JWT_TOKEN", "JWT_TOKEN_FILE", "CCO_TOKEN"):
        assert isinstance(who(None, None, {**environ, name: "x"}, left), Agent), name
    assert isinstance(who(None, "flag", environ, left), Agent)
    alone = who(None, None, environ, left)
    assert isinstance(alone, Person)
    assert isinstance(alone._files, Unkept)
    by_session = who(None, None, environ, left, "s-1")
    assert isinstance(by_session, Person)
    assert isinstance(by_session._files, PersonFiles)
    assert by_session._files._path.name == "session.0.s-1.json"
    here = who(None, None, {**environ, "CLAUDE_CODE_SESSION_ID": "s-1"}, left)
    assert isinstance(here, Person)
    assert isinstance(here._files, PersonFiles)
    assert here._files._path.name.startswith(f"{machine()}.{os.getppid()}-")


def test_an_agent_without_a_token(home: Path) -> None:
    """It does not become the admin."""
    (home / "admin-token").write_text("the-admin-token")
    with pytest.raises(Trouble, match="no token"):
        who(None, None, {"CCO_HOME": str(home), "AGENT_ID": "a-1"}, lambda: 1.0).token()


def test_an_agent_of_its_own(home: Path, tmp_path: Path) -> None:
    """It reads its token once, takes its successors, and reads again what was refused."""
    file = tmp_path / "token"
    file.write_text("one\n")
    asker = who(None, None, {"CCO_HOME": str(home), "JWT_TOKEN_FILE": str(file)}, lambda: 1.0)
    assert asker.token() == "one"
    asker.take("two")
    file.write_text("three\n")
    assert [asker.token(), asker.token("two")] == ["two", "three"]
