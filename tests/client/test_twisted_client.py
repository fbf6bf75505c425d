"""The client for programs with a reactor: the same calls over treq, on a clock of the test's."""

import json
from collections.abc import Callable
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from cco_sidecar.client import ClaimLost, Closed, NotAllowed, NotFound, Unreachable, treqing
from cco_sidecar.client.twisted import Client
from tests.client.test_client import CLAIMED, waited

PARKED = object()
ENVIRON = {
    "SIDECAR_URL": "http://127.0.0.1:3001/api",
    "JWT_TOKEN": "t",
    "AGENT_ID": "a-1",
    "AGENT_TYPE": "python-specialist",
    "ISSUE_ID": "issue-1",
    "PROJECT_ID": "p",
}


class FakeSidecar(Resource):
    """Answers in turn, the last for ever; what is parked is answered when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, Any]] = []
        self.tokens: list[str] = []
        self.script: list[Any] = []
        self.parked: list[Request] = []
        self.gone = 0

    def render(self, request: Request) -> Any:
        """Keep the request and answer it."""
        assert request.content is not None
        body = request.content.read()
        self.asked.append((request.method.decode(), request.uri.decode(), json.loads(body) if body else None))
        self.tokens.append(request.getHeader("Authorization") or "")
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if answer is PARKED:
            self.parked.append(request)
            request.notifyFinish().addErrback(self._count)
            return NOT_DONE_YET
        status, found, *headers = answer
        request.setResponseCode(status)
        for name, value in headers:
            request.setHeader(name, value)
        return found if isinstance(found, bytes) else json.dumps(found).encode()

    def _count(self, _: Failure) -> None:
        self.gone += 1


class Failing:
    """A treq client that fails in turn, and then asks the other one."""

    def __init__(self, failures: list[Exception], then: StubTreq) -> None:
        self._failures = failures
        self._then = then

    def request(self, *args: Any, **kwargs: Any) -> "Deferred[Any]":
        """Fail, or ask."""
        if self._failures:
            failed: Deferred[Any] = Deferred()
            failed.errback(self._failures.pop(0))
            return failed
        then: Deferred[Any] = self._then.request(*args, **kwargs)  # type: ignore[attr-defined]  # made at run time
        return then


class TwistedClientTests(SynchronousTestCase):
    """One client, one fake sidecar, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sidecar = FakeSidecar()
        self.treq = StubTreq(self.sidecar)
        self.failures: list[Exception] = []
        self.client = Client(self.clock, environ=ENVIRON, http=Failing(self.failures, self.treq))
        self.addCleanup(self._nothing_is_left)

    def _nothing_is_left(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.client._running, set())

    def result(self, deferred: "Deferred[Any]") -> Any:
        """Let the fake answer, and give the result."""
        self.treq.flush()
        return self.successResultOf(deferred)

    def test_publish(self) -> None:
        """The FAQ's call, with a token and a key."""
        self.sidecar.script = [(202, {"published": True})]
        found = self.result(self.client.publish_event("custom_event", "coordination", {"message": "checkpoint"}))
        self.assertEqual(found, {"published": True})
        body = {"topic": "coordination", "data": {"message": "checkpoint"}}
        self.assertEqual(self.sidecar.asked, [("POST", "/api/events/custom_event", body)])
        self.assertEqual(self.sidecar.tokens, ["Bearer t"])

    def test_wait(self) -> None:
        """A parked wait is a Deferred; another call goes past it."""
        self.sidecar.script = [PARKED, (200, {"status": "healthy"})]
        waiting = self.client.wait_for_event("implementation_complete", timeout=30000)
        self.assertEqual(self.result(self.client.health())["status"], "healthy")
        self.assertNoResult(waiting)
        (parked,) = self.sidecar.parked
        parked.write(json.dumps(waited(1, cursor="c")).encode())
        parked.finish()
        self.assertEqual([it["sequence"] for it in self.result(waiting)], [1])
        self.assertEqual(self.sidecar.asked[0][1], "/api/events/wait/implementation_complete?timeout=30000")

    def test_refusal(self) -> None:
        """A refusal is the same exception as in the blocking client."""
        self.sidecar.script = [(404, {"code": "NOT_FOUND", "message": "There is none."})]
        asked = self.client.get_result("test-engineer")
        self.treq.flush()
        self.failureResultOf(asked, NotFound)

    def test_tried_again(self) -> None:
        """What fails in passing is tried again after a pause on the reactor's clock."""
        self.failures[:] = [
            ConnectionRefusedError(),
            ResponseNeverReceived([Failure(ConnectionLost())]),
        ]
        self.sidecar.script = [(503, {"code": "EVT_001", "message": "Later."}, ("Retry-After", "7")), (202, {})]
        published = self.client.publish_event("x", "t")
        for seconds in (0.2, 0.4, 7.0):
            self.treq.flush()
            self.assertNoResult(published)
            self.clock.advance(seconds)
        self.result(published)
        self.assertEqual(len(self.sidecar.asked), 2)

    def test_patience_ends(self) -> None:
        """Where nobody answers, that is told in the end."""
        self.failures[:] = [ConnectionRefusedError()] * 100
        asked = self.client.health()
        self.clock.pump([1.0] * 40)
        error = self.failureResultOf(asked, Unreachable).value
        self.assertIn("cco daemon start", str(error))

    def test_mistakes_are_not_hidden(self) -> None:
        """What no network can have caused is raised as it is."""
        self.failures[:] = [ZeroDivisionError()]
        self.failureResultOf(self.client.health(), ZeroDivisionError)

    def test_no_answer(self) -> None:
        """A request that is not answered in time is called off, and tried again if it may be."""
        self.sidecar.script = [PARKED, (200, {"ok": True})]
        asked = self.client.health()
        self.treq.flush()
        self.clock.advance(71)
        self.treq.flush()
        self.assertEqual(self.sidecar.gone, 1)
        self.clock.advance(1)
        self.assertEqual(self.result(asked), {"ok": True})

    def test_cancelled(self) -> None:
        """Who cancels a wait frees the connection at once."""
        self.sidecar.script = [PARKED]
        waiting = self.client.wait_for_event("x")
        self.treq.flush()
        waiting.cancel()
        self.treq.flush()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.sidecar.gone, 1)

    def test_cancelled_pause(self) -> None:
        """A call that waits before another try can be cancelled, too."""
        self.failures[:] = [ConnectionRefusedError()]
        asked = self.client.health()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)

    def test_close(self) -> None:
        """Closing ends what waits, and lets nothing begin."""
        self.sidecar.script = [PARKED]
        waiting = self.client.wait_for_event("x")
        self.treq.flush()
        self.successResultOf(self.client.close())
        self.treq.flush()
        self.failureResultOf(waiting, Closed)
        self.failureResultOf(self.client.health(), Closed)

    def test_context(self) -> None:
        """An unchanged context is not sent again."""
        self.sidecar.script = [(200, {"context": {}}, ("ETag", '"one"')), (304, b"")]
        first = self.result(self.client.get_context())
        second = self.result(self.client.get_context())
        self.assertEqual((first.is_unchanged, second.is_unchanged), (False, True))
        self.assertEqual(dict(second), {"context": {}})

    def test_token(self) -> None:
        """A successor that comes with an answer is shown next."""
        self.sidecar.script = [(200, {}, ("X-Refreshed-Token", "second"))]
        self.result(self.client.health())
        self.result(self.client.health())
        self.assertEqual(self.sidecar.tokens, ["Bearer t", "Bearer second"])

    def test_too_large(self) -> None:
        """An answer has a largest size."""
        self.patch(treqing, "MOST_ANSWER_BYTES", 100)
        self.client.desk.patience_seconds = 0.0
        self.sidecar.script = [(200, b"x" * 101)]
        asked = self.client.health()
        self.treq.flush()
        self.assertIn("larger", str(self.failureResultOf(asked).value))

    def test_events(self) -> None:
        """Events come one by one, each once, and end when the client is closed."""
        self.sidecar.script = [
            (200, waited(1, 2, cursor="c-2")),
            (200, waited(2, 3, cursor="c-3", gap=True)),
            PARKED,
        ]
        got: list[int] = []
        gaps: list[str] = []

        async def read() -> None:
            async for found in self.client.events("x", on_gap=lambda: gaps.append("gap")):
                got.append(found["sequence"])

        reading = Deferred.fromCoroutine(read())
        self._flush_until(lambda: self.sidecar.parked)
        self.assertEqual((got, gaps), ([1, 2, 3], ["gap"]))
        self.client.close()
        self.treq.flush()
        self.successResultOf(reading)

    def _flush_until(self, true: Callable[[], object]) -> None:
        for _ in range(20):
            if true():
                return
            self.treq.flush()
        self.fail("it does not come")

    def test_holding(self) -> None:
        """A claim is renewed on the clock while the block runs, and released after it."""
        self.sidecar.script = [(201, CLAIMED), (200, {**CLAIMED, "expires_at": "later"}), (200, {})]
        end: Deferred[None] = Deferred()

        async def work() -> str:
            async with self.client.holding("src/**", ttl_seconds=30) as held:
                await end
                held.check()
                return str(held.expires_at)

        working = Deferred.fromCoroutine(work())
        self.treq.flush()
        self.clock.advance(10)
        self.treq.flush()
        end.callback(None)
        self.assertEqual(self.result(working), "later")
        self.assertEqual([it[0] for it in self.sidecar.asked], ["POST", "POST", "DELETE"])

    def test_holding_that_is_lost(self) -> None:
        """Who lost the claim meanwhile is told at the end."""
        self.sidecar.script = [(201, CLAIMED), (409, {"code": "CLM_001", "message": "Gone."}), (404, {})]
        end: Deferred[None] = Deferred()

        async def work() -> None:
            async with self.client.holding("src/**", ttl_seconds=30):
                await end

        working = Deferred.fromCoroutine(work())
        self.treq.flush()
        self.clock.advance(10)
        self.treq.flush()
        end.callback(None)
        self.treq.flush()
        self.failureResultOf(working, ClaimLost)

    def test_heartbeats(self) -> None:
        """Heartbeats go on through troubles until they are stopped, also in the middle of one."""
        self.sidecar.script = [(500, {"code": "INTERNAL", "message": "Oh."}), (200, {}), PARKED]
        beating = self.client.heartbeats(5)
        for _ in range(3):
            self.clock.advance(5)
            self.treq.flush()
        self.assertEqual(len(self.sidecar.asked), 3)
        self.assertTrue(beating.is_alive)
        beating.stop()
        self.treq.flush()
        self.assertFalse(beating.is_alive)
        self.assertEqual(self.sidecar.gone, 1)

    def test_heartbeats_of_an_agent_that_is_gone(self) -> None:
        """When the token has ended for good, there is nobody to speak for."""
        self.sidecar.script = [(401, {"code": "AUTH_004", "message": "Gone."})]
        beating = self.client.heartbeats(5)
        self.clock.advance(5)
        self.treq.flush()
        self.assertFalse(beating.is_alive)

    def test_not_allowed(self) -> None:
        """A token that is no good is told."""
        self.sidecar.script = [(401, {"code": "AUTH_004", "message": "Gone."})]
        asked = self.client.wait_for_event("x")
        self.treq.flush()
        self.failureResultOf(asked, NotAllowed)

    def test_as_a_context(self) -> None:
        """It can be used in ``async with``, and is closed at the end."""

        async def work() -> None:
            async with self.client:
                pass

        self.successResultOf(Deferred.fromCoroutine(work()))
        self.failureResultOf(self.client.health(), Closed)
