"""Asking until there is an answer: what is tried again and what is not, with which token, and what the errors say."""

import json
from typing import Any

import pytest

from cco_sidecar.client.asking import ask, object_of
from cco_sidecar.client.errors import (
    AnswerLost,
    Conflict,
    Failed,
    NotAllowed,
    NotASidecar,
    NotFound,
    RateLimited,
    Refused,
    SidecarError,
    TimedOut,
    Unavailable,
    Unreachable,
)
from cco_sidecar.client.values import Answer, Request, Trouble, build, route
from tests.client.driving import BROKEN, LATE, STALE, START, UNREACHABLE, World, answered, refused
from tests.client.test_tokens import token

GET = build("GET", "/api/agents")
POST = build("POST", "/api/claims", body={})
KEYED = build("POST", "/api/results", body={}, key="k")


def test_answer() -> None:
    """An answer is given as it is, with the token shown and the desk's headers."""
    world = World()
    assert world.do(ask(world.desk(), GET), answered({"a": 1})).json() == {"a": 1}
    assert world.shown == ["t"]
    assert world.asked[0].headers["Accept"] == "application/json"
    assert world.seconds == [70.0]


@pytest.mark.parametrize("trouble", [BROKEN, LATE, UNREACHABLE])
@pytest.mark.parametrize("request_", [GET, KEYED])
def test_repeatable_is_tried_again(trouble: Trouble, request_: Request) -> None:
    """What may be done twice is asked again, slower and slower, as the same request with the same key."""
    world = World()
    world.do(ask(world.desk(), request_), *[trouble] * 4, answered({}))
    assert world.pauses == [0.2, 0.4, 0.8, 1.6]
    assert len(set(map(str, world.asked))) == 1


@pytest.mark.parametrize("trouble", [BROKEN, LATE, STALE])
def test_not_repeatable(trouble: Trouble) -> None:
    """What must not be done twice is not asked again when nobody knows whether it was done."""
    world = World()
    with pytest.raises((AnswerLost, TimedOut), match="not known"):
        world.do(ask(world.desk(), POST), trouble)


def test_not_repeatable_but_never_sent() -> None:
    """What never left may be sent, whatever it is; what was refused for the moment was not done, either."""
    world = World()
    world.do(ask(world.desk(), POST), UNREACHABLE, refused(503, "EVT_001"), refused(429, "RATE_001"), answered({}))
    assert len(world.asked) == 4


def test_bad_gateway_is_doubtful() -> None:
    """A proxy's 502 does not say whether the sidecar did it."""
    world = World()
    world.do(ask(world.desk(), GET), answered(None, 502), answered({}))
    with pytest.raises(NotASidecar):
        world.do(ask(world.desk(), POST), answered(None, 502))


def test_stale_is_tried_at_once() -> None:
    """A kept connection that had ended is no trouble: the next one is new."""
    world = World()
    world.do(ask(world.desk(patience_seconds=0.0), GET), STALE, STALE, answered({}))
    assert world.pauses == []


def test_patience_ends() -> None:
    """After a while the last trouble is told; the pauses stay bounded until then."""
    world = World()
    with pytest.raises(Unreachable, match=r"No sidecar answers at http://127\.0\.0\.1:3001 \(Connection refused\)"):
        world.do(ask(world.desk(patience_seconds=30.0), GET), lambda _: UNREACHABLE)
    assert 20 < world.time <= 30
    assert max(world.pauses) == 5.0


def test_patience_begins_with_the_first_failure() -> None:
    """A long wait that went well takes nothing of it."""
    world = World(time=1000.0)
    world.do(ask(world.desk(patience_seconds=1.0), GET), UNREACHABLE, UNREACHABLE, answered({}))
    assert world.pauses == [0.2, 0.4]


def test_no_patience() -> None:
    """With none, the first trouble is told at once; for ever overrules it."""
    world = World()
    with pytest.raises(Unreachable):
        world.do(ask(world.desk(patience_seconds=0.0), GET), UNREACHABLE)
    world.do(ask(world.desk(patience_seconds=0.0), GET, for_ever=True), *[UNREACHABLE] * 50, answered({}))


def test_lifetime() -> None:
    """At the end of the desk's life nothing is waited for any more, and no request may take longer."""
    world = World()
    desk = world.desk(lifetime_seconds=2.0, patience_seconds=None)
    with pytest.raises(Unreachable):
        world.do(ask(desk, GET), lambda _: UNREACHABLE)
    assert 1 < world.time < 2.0
    assert world.seconds[0] == 2.0
    assert world.seconds[-1] < 1.5


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int) -> None:
    """What the sidecar asks for is waited; if there is not so much patience, it is told at once."""
    world = World()
    busy = refused(status, "RATE_001", Retry_After="7")
    world.do(ask(world.desk(), GET), busy, answered({}))
    assert world.pauses == [7.0]
    with pytest.raises(SidecarError) as caught:
        world.do(ask(world.desk(patience_seconds=5.0), GET), busy)
    assert caught.value.retry_after == 7.0
    assert world.pauses == [7.0]


def test_on_retry() -> None:
    """Whoever wants to know is told of each failure that is tried again."""
    told: list[tuple[type[SidecarError], float]] = []
    world = World()
    desk = world.desk(on_retry=lambda error, seconds: told.append((type(error), seconds)))
    world.do(ask(desk, GET), UNREACHABLE, refused(503, "STR_003"), answered({}))
    assert told == [(Unreachable, 0.2), (Unavailable, 0.4)]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "VAL_001", Refused),
        (401, "AUTH_002", NotAllowed),
        (403, "AUTH_005", NotAllowed),
        (404, "NOT_FOUND", NotFound),
        (409, "CLM_001", Conflict),
        (413, "HTTP_413", Refused),
        (422, "VAL_003", Refused),
        (429, "RATE_002", RateLimited),
        (500, "CTX_001", Failed),
        (503, "STR_003", Unavailable),
    ],
)
def test_refusals(status: int, code: str, kind: type[SidecarError]) -> None:
    """Each refusal is an exception of its kind, with all that the sidecar said."""
    world = World()
    with pytest.raises(SidecarError) as caught:
        world.do(ask(world.desk(patience_seconds=0.0), GET), refused(status, code, {"holder": "a-2"}))
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.request_id, error.details) == (status, code, "req-7", {"holder": "a-2"})
    assert str(error) == f"Not so: {code}. ({code}, request req-7)"


