"""Tokens through the public door: issued, renewed, revoked, and good for others to check (contract section 3)."""

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.web.forging import HOUR, signed
from tests.web.sidecar import Sidecar, unique

DAY = 24 * HOUR


def read(token: str | None) -> dict[str, Any]:
    """Read a token's claims without checking it."""
    return jwt.decode(str(token), options={"verify_signature": False})


def test_claims(sidecar: Sidecar) -> None:
    """Whoever has the published keys can check a token, and finds every claim of the contract in it."""
    body = {"agent_type": "python-specialist", "issue_id": "issue-9", "project_id": "beta", "agent_id": unique("me")}
    answer = sidecar.admin.post("/api/tokens", body).ok(201)
    assert set(answer) == {"token", "agent_id", "expires_at"}
    *_, key = sidecar.anyone().get("/.well-known/jwks.json").ok()["keys"]  # the last one signs
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(key)
    header = jwt.get_unverified_header(answer["token"])
    assert (header["alg"], header["kid"]) == ("RS256", key["kid"])
    claims = jwt.decode(
        answer["token"], jwt.PyJWK(key), algorithms=["RS256"], audience="cco-agents", issuer="cco-sidecar"
    )
    jti, iat = claims.pop("jti"), claims.pop("iat")
    assert len(jti) >= 20
    assert abs(iat - time.time()) < 5
    assert claims == {
        "iss": "cco-sidecar",
        "aud": "cco-agents",
        "sub": body["agent_id"],
        "agent_type": "python-specialist",
        "project_id": "beta",
        "issue_id": "issue-9",
        "permissions": ["publish_events", "read_context", "write_results"],
        "nbf": iat,
        "exp": iat + HOUR,
    }
    assert answer["expires_at"] == time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(iat + HOUR))


def test_admin_token(sidecar: Sidecar) -> None:
    """The admin's token lives an hour and says so."""
    claims = read(sidecar.admin.token)
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("admin", HOUR)


def test_narrowed(sidecar: Sidecar) -> None:
    """A token can be issued with less than its type may do, for less long, and does less."""
    reader = sidecar.agent("chief-architect", permissions=["read_context"], ttl_seconds=60)
    claims = read(reader.token)
    assert (claims["permissions"], claims["exp"] - claims["iat"]) == (["read_context"], 60)
    reader.get(f"/api/context/{reader.issue_id}/chief-architect").ok()
    reader.post("/api/events/x", {"topic": "t", "data": 1}).refused(403, "AUTH_003")
    body = {"agent_type": "python-specialist", "issue_id": "i"}
    wider = sidecar.admin.post("/api/tokens", {**body, "permissions": ["spawn_agents"]}).refused(400, "VAL_002")
    assert wider.json["details"]["path"] == "$.permissions[0]"
    misspelt = sidecar.admin.post("/api/tokens", {**body, "permissions": ["read_contxt"]}).refused(400, "VAL_002")
    assert "did you mean 'read_context'" in misspelt.json["message"]
    for ttl in (0, -1, 10**9, 1.5, "60"):
        sidecar.admin.post("/api/tokens", {**body, "ttl_seconds": ttl}).refused(400, "VAL_002")


def test_one_successor(sidecar: Sidecar) -> None:
    """A token has one successor, given as often as it is asked for, also at once; both are good."""
    agent = sidecar.agent("python-specialist", permissions=["read_context"], ttl_seconds=600)
    asked = [sidecar.later(agent.post, "/api/tokens/refresh") for _ in range(8)]
    answers = {future.result().body for future in asked}
    assert len(answers) == 1
    answer = agent.post("/api/tokens/refresh").ok()
    assert set(answer) == {"token", "expires_at"}
    old, new = read(agent.token), read(answer["token"])
    assert new["jti"] != old["jti"]
    assert new["exp"] - new["iat"] == 600
    same = {"sub", "agent_type", "project_id", "issue_id", "permissions"}
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    for token in (agent.token, answer["token"]):
        sidecar.anyone(token).get("/api/agents").ok()


def test_successor_survives_a_restart(start: Callable[..., Sidecar]) -> None:
    """The successor is the same after a restart, and what was revoked stays so."""
    sidecar = start()
    agent, ended = sidecar.agent(), sidecar.agent()
    successor = agent.post("/api/tokens/refresh").ok()
    sidecar.admin.delete(f"/api/tokens/{read(ended.token)['jti']}").ok()
    sidecar.stop()
    again = start()
    assert again.anyone(agent.token).post("/api/tokens/refresh").ok() == successor
    again.anyone(successor["token"]).get("/api/agents").ok()
    again.anyone(ended.token).get("/api/agents").refused(401, "AUTH_004")


def token_with(sidecar: Sidecar, left: int, lifetime: int = HOUR) -> str:
    """Make a token that ends in ``left`` seconds."""
    return signed(sidecar, now=int(time.time()) + left - lifetime, exp=int(time.time()) + left, sub=unique("forged"))


