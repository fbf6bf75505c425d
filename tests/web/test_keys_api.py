"""Keys that are changed while agents work (contract section 3)."""

import threading
from collections.abc import Callable
from pathlib import Path

import jwt

from tests.web.sidecar import Client, Sidecar, unique, until
from tests.web.test_agents_api import spawn
from tests.web.test_care_api import CARED_FOR, child_of


def key_of(token: object) -> str:
    return str(jwt.get_unverified_header(str(token))["kid"])


def published(sidecar: Sidecar) -> list[str]:
    return [key["kid"] for key in sidecar.anyone().get("/.well-known/jwks.json").ok()["keys"]]


def test_rotation_under_load(start: Callable[..., Sidecar]) -> None:
    """While agents publish, wait and renew on both paths, keys are changed four times: nobody is refused."""
    sidecar = start(rate_limits={"enabled": False})
    enough = threading.Event()
    refused: list[object] = []
    counts: list[int] = []

    def work(agent: Client) -> None:
        number = 0
        with sidecar.connection() as connection:
            while not enough.is_set():
                number += 1
                answers = [
                    agent.ask(connection, "POST", "/api/events/worked", {"topic": "t", "data": number}),
                    agent.ask(connection, "GET", "/api/events/wait/worked", timeout=0),
                    agent.ask(connection, "POST", "/api/tokens/refresh"),
                ]
                refused.extend(answer.body for answer in answers if answer.status not in {200, 202})
                if number % 5 == 0:
                    agent.token = answers[2].json["token"]
        counts.append(number)

    threads = [threading.Thread(target=work, args=(sidecar.agent(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    signing = []
    for _ in range(4):
        answer = sidecar.admin.post("/api/keys/rotate", {}).ok()
        signing.append(answer["key_id"])
        assert key_of(sidecar.agent().token) == answer["key_id"]
        assert published(sidecar)[-1] == answer["key_id"]
        assert (len(answer["verifying"]), answer["revoked"]) == (len(signing), [])
    enough.set()
    for thread in threads:
        thread.join()
    assert refused == []
    assert min(counts) > 1
    assert len(set(signing)) == 4
    sidecar.stop()
    assert published(start(rate_limits={"enabled": False}))[1:] == signing


def test_revoke(start: Callable[..., Sidecar]) -> None:
    """Revoked keys end every token and every parked poll at once; spawned agents and the admin find new ones."""
    sidecar = start(agents={"runners": CARED_FOR})
    agent = sidecar.agent()
    child = child_of(sidecar, spawn(sidecar.admin, "idle"))
    agent.publish("before")  # now the fast path knows it by heart
    files = list((sidecar.settings.home / "run").glob("*/tokens/*"))
    assert [file.read_text() for file in files] == [child.token]
    parked = sidecar.later(agent.get, "/api/events/wait/never")
    sidecar.until_parked(1)
    before = published(sidecar)
    answer = sidecar.admin.post("/api/keys/rotate", {"revoke": True}).ok()
    assert (answer["verifying"], answer["revoked"], published(sidecar)) == ([], before, [answer["key_id"]])
    parked.result(5).refused(401, "AUTH_004")
    for dead in (agent, child, sidecar.admin):
        dead.get("/api/agents").refused(401, "AUTH_001")
    agent.post("/api/events/after", {"topic": "t", "data": {}}).refused(401, "AUTH_001")
    for holder, file in ((child, files[0]), (sidecar.admin, sidecar.settings.home / "admin-token")):
        holder.token = file.read_text().strip()
        assert key_of(holder.token) == answer["key_id"]
        holder.get("/api/agents").ok()
    assert len(list((sidecar.settings.home / "keys").glob("*.pem"))) == 1


def test_unwritable(start: Callable[..., Sidecar]) -> None:
    """A new key that can't be written is refused, and all goes on as before."""
    sidecar = start()
    home: Path = sidecar.settings.home
    (home / "keys").rename(home / "elsewhere")
    (home / "keys").write_text("in the way")
    for body in ({}, {"revoke": True}):
        sidecar.admin.post("/api/keys/rotate", body).refused(500, "STR_001")
    sidecar.admin.get("/api/agents").ok()


def test_audited(start: Callable[..., Sidecar]) -> None:
    """That keys were changed is in the audit log; who may not is told so."""
    sidecar = start()
    sidecar.agent().post("/api/keys/rotate", {}).refused(403, "AUTH_003")
    sidecar.admin.post("/api/keys/rotate", {"revoke": "yes"}).refused(400, "VAL_002")
    sidecar.admin.post("/api/keys/rotate", {}).ok()
    until(lambda: "keys rotated" in (sidecar.settings.home / "audit.log").read_text(), unique("the line"))