def test_accepted_status() -> None:
    """A status may be an answer although it is a refusal elsewhere."""
    world = World()
    found = world.do(ask(world.desk(), build("GET", "/health", accept=(503,))), answered({"status": "unhealthy"}, 503))
    assert found.status == 503


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"code": 5, "message": "x"}'])
def test_not_a_sidecar(body: bytes) -> None:
    """What something else answers is not taken for the sidecar's word."""
    world = World()
    with pytest.raises(NotASidecar, match=r"SIDECAR_URL.*HTTP 404"):
        world.do(ask(world.desk(), GET), Answer(404, {}, body))
    if not body.startswith(b"{"):
        with pytest.raises(NotASidecar):
            object_of(Answer(200, {}, body))


def test_wrong_details_are_left_out() -> None:
    """Details are a mapping, whatever came."""
    world = World()
    body = {"message": "m", "code": "c", "details": [1], "request_id": None}
    with pytest.raises(Refused) as caught:
        world.do(ask(world.desk(), GET), answered(body, 400))
    assert (caught.value.details, caught.value.request_id) == ({}, "")


# Tokens


def test_successor_is_shown_next() -> None:
    """A token that comes with an answer, also with a refusal, counts from then on."""
    world = World()
    desk = world.desk()
    world.do(ask(desk, GET), refused(503, "EVT_001", X_Refreshed_Token="second"), answered({}))
    assert world.shown == ["t", "second"]


def test_expired_token_and_a_newer_file() -> None:
    """After a 401 the file is read again, and its token shown at once; the same token is not shown twice."""
    world = World()
    file = ["old"]
    desk = world.desk(None, source=lambda: file[0])

    def expired(_: Request) -> Answer:
        file[0] = "new"
        return refused(401, "AUTH_002")

    world.do(ask(desk, GET), expired, answered({}))
    assert world.shown == ["old", "new"]
    assert world.pauses == []
    with pytest.raises(NotAllowed):
        world.do(ask(desk, GET), refused(401, "AUTH_004"))


def test_refresh_by_route() -> None:
    """Without a file the successor is asked for before the token ends."""
    world = World(time=3600 - 299.0)
    second = token(iat=START + 3000, exp=START + 6600)
    world.do(
        ask(world.desk(token(iat=START, exp=START + 3600)), GET),
        answered({"token": second, "expires_at": "…"}),
        answered({}),
    )
    assert [(it.method, it.target) for it in world.asked] == [
        ("POST", "/api/tokens/refresh"),
        ("GET", "/api/agents"),
    ]
    assert world.shown[1] == second


def test_refresh_that_fails() -> None:
    """While the token is good, a refresh that fails hinders nobody, and is tried again with the next request."""
    world = World(time=3500.0)
    desk = world.desk(token(iat=START, exp=START + 3600))
    world.do(ask(desk, GET), BROKEN, answered({}))
    world.do(ask(desk, GET), refused(503, "EVT_001"), answered({}))
    assert [it.method for it in world.asked] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("bad", ["a\r\nX: 1", "a b", "é", "\x00"])
def test_token_that_is_no_header(bad: str) -> None:
    """A token that would break a header is never sent."""
    world = World()
    with pytest.raises(NotAllowed, match="one line"):
        world.do(ask(world.desk(bad), GET))
    assert world.asked == []


# Requests


def test_route() -> None:
    """Names are escaped in paths; the commas and stars of a wait stay."""
    assert route("api", "a/b c?é") == "/api/a%2Fb%20c%3F%C3%A9"
    assert route("wait", "a,b,*") == "/wait/a,b,*"
    with pytest.raises(ValueError, match="empty"):
        route("api", "")


def test_build() -> None:
    """Parameters that are None are left out; booleans are words; a body is JSON."""
    made = build("POST", "/x", query={"a": True, "b": None, "c": "d e", "n": 0}, body={"k": [1]}, key="key")
    assert made.target == "/x?a=true&c=d+e&n=0"
    assert json.loads(made.body or b"") == {"k": [1]}
    assert made.headers == {"Content-Type": "application/json", "Idempotency-Key": "key"}
    assert made.repeatable


@pytest.mark.parametrize(
    ("method", "more", "expected"),
    [
        ("GET", {}, True),
        ("PUT", {}, True),
        ("DELETE", {}, True),
        ("POST", {}, False),
        ("POST", {"key": "k"}, True),
        ("POST", {"repeatable": True}, True),
        ("GET", {"repeatable": False}, False),
    ],
)
def test_repeatable(method: str, more: dict[str, Any], expected: bool) -> None:
    """Only a POST without a key must not be sent twice, unless it is said."""
    assert build(method, "/x", **more).repeatable is expected


@pytest.mark.parametrize("wrong", [{"key": "a\nb"}, {"key": "é"}, {"key": " "}, {"body": {"x": float("nan")}}])
def test_build_refuses(wrong: dict[str, Any]) -> None:
    """What cannot be a header or JSON is refused before anything is sent."""
    with pytest.raises(ValueError, match=r"Idempotency-Key|JSON"):
        build("POST", "/x", **wrong)
