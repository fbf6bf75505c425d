"""Who may do what: every route for everybody (contract section 3), and names that are none (section 1)."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import jwt
import pytest
from attrs import define, evolve, field, frozen

from cco_sidecar.web.root import route_table
from cco_sidecar.web.routing import Route
from tests.web.conftest import started, stopped
from tests.web.forging import LONG_AGO, claims, key_file, signed
from tests.web.sidecar import RUNNERS, Answer, Client, Sidecar, unique

ROUTES: Mapping[str, Route] = {f"{route.method} {route.path}": route for route in route_table(Mock())}
MARK = "ONLY-IN-ALPHA"
ITS_OWN = ("heartbeat", "checkpoint", "briefing")


@define(eq=False, slots=False)
class Scene:
    """Project alpha has an issue with a type's result, an event and an agent; and here is everybody who may ask."""

    sidecar: Sidecar
    issue: str = field(factory=lambda: unique("scene"))

    def __attrs_post_init__(self) -> None:
        self.event_id = self.own.publish("scene_set", mark=MARK)["event_id"]
        self.replay_id = self.sidecar.admin.post("/api/events/replay", self.replay()).ok(202)["replay_id"]
        stored = self.own.post("/api/results", self.result(self.own)).ok(201)
        self.result_id = stored["id"]
        failed = self.architect.post("/api/agents/spawn", self.spawn("missing")).refused(500, "AGT_001")
        self.spawned = failed.json["details"]["agent_id"]
        self.task_id = self.own.post("/api/tasks", {**self.task(), "title": MARK}).ok(201)["id"]
        said = {"to": self.own.agent_id, "body": MARK}
        self.message_id = self.own.post("/api/messages", said).ok(201)["id"]
        self.budget(self.issue)
        self.own.request("PUT", f"/api/agents/{self.own.agent_id}/checkpoint", {"mark": MARK}).ok()

    @cached_property
    def running(self) -> str:
        """An agent that has a process."""
        return str(self.architect.post("/api/agents/spawn", self.spawn("idle")).ok(201)["agent_id"])

    @cached_property
    def own(self) -> Client:
        return self.sidecar.agent("python-specialist", self.issue)

    @cached_property
    def architect(self) -> Client:
        return self.sidecar.agent("chief-architect", self.issue)

    @cached_property
    def identities(self) -> Mapping[str, Client]:
        revoked = self.sidecar.agent("chief-architect", self.issue)
        jti = jwt.decode(str(revoked.token), options={"verify_signature": False})["jti"]
        self.sidecar.admin.delete(f"/api/tokens/{jti}").ok()
        anyone = self.sidecar.anyone
        return {
            "nobody": anyone(),
            "garbage": anyone("not.a.token"),
            "expired": anyone(signed(self.sidecar, issue_id=self.issue, now=LONG_AGO)),
            "revoked": revoked,
            "ended": anyone(signed(self.sidecar, issue_id=self.issue, sub=self.spawned)),
            "hook key": anyone(self.sidecar.ground.hook_keys.make("alpha", self.running)),
            "ended hook key": anyone(self.sidecar.ground.hook_keys.make("alpha", self.spawned)),
            "bare": self.sidecar.agent("chief-architect", self.issue, permissions=[]),
            "own": self.own,
            "other issue": self.sidecar.agent("chief-architect"),
            "other project": self.sidecar.agent("chief-architect", self.issue, project_id="beta"),
            "architect": self.architect,
            "admin": self.sidecar.admin,
        }

    def result(self, agent: Client) -> dict[str, object]:
        return {
            "agent_id": agent.agent_id,
            "agent_type": "python-specialist",
            "issue_id": self.issue,
            "project_id": "alpha",
            "result": {"status": "success", "mark": MARK},
        }

    def replay(self) -> dict[str, object]:
        return {"selection": {"type": "scene_set", "publisher": "nobody"}}

    def task(self) -> dict[str, object]:
        return {"title": "Scene", "agent_type": "python-specialist", "issue_id": self.issue}

    def claim(self) -> str:
        """Make a claim of the scene's agent; gives its id."""
        return str(self.own.post("/api/claims", {"resource": unique(f"name:{MARK}")}).ok(201)["id"])

    def budget(self, issue: str) -> str:
        """Set a budget of an issue; gives its id."""
        self.sidecar.admin.request("PUT", f"/api/budgets/issue/{issue}", {"tokens": 10**9}).ok()
        return issue

    def spawn(self, runner: str) -> dict[str, object]:
        return {"agent_type": "python-specialist", "issue_id": self.issue, "runner": runner}

    def path(self, route: Route, **changed: str) -> str:
        """Fill a route's path with what the scene has."""
        values = {
            "event_type": "scene_set",
            "types": "scene_set",
            "event_id": self.event_id,
            "issue_id": self.issue,
            "agent_type": "python-specialist",
            "result_id": self.result_id,
            "agent_id": self.own.agent_id if route.path.endswith(ITS_OWN) else self.spawned,
            "jti": "some-jti",
            "webhook_id": "no-such-webhook",
            "account": "no-such-account",
            "replay_id": self.replay_id,
            "task_id": self.task_id,
            "message_id": self.message_id,
            "kind": "issue",
            "budget_id": self.issue,
            **changed,
        }
        if route.path.endswith("<budget_id>") and route.method == "DELETE" and "budget_id" not in changed:
            values["budget_id"] = self.budget(unique(MARK))
        if "<claim_id>" in route.path and "claim_id" not in values:
            values["claim_id"] = self.claim()  # a new one, for asking may end it
        path = route.path
        for name, value in values.items():
            path = path.replace(f"<{name}>", value)
        return path

    def body(self, route: Route) -> object:
        """Give a body that the route takes."""
        bodies: dict[str, object] = {
            "/api/tokens": {"agent_type": "python-specialist", "issue_id": self.issue},
            "/api/events/<event_type>": {"topic": "scene", "data": {}},
            "/api/events/replay": self.replay(),
            "/api/results": self.result(self.own),
            "/api/agents/spawn": self.spawn("no-such-runner"),
            "/api/issues/<issue_id>": {"title": "Scene", "body": "set"},
            "/api/issues/<issue_id>/start": {"runner": "no-such-runner"},
            "/api/webhooks": {"url": "http://127.0.0.1:9/hook", "selection": {}},
            "/api/webhooks/<webhook_id>/redeliver": {},
            "/api/keys/rotate": {},
            "/api/agents/<agent_id>/checkpoint": {"mark": MARK},
            "/api/claims": {"resource": unique("name:scene")},
            "/api/claims/<claim_id>/renew": {},
            "/api/mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
            "/api/hooks/claude": {"hook_event_name": "PostToolUse"},
            "/api/messages": {"to": self.own.agent_id, "body": "scene"},
            "/api/messages/<message_id>/ack": {},
            "/api/budgets/<kind>/<budget_id>": {"tokens": 10**9},
            "/api/tasks": self.task(),
            "/api/tasks/claim": {"types": ["rust-specialist"], "issue": "nowhere"},
            "/api/tasks/<task_id>/checkpoint": {"fence": 10**6},
            "/api/tasks/<task_id>/complete": {"fence": 10**6},
            "/api/tasks/<task_id>/release": {"fence": 10**6},
        }
        return None if route.body is None else bodies[route.path]

    def ask(self, route: Route, who: Client, **query: Any) -> Answer:
        """Send the request that the route is for."""
        usual: dict[str, dict[str, object]] = {
            "/api/events/wait/<types>": {"timeout": 0},
            "/api/events/stream": {"since": "earliest", "until": "latest"},
            "/api/results": {"older_than_seconds": 10**9} if route.method == "DELETE" else {},
        }
        return who.request(route.method, self.path(route), self.body(route), **{**usual.get(route.path, {}), **query})


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One that lets everybody ask as often as this takes."""
    config = {"agents": {"runners": RUNNERS}, "rate_limits": {"enabled": False}}
    made = started(tmp_path_factory.mktemp("sidecar"), config)
    yield made
    stopped(made)


@pytest.fixture(scope="module")
def scenes() -> dict[int, Scene]:
    return {}


@pytest.fixture
def scene(sidecar: Sidecar, scenes: dict[int, Scene]) -> Callable[[], Scene]:
    """Give the scene, set by the first test (in a test's thread) that asks."""

    def get() -> Scene:
        if id(sidecar) not in scenes:
            scenes[id(sidecar)] = Scene(sidecar)
        return scenes[id(sidecar)]

    return get


# Golden: what those with a sound token get. Everybody else is 401 on every route that is not open.

P, A, N = "403 AUTH_003", "403 AUTH_005", "404 NOT_FOUND"
NO_RUNNER = "400 VAL_002"
NOT_PUBLIC = "400 VAL_002"
STALE = "409 TSK_001"


@frozen
class Row:
    """What a route answers, by identity; the ones without a sound token are told by ``open``."""

    bare: str
    own: str
    other_issue: str
    other_project: str
    architect: str
    admin: str
    open: bool = False
    hook: bool = False

    def of(self, identity: str) -> str:  # noqa: PLR0911 - a table
        if self.open:
            return self.admin
        if identity in {"nobody", "garbage"}:
            return "401 AUTH_001"
        if "hook key" in identity and not self.hook:
            return "401 AUTH_001"
        if identity == "ended hook key":
            return "401 AUTH_004"
        if identity == "hook key":
            return self.own
        if identity == "expired":
            return "401 AUTH_002"
        if identity in {"revoked", "ended"}:
            return "401 AUTH_004"
        return str(getattr(self, identity.replace(" ", "_")))


def admin_only(status: str = "200") -> Row:
    return Row(P, P, P, P, P, status)


def anybody(status: str = "200", other_project: str | None = None) -> Row:
    return Row(status, status, status, other_project or status, status, status)


def everyone() -> Row:
    return Row("200", "200", "200", "200", "200", "200", open=True)


GOLDEN: Mapping[str, Row] = {
    "POST /api/tokens": admin_only("201"),
    "POST /api/tokens/refresh": anybody(),
    "DELETE /api/tokens/<jti>": admin_only(),
    "POST /api/keys/rotate": admin_only(),
    "GET /api/accounts": admin_only(),
    "POST /api/accounts/<account>/resume": admin_only(N),
    "GET /.well-known/jwks.json": everyone(),
    "POST /api/events/<event_type>": Row(P, "202", "202", "202", "202", "202"),
    "GET /api/events/wait/<types>": anybody(),
    "GET /api/events": anybody(),
    "GET /api/events/stream": anybody(),
    "GET /api/events/dead-letters": admin_only(),
    "DELETE /api/events/dead-letters": admin_only(),
    "POST /api/events/replay": admin_only("202"),
    "GET /api/events/replay/<replay_id>": admin_only(),
    "DELETE /api/events/replay/<replay_id>": admin_only(),
    "GET /api/events/<event_id>": anybody(other_project=N),
    "POST /api/webhooks": admin_only(NOT_PUBLIC),
    "GET /api/webhooks": admin_only(),
    "GET /api/webhooks/<webhook_id>": admin_only(N),
    "DELETE /api/webhooks/<webhook_id>": admin_only(N),
    "POST /api/webhooks/<webhook_id>/test": admin_only(N),
    "POST /api/webhooks/<webhook_id>/redeliver": admin_only(N),
    "GET /api/context/<issue_id>/<agent_type>": Row(P, "200", A, "200", "200", "200"),
    "GET /api/context/<issue_id>/<agent_type>/explain": Row(P, "200", A, "200", "200", "200"),
    "DELETE /api/cache/context/<issue_id>": admin_only(),
    "DELETE /api/cache/all": admin_only(),
    "POST /api/results": Row(P, "201", A, A, A, "201"),
    "GET /api/results": Row(P, "200", "200", "200", "200", "200"),
    "DELETE /api/results": admin_only(),
    "GET /api/results/id/<result_id>": Row(P, "200", A, N, "200", "200"),
    "GET /api/results/<issue_id>/<agent_type>": Row(P, "200", A, N, "200", "200"),
    "POST /api/agents/spawn": Row(P, P, A, NO_RUNNER, NO_RUNNER, NO_RUNNER),
    "GET /api/agents": anybody(),
    "GET /api/agents/<agent_id>": anybody(other_project=N),
    "GET /api/agents/<agent_id>/status": anybody(other_project=N),
    "GET /api/agents/<agent_id>/logs": Row(A, A, A, N, "200", "200"),
    "POST /api/agents/<agent_id>/heartbeat": Row(A, "200", A, A, A, "200"),
    "PUT /api/agents/<agent_id>/checkpoint": Row(A, "200", A, A, A, "200"),
    "GET /api/agents/<agent_id>/checkpoint": Row(A, "200", A, A, A, "200"),
    "GET /api/agents/<agent_id>/briefing": Row(A, "200", A, A, A, "200"),
    "DELETE /api/agents/<agent_id>": Row(A, A, A, N, "200", "200"),
    "POST /api/issues/<issue_id>": Row(P, P, A, "200", "200", "200"),
    "GET /api/issues": Row(P, "200", "200", "200", "200", "200"),
    "GET /api/issues/<issue_id>": Row(P, "200", A, "200", "200", "200"),
    "POST /api/issues/<issue_id>/start": Row(P, P, A, NO_RUNNER, NO_RUNNER, NO_RUNNER),
    "POST /api/issues/<issue_id>/stop": Row(P, P, A, N, N, N),
    "POST /api/claims": anybody("201"),
    "GET /api/claims": anybody(),
    "POST /api/claims/<claim_id>/renew": Row(A, "200", A, N, A, "200"),
    "DELETE /api/claims/<claim_id>": Row(A, "200", A, N, A, "200"),
    "POST /api/mcp": anybody(),
    "POST /api/tasks": anybody("201"),
    "GET /api/tasks": anybody(),
    "POST /api/tasks/claim": anybody("204"),
    "GET /api/tasks/<task_id>": anybody(other_project=N),
    "DELETE /api/tasks/<task_id>": Row(A, "200", A, N, A, "200"),
    "POST /api/tasks/<task_id>/checkpoint": anybody(STALE, other_project=N),
    "POST /api/tasks/<task_id>/complete": anybody(STALE, other_project=N),
    "POST /api/tasks/<task_id>/release": anybody(STALE, other_project=N),
    "POST /api/hooks/claude": evolve(anybody(), hook=True),
    "POST /api/messages": Row(P, "201", "201", N, "201", "201"),
    "GET /api/messages": anybody(),
    "GET /api/messages/<message_id>": Row(A, "200", A, N, A, "200"),
    "POST /api/messages/<message_id>/ack": Row(A, "200", A, N, A, A),
    "GET /api/budgets": anybody(),
    "GET /api/budgets/<kind>/<budget_id>": Row("200", "200", A, N, "200", "200"),
    "PUT /api/budgets/<kind>/<budget_id>": admin_only(),
    "DELETE /api/budgets/<kind>/<budget_id>": admin_only(),
    "GET /health": everyone(),
    "GET /livez": everyone(),
    "GET /readyz": everyone(),
    "GET /status": everyone(),
    "GET /metrics": everyone(),
    "GET /api/openapi.json": everyone(),
}


def test_every_route_has_a_row() -> None:
    """A new route is tested for everybody before it is served to anybody."""
    assert set(ROUTES) == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_matrix(name: str, scene: Callable[[], Scene]) -> None:
    """Each route gives everybody what the contract says, and nobody a word of another project."""
    stage, route = scene(), ROUTES[name]
    got = {}
    for identity, who in stage.identities.items():
        answer = stage.ask(route, who)
        got[identity] = f"{answer.status} {answer.code}" if answer.status >= 400 else str(answer.status)
        if identity == "other project":
            assert MARK.encode() not in answer.body
    assert got == {identity: GOLDEN[name].of(identity) for identity in stage.identities}


def test_unknown_route(scene: Callable[[], Scene]) -> None:
    """What is not there is a secret below /api to those without a token, and to nobody elsewhere."""
    for path in ("/api", "/api/", "/api/nowhere", "/api/agents/a/b/c"):
        for identity, who in scene().identities.items():
            known = GOLDEN["GET /api/agents"].of(identity) == "200"
            who.get(path).refused(*(404, "NOT_FOUND") if known else (401, who.get("/api/agents").code))
    scene().identities["nobody"].get("/nowhere").refused(404, "NOT_FOUND")


def test_results_of_other_issues_stay_there(scene: Callable[[], Scene]) -> None:
    """The list has an agent's own issue alone, whether it asks for another or not."""
    stage = scene()
    assert MARK.encode() not in stage.identities["other issue"].get("/api/results").body
    other = stage.identities["other issue"]
    assert other.get("/api/results").ok()["results"] == []
    other.get("/api/results", issue=stage.issue).refused(403, "AUTH_005")
    listed = stage.own.get("/api/results").ok()["results"]
    assert {line["issue_id"] for line in listed} == {stage.issue}


# Projects


@pytest.mark.parametrize("name", [name for name in GOLDEN if not GOLDEN[name].open])
def test_no_other_project_by_query(name: str, scene: Callable[[], Scene]) -> None:
    """An agent cannot name another project; the admin can, and one that is not served is not found."""
    stage, route = scene(), ROUTES[name]
    row = GOLDEN[name]
    refused = stage.ask(route, stage.architect, project="beta")
    assert f"{refused.status} {refused.code}" == (row.architect if row.architect == P else A)
    stage.ask(route, stage.sidecar.admin, project="gamma").refused(404, "NOT_FOUND")
    if row.architect != P:
        assert stage.ask(route, stage.architect, project="alpha").status < 500


def test_no_other_project_by_body(scene: Callable[[], Scene]) -> None:
    """An agent cannot name another project in a body either."""
    stage = scene()
    result = {**stage.result(stage.own), "project_id": "beta"}
    stage.own.post("/api/results", result).refused(403, "AUTH_005")
    spawn = {**stage.spawn("missing"), "project_id": "beta"}
    stage.architect.post("/api/agents/spawn", spawn).refused(403, "AUTH_005")
    stage.sidecar.admin.post("/api/agents/spawn", {**spawn, "project_id": "gamma"}).refused(404, "NOT_FOUND")
    token = {"agent_type": "python-specialist", "issue_id": stage.issue, "project_id": "gamma"}
    stage.sidecar.admin.post("/api/tokens", token).refused(404, "NOT_FOUND")


def test_identity_fields_are_the_tokens(scene: Callable[[], Scene]) -> None:
    """No result is stored in another agent's, type's or issue's name."""
    stage = scene()
    sound = stage.result(stage.own)
    for name, value in (("agent_id", "x"), ("agent_type", "rust-specialist"), ("issue_id", "issue-x")):
        stage.own.post("/api/results", {**sound, name: value}).refused(403, "AUTH_005")
    stage.own.post("/api/events/x", {"topic": "t", "data": 1, "publisher": "sidecar"}).refused(403, "EVT_004")
    stage.own.post("/api/events/x", {"topic": "t", "data": 1, "publisher": stage.own.agent_id}).ok(202)
    for reserved in ("sidecar", "admin"):
        body = {"agent_type": "python-specialist", "issue_id": "i", "agent_id": reserved}
        stage.sidecar.admin.post("/api/tokens", body).refused(400, "VAL_002")


def test_cursors_of_another_project(scene: Callable[[], Scene]) -> None:
    """A cursor or event id of one project is none in another."""
    stage = scene()
    cursor = stage.own.publish("cursor_made")["cursor"]
    foreign = stage.identities["other project"]
    foreign.get("/api/events/wait/x", since=cursor, timeout=0).refused(400, "VAL_001")
    foreign.get("/api/events", since=stage.event_id).refused(400, "VAL_001")
    foreign.get("/api/events/wait/x", ack=cursor, timeout=0).refused(400, "VAL_001")


# Tokens that are none


def _forgeries(sidecar: Sidecar) -> Iterator[tuple[str, str]]:
    path = key_file(sidecar)
    public = sidecar.service._ground.keys.signing.public
    kid = {"kid": path.stem}
    yield "alg none", jwt.encode(claims(), "", "none", kid)
    yield "HS256", jwt.encode(claims(), "x" * 64, "HS256", kid)
    yield "HS256 with the public numbers", jwt.encode(claims(), str(public.public_numbers().n), "HS256", kid)
    yield "RS512", jwt.encode(claims(), path.read_bytes(), "RS512", kid)
    yield "no kid", jwt.encode(claims(), path.read_bytes(), "RS256")
    yield "unknown kid", signed(sidecar, {"kid": "other"})
    yield "crit", signed(sidecar, {"crit": ["b64"]})
    for name in claims():
        without: dict[str, Any] = {name: None}
        yield f"no {name}", signed(sidecar, **without)
    wrong: dict[str, Any] = {"iss": "x", "aud": "x", "permissions": "all", "sub": 7, "exp": "soon"}
    for name, value in wrong.items():
        changed = {name: value}
        yield f"{name} wrong", signed(sidecar, **changed)
    yield "not yet", signed(sidecar, nbf=4_000_000_000)
    sound = signed(sidecar)
    yield "changed claims", sound.replace(sound.split(".")[1], sound.split(".")[1][:-4] + "AAAA")
    yield "cut", sound[:-10]
    yield "long", "a" * 5000


def test_forged_tokens(sidecar: Sidecar) -> None:
    """Only what the sidecar signed, with all its claims and for this audience, is a token."""
    for what, token in _forgeries(sidecar):
        answer = sidecar.anyone(token).get("/api/agents")
        assert (answer.status, answer.code) == (401, "AUTH_001"), what
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    sidecar.anyone(signed(sidecar)).get("/api/agents").ok()
    sidecar.anyone(signed(sidecar, project_id="gamma")).get("/api/agents").refused(401, "AUTH_004")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Token {token}", "{token}"])
def test_authorization_header(header: str, sidecar: Sidecar) -> None:
    """Only ``Bearer <token>`` counts."""
    headers = {"Authorization": header.format(token=sidecar.admin.token)}
    sidecar.anyone().request("GET", "/api/agents", headers=headers).refused(401, "AUTH_001")
    lower = {"Authorization": f"bearer {sidecar.admin.token}"}
    sidecar.anyone().request("GET", "/api/agents", headers=lower).ok()


def test_hint_of_a_bare_curl(sidecar: Sidecar) -> None:
    """Who forgot the token is given the line that works."""
    message = sidecar.anyone().delete("/api/cache/all").refused(401, "AUTH_001").json["message"]
    url = f"http://127.0.0.1:{sidecar.port}/api/cache/all"
    assert f'curl -X DELETE -H "Authorization: Bearer $(cco token)" {url}' in message


# Names that are none

BAD_NAMES = ["..", ".", "a/b", "", "a" * 129, "name\n", "näme", "a\0", "-a", " a", "a b", "../../etc/passwd", "%2e%2e"]


def _files(sidecar: Sidecar) -> set[str]:
    """Name every file but the log's segments, which may come and go."""
    return {str(path) for path in sidecar.storage.rglob("*") if path.parent.parent.name != "events"}


@pytest.mark.parametrize("name", [name for name in GOLDEN if "<" in name])
def test_bad_names_in_paths(name: str, scene: Callable[[], Scene]) -> None:
    """A name that is none is refused before it reaches a path, or does not even find the route."""
    stage, route = scene(), ROUTES[name]
    before = _files(stage.sidecar)
    for parameter in (part[1:-1] for part in route.path.split("/") if part.startswith("<")):
        for bad in BAD_NAMES:
            path = stage.path(route, **{parameter: quote(bad, safe="")})
            if path.rstrip("/") in {other.path for other in ROUTES.values()}:
                continue  # an empty name leaves another route
            answer = stage.sidecar.admin.request(route.method, path, stage.body(route))
            possible = {(400, "VAL_001")}
            if not bad or "/" in bad:
                possible |= {(404, "NOT_FOUND"), (405, "HTTP_405")}
            assert (answer.status, answer.code) in possible, (parameter, bad)
    assert _files(stage.sidecar) == before


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_bad_names_in_bodies(bad: str, scene: Callable[[], Scene]) -> None:
    """The same for every name in a body."""
    stage = scene()
    before = _files(stage.sidecar)
    bodies: list[tuple[str, dict[str, object], list[str]]] = [
        ("/api/tokens", {"agent_type": "python-specialist", "issue_id": "i"},
         ["agent_type", "issue_id", "project_id", "agent_id"]),
        ("/api/results", stage.result(stage.own), ["agent_id", "agent_type", "issue_id", "project_id"]),
        ("/api/agents/spawn", stage.spawn("missing"), ["agent_type", "issue_id", "project_id"]),
        ("/api/events/x", {"topic": "t", "data": {}}, ["topic"]),
        ("/api/tasks", stage.task(), ["agent_type", "issue_id"]),
        ("/api/messages", {"to": stage.own.agent_id, "body": 1}, ["reply_to"]),
    ]  # fmt: skip
    for path, sound, names in bodies:
        for name in names:
            for who in (stage.sidecar.admin, stage.architect):
                if who is stage.architect and path == "/api/tokens":
                    continue
                answer = who.post(path, {**sound, name: bad})
                assert (answer.status, answer.code) == (400, "VAL_001"), (path, name, bad)
    assert _files(stage.sidecar) == before


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_bad_names_in_queries(bad: str, scene: Callable[[], Scene]) -> None:
    """The same for every name in a query."""
    stage = scene()
    before = _files(stage.sidecar)
    queries = [
        ("GET", "/api/events", ["type", "topic", "issue", "publisher", "project"]),
        ("GET", "/api/events/wait/x", ["topic", "subscription", "project"]),
        ("GET", "/api/results", ["issue", "agent_type", "cursor", "project"]),
        ("GET", "/api/agents", ["type", "issue", "status", "project"]),
        ("GET", "/api/claims", ["agent", "issue", "project"]),
        ("GET", "/api/tasks", ["type", "issue", "agent", "project"]),
        ("GET", "/api/messages", ["agent", "sender", "box", "state", "project"]),
        ("GET", "/api/issues", ["status", "project"]),
        ("DELETE", "/api/cache/all", ["agent_type", "project"]),
    ]
    for method, path, names in queries:
        for name in names:
            query: dict[str, Any] = {name: bad}
            answer = stage.sidecar.admin.request(method, path, **query)
            assert (answer.status, answer.code) == (400, "VAL_001"), (path, name)
            if method == "GET":
                stage.architect.request(method, path, **query).refused(400, "VAL_001")
    assert _files(stage.sidecar) == before


def test_words_that_are_routes(sidecar: Sidecar) -> None:
    """The words below /api/events are no event types."""
    for word in ("wait", "stream", "replay", "dead-letters"):
        answer = sidecar.admin.post(f"/api/events/{word}", {"topic": "t", "data": {}})
        assert answer.status in {400, 405}
        assert answer.code in {"VAL_001", "HTTP_405"} or (word, answer.code) == ("replay", "VAL_002")
        sidecar.admin.get(f"/api/events/wait/{word}", timeout=0).refused(400, "VAL_001")
        sidecar.admin.get(f"/api/events/wait/ok,{word}", timeout=0).refused(400, "VAL_001")
