"""Claims over HTTP: one winner of every race, turns that are kept, and what ends a claim."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.web.sidecar import Client, Sidecar, unique, until

RACERS = 64


def claim(agent: Client, *resources: str, wait: int = 0, **more: object) -> dict[str, object]:
    body = {"resource": resources[0]} if len(resources) == 1 else {"resources": list(resources)}
    answer: dict[str, object] = agent.post("/api/claims", {**body, **more}, wait=wait).ok(201)
    return answer


def test_claim_renew_release(sidecar: Sidecar) -> None:
    """The whole life of a claim."""
    one, other = sidecar.agent(), sidecar.agent()
    root = unique("dir")
    made = claim(one, f"{root}/**", f"name:{root}", ttl_seconds=60)
    assert set(made) == {
        "id", "fence", "resources", "mode", "agent_id", "agent_type", "issue_id", "since", "ttl_seconds", "expires_at",
    }  # fmt: skip
    assert made["resources"] == [f"{root}/**", f"name:{root}"]
    refused = other.post("/api/claims", {"resource": f"./{root}//a"}).refused(409, "CLM_001").json
    assert refused["error"] == "claimed"
    assert (refused["details"]["agent_id"], refused["details"]["issue_id"]) == (one.agent_id, one.issue_id)
    assert (refused["details"]["since"], refused["details"]["until"]) == (made["since"], made["expires_at"])
    path = f"/api/claims/{made['id']}"
    assert one.post(f"{path}/renew").ok()["fence"] == made["fence"]
    assert one.post(f"{path}/renew", {"ttl_seconds": 5}).ok()["ttl_seconds"] == 5
    [line] = other.get("/api/claims", resource=f"{root}/x").ok()["claims"]
    assert line["id"] == made["id"]
    assert other.get("/api/claims", agent=other.agent_id).ok() == {"claims": [], "waiting": []}
    assert one.delete(path).ok() == {"id": made["id"], "released": True}
    one.delete(path).refused(404, "NOT_FOUND")
    assert int(str(claim(other, f"{root}/a")["fence"])) > int(str(made["fence"]))


def test_the_project_is_its_own(sidecar: Sidecar) -> None:
    """The same path in another project is another path; below the root an absolute one is taken."""
    name = unique("file")
    claim(sidecar.agent(), name)
    claim(sidecar.agent(project_id="beta"), name)
    root = sidecar.settings.projects["alpha"]
    sidecar.agent().post("/api/claims", {"resource": f"{root}/{name}"}).refused(409, "CLM_001")
    sidecar.agent(project_id="beta").post("/api/claims", {"resource": f"{root}/x"}).refused(400, "VAL_002")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"resource": "a", "resources": ["b"]}, {"resources": []}, {"resources": ["a"] * 65}, {"resource": ""},
        {"resource": "../x"}, {"resource": 1}, {"resource": "a", "ttl_seconds": 0}, {"resource": "a", "mode": "both"},
        {"resource": "a", "ttl_seconds": 86_401}, {"resource": "a", "ttl": 5}, {"resource": "\ud800"},
    ],
)  # fmt: skip
def test_wrong_bodies(body: dict[str, object], sidecar: Sidecar) -> None:
    """What is no claim is refused, with its place."""
    answer = sidecar.agent().post("/api/claims", body).refused(400, "VAL_002")
    assert answer.json["details"]["path"].startswith("$")


def test_wrong_queries(sidecar: Sidecar) -> None:
    """So is a wait that is none, and a resource that is none."""
    for wait in ("-1", "300001", "soon"):
        sidecar.agent().post("/api/claims", {"resource": "a"}, wait=wait).refused(400, "VAL_001")
    sidecar.admin.get("/api/claims", resource="a/../b").refused(400, "VAL_001")


def test_in_turn(sidecar: Sidecar) -> None:
    """Who waits has it when it is released; parked time is no response time, and a place is counted as a poll."""
    name = unique("file")
    held = claim(sidecar.agent(), name)
    first, second = sidecar.agent(), sidecar.agent()
    futures = []
    for number, agent in enumerate((first, second), 1):
        futures.append(sidecar.later(claim, agent, name, wait=10_000))
        sidecar.until_parked(number)
    waiting = sidecar.admin.get("/api/claims", resource=name).ok()["waiting"]
    assert [line["agent_id"] for line in waiting] == [second.agent_id, first.agent_id]
    sidecar.admin.delete(f"/api/claims/{held['id']}").ok()
    assert futures[0].result(5)["agent_id"] == first.agent_id
    assert not futures[1].done()
    first.delete(f"/api/claims/{futures[0].result()['id']}").ok()
    assert futures[1].result(5)["agent_id"] == second.agent_id


def test_time_is_up(sidecar: Sidecar) -> None:
    """A wait that was in vain is the refusal that it would have been at once."""
    name = unique("file")
    claim(sidecar.agent(), name)
    began = time.monotonic()
    sidecar.agent().post("/api/claims", {"resource": name}, wait=150).refused(409, "CLM_001")
    assert time.monotonic() - began >= 0.14


def test_hanging_up(sidecar: Sidecar) -> None:
    """A client that goes frees its place, and the next has its turn."""
    name = unique("file")
    held = claim(sidecar.agent(), name)
    gone = sidecar.wire()
    body = b'{"resource":"%s"}' % name.encode()
    gone.send(sidecar.agent().raw("POST", "/api/claims?wait=10000", body))
    sidecar.until_parked(1)
    there = sidecar.agent()
    future = sidecar.later(claim, there, name, wait=10_000)
    sidecar.until_parked(2)
    gone.reset()
    sidecar.until_parked(1)
    sidecar.admin.delete(f"/api/claims/{held['id']}").ok()
    assert future.result(5)["agent_id"] == there.agent_id


def test_too_many_waits(sidecar: Sidecar) -> None:
    """An agent has 32 places to wait, claims and events together."""
    name = unique("file")
    held = claim(sidecar.agent(), name)
    agent = sidecar.agent()
    futures = [sidecar.later(claim, agent, name, wait=10_000) for _ in range(32)]
    sidecar.until_parked(32)
    answer = agent.post("/api/claims", {"resource": name}, wait=1000).refused(429, "RATE_002")
    assert answer.headers["Retry-After"]
    sidecar.admin.delete(f"/api/claims/{held['id']}").ok()
    assert len({future.result(5)["id"] for future in futures}) == 1, "all of one agent have the same claim"


def test_ends_with_the_process(sidecar: Sidecar) -> None:
    """The claims of an agent that the sidecar started are free when it is gone, and its wait is over."""
    spawn = {"agent_type": "python-specialist", "issue_id": unique("issue"), "runner": "idle"}
    agent_id = sidecar.admin.post("/api/agents/spawn", spawn).ok(201)["agent_id"]
    agent = sidecar.agent("python-specialist", str(spawn["issue_id"]), agent_id=agent_id)
    mine, other = unique("file"), unique("file")
    claim(agent, mine)
    claim(sidecar.agent(), other)
    waiting = sidecar.later(agent.post, "/api/claims", {"resource": other}, wait=10_000)
    sidecar.until_parked(1)
    heir = sidecar.later(claim, sidecar.agent(), mine, wait=10_000)
    sidecar.until_parked(2)
    sidecar.admin.delete(f"/api/agents/{agent_id}", force="true").ok()
    waiting.result(5).refused(401, "AUTH_004")
    heir.result(5)


def test_ends_with_the_token(sidecar: Sidecar) -> None:
    """Those of any other agent end when its token is revoked, or is over."""
    name = unique("file")
    agent = sidecar.agent(ttl_seconds=1)
    claim(agent, name)
    heir = sidecar.agent()
    claim(heir, name, wait=5_000)
    jti = sidecar.inside(lambda: sidecar.service.parts.tokens.verify(str(heir.token).encode()).jti)
    sidecar.admin.delete(f"/api/tokens/{jti}").ok()
    claim(sidecar.agent(), name)


def test_lasts(start: Callable[..., Sidecar]) -> None:
    """After a restart it is there, with its end and its fence; who waits is answered at the stop."""
    first = start()
    agent, other = first.agent(issue_id="issue-1"), first.agent(issue_id="issue-1")
    made = claim(agent, "src/**", ttl_seconds=600)
    waiting = first.later(other.post, "/api/claims", {"resource": "src/a"}, wait=10_000)
    first.until_parked(1)
    first.stop()
    waiting.result(5).refused(409, "CLM_001")
    second = start()
    assert second.admin.get("/api/claims").ok()["claims"] == [made]
    again = Client(second, agent.token)
    assert again.post(f"/api/claims/{made['id']}/renew").ok()["fence"] == made["fence"]
    assert int(str(claim(again, "other")["fence"])) > int(str(made["fence"]))


# Races


def one_name(sidecar: Sidecar, rounds: int) -> int:
    """Let 64 agents ask for one path at the same time, again and again; gives how many races had one winner."""
    agents = [sidecar.agent() for _ in range(RACERS)]
    won = last_fence = 0
    with ThreadPoolExecutor(RACERS) as pool:
        for _ in range(rounds):
            name, barrier = unique("race"), Barrier(RACERS)

            def ask(agent: Client, name: str = name, barrier: Barrier = barrier) -> tuple[int, dict[str, object]]:
                barrier.wait(10)
                answer = agent.post("/api/claims", {"resource": f"{name}/*"})
                return answer.status, answer.json

            answers = list(pool.map(ask, agents))
            assert sorted(status for status, _ in answers) == [201] + [409] * (RACERS - 1)
            [winner] = [made for status, made in answers if status == 201]
            losers = {refusal["details"]["agent_id"] for status, refusal in answers if status == 409}  # type: ignore[index]
            assert losers == {winner["agent_id"]}, "the others are told who has it"
            assert int(str(winner["fence"])) > last_fence
            last_fence = int(str(winner["fence"]))
            sidecar.admin.delete(f"/api/claims/{winner['id']}").ok()
            won += 1
    return won


def test_one_winner(sidecar: Sidecar) -> None:
    """Of 64 that ask at once, one has it, and all others are told who."""
    assert one_name(sidecar, 20) == 20


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_one_winner_a_thousand_times(sidecar: Sidecar) -> None:
    """The same, long."""
    assert one_name(sidecar, 1000) == 1000


def test_everybody_has_a_turn(sidecar: Sidecar) -> None:
    """Of 16 that wait, each has its turn, one at a time, and in the order of the fences."""
    name = unique("file")
    inside: list[str] = []
    order: list[int] = []

    def work(agent: Client) -> None:
        made = claim(agent, name, wait=20_000)
        inside.append(agent.agent_id)
        assert len(inside) == 1, "two hold it"
        order.append(int(str(made["fence"])))
        inside.remove(agent.agent_id)
        agent.delete(f"/api/claims/{made['id']}").ok()

    futures = [sidecar.later(work, sidecar.agent()) for _ in range(16)]
    for future in futures:
        future.result(20)
    assert order == sorted(order)
    until(lambda: not sidecar.admin.get("/api/claims", resource=name).ok()["claims"], "all released")
