"""What a failed agent left behind: found if it is there, bounded, and without secrets."""

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from cco_sidecar.core.workflows.evidence import MOST_LOG, MOST_WORDS, Evidence, ReadLog
from cco_sidecar.core.workflows.judging import Ending
from cco_sidecar.core.workflows.run import Attempt
from cco_sidecar.errors import StorageReadFailed
from cco_sidecar.interfaces import StoredResult
from tests.conftest import LoggedFailures
from tests.fakes import MemoryResults, result_of

ENDING = Ending("agent-1", "failed", 3)


def stored(result: object) -> MemoryResults:
    body = msgspec.json.encode({"id": "res-1", "result": result})
    return MemoryResults([StoredResult("res-1", "agent-1", "a", "i", "p", "failed", "", body)])


def evidence(store: MemoryResults, log: bytes | Exception = b"", result_id: str | None = "res-1") -> str:
    def read(agent_id: str, lines: int) -> "Deferred[bytes]":
        assert (agent_id, lines) == ("agent-1", 10)
        return fail(log) if isinstance(log, Exception) else succeed(log)

    reader: ReadLog = read
    attempt = Attempt("agent-1", "a", 0, 0, 1, result_id=result_id)
    return result_of(Evidence("p", store, reader).of(attempt, ENDING))


def test_words_and_lines() -> None:
    """The result's error (else its message, else its summary), and the end of the log."""
    assert evidence(stored({"status": "failed", "error": "no tests", "summary": "x"}), b"one\ntwo\n") == (
        "Its result says: no tests\nThe last lines of its log:\none\ntwo"
    )
    assert evidence(stored({"status": "failed", "summary": "half"})) == "Its result says: half"
    assert evidence(stored({"status": "failed", "error": {"code": 1}})) == 'Its result says: {"code":1}'
    assert evidence(stored({"status": "failed"})) == ""
    assert evidence(MemoryResults(), b"\xff\n", None) == "The last lines of its log:\n\ufffd"


def test_bounded_and_without_secrets() -> None:
    """However much there is, it is cut; what looks like a secret is taken out."""
    long = evidence(stored({"error": "E" * 9_000}), b"L" * 9_000)
    assert (long.count("E"), long.count("L")) == (MOST_WORDS, MOST_LOG)
    found = evidence(stored({"error": "ghp_" + "a1B2" * 9}), b"pushed with ghp_" + b"c3D4" * 9)
    assert "ghp_" not in found
    assert found.count("[REDACTED:") == 2


def test_nothing_can_be_read(logged_failures: LoggedFailures) -> None:
    """What cannot be read is left out, and keeps nobody from trying again."""
    store = stored({"error": "x"})
    store.refusal = StorageReadFailed("broken")
    assert evidence(MemoryResults()) == ""
    assert evidence(stored(["no", "object"])) == ""
    assert evidence(store, OSError("broken")) == "Its result says: x"
    assert logged_failures.flush(OSError)