def test_refreshed_token(sidecar: Sidecar) -> None:
    """In its last five minutes every answer to a token brings its successor, refusals too; before that none does."""
    ending = sidecar.anyone(token_with(sidecar, 290))
    brought = {
        ending.get(path).headers["X-Refreshed-Token"]
        for path in ("/api/agents", "/api/agents/nobody", "/api/events?type=..", "/api/context/x/chief-architect")
    }
    assert brought == {ending.post("/api/tokens/refresh").ok()["token"]}
    fresh = sidecar.anyone(token_with(sidecar, 330))
    assert "X-Refreshed-Token" not in fresh.get("/api/agents").headers
    assert "X-Refreshed-Token" not in fresh.get("/api/agents/nobody").headers


def test_refreshed_token_of_a_short_life(sidecar: Sidecar) -> None:
    """A short-lived token is renewed in the second half of its life, not all the time."""
    assert "X-Refreshed-Token" in sidecar.anyone(token_with(sidecar, 40, 100)).get("/api/agents").headers
    assert "X-Refreshed-Token" not in sidecar.anyone(token_with(sidecar, 60, 100)).get("/api/agents").headers


def test_refreshed_token_of_a_poll(sidecar: Sidecar) -> None:
    """A poll that was parked into its token's last five minutes brings the successor."""
    agent = sidecar.anyone(token_with(sidecar, 301))
    answer = agent.get(f"/api/events/wait/{unique('never')}", timeout=1200)
    assert answer.ok()["timeout"]
    assert "X-Refreshed-Token" in answer.headers


def test_no_successor_of_the_dead(sidecar: Sidecar) -> None:
    """Nobody gets a new token for one that is bad."""
    token = token_with(sidecar, 100)
    sidecar.admin.delete(f"/api/tokens/{read(token)['jti']}").ok()
    for answer in (sidecar.anyone(token).get("/api/agents"), sidecar.anyone(token).post("/api/tokens/refresh")):
        assert answer.refused(401, "AUTH_004").headers["X-Refreshed-Token"] is None


def test_revoke(sidecar: Sidecar) -> None:
    """Revoking ends a token and all that followed it; what came before it stays."""
    agent = sidecar.agent()
    line = [agent.token]
    for _ in range(3):
        line.append(sidecar.anyone(line[-1]).post("/api/tokens/refresh").ok()["token"])
    jtis = [read(token)["jti"] for token in line]
    assert sidecar.admin.delete(f"/api/tokens/{jtis[1]}").ok() == {"revoked": jtis[1:]}
    sidecar.anyone(line[0]).get("/api/agents").ok()
    for token in line[1:]:
        sidecar.anyone(token).get("/api/agents").refused(401, "AUTH_004")


@pytest.mark.parametrize("query", [{}, {"project": "beta"}])
def test_revoke_in_another_project(query: dict[str, str], sidecar: Sidecar) -> None:
    """A token is revoked wherever it counts, whether the admin names its project or not."""
    agent = sidecar.agent(project_id="beta")
    successor = sidecar.anyone(agent.post("/api/tokens/refresh").ok()["token"])
    parked = sidecar.later(agent.get, "/api/events/wait/never")
    sidecar.until_parked(1)
    sidecar.admin.delete(f"/api/tokens/{read(agent.token)['jti']}", **query).ok()
    parked.result().refused(401, "AUTH_004")
    agent.get("/api/agents").refused(401, "AUTH_004")
    successor.get("/api/agents").refused(401, "AUTH_004")


def test_settings(start: Callable[..., Sidecar]) -> None:
    """The settings say how long agents' tokens live; the admin's lives an hour all the same."""
    sidecar = start(tokens={"ttl_seconds": 120, "refresh_before_seconds": 1})
    claims, admin = read(sidecar.agent().token), read(sidecar.admin.token)
    assert claims["exp"] - claims["iat"] == 120
    assert admin["exp"] - admin["iat"] == HOUR


def test_rate_limits_by_category(sidecar: Sidecar) -> None:
    """Each category has the contract's bucket, each agent its own; architects and the admin have none."""
    for agent_type, size in (("python-specialist", 60), ("test-engineer", 30), ("security-auditor", 60)):
        first, second = (sidecar.agent(agent_type).get("/api/agents") for _ in range(2))
        for answer in (first, second):
            assert answer.headers["X-RateLimit-Limit"] == str(size)
            assert answer.headers["X-RateLimit-Remaining"] == str(size - 1)
            assert abs(int(answer.headers["X-RateLimit-Reset"]) - time.time()) < 5
    for who in (sidecar.agent("chief-architect"), sidecar.admin, sidecar.anyone()):
        assert who.get("/api/agents").headers["X-RateLimit-Limit"] is None


def test_rate_limit_counts_refusals(start: Callable[..., Sidecar]) -> None:
    """What is refused costs as much as what is answered; other agents do not pay for it; off is off."""
    sidecar = start(rate_limits={"categories": {"coding": {"per_minute": 1, "burst": 2}}})
    agent = sidecar.agent("python-specialist")
    agent.get("/api/nowhere").refused(404, "NOT_FOUND")
    agent.get("/api/agents/..").refused(400, "VAL_001")
    agent.get("/api/agents").refused(429, "RATE_001")
    sidecar.agent("python-specialist").get("/api/agents").ok()
    sidecar.stop()
    unlimited = start(rate_limits={"enabled": False}).agent("python-specialist")
    assert unlimited.get("/api/agents").headers["X-RateLimit-Limit"] is None
