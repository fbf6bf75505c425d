"""The scripted agent of the packaged ``demo`` runner: no model, no network but the sidecar, and it ends by itself.

It does what an agent does: says that it lives, reads its context, waits for the event that calls it, works a moment,
stores a result and publishes its own event. Nobody's call in time is no failure: it then stores a ``partial`` result
and publishes nothing, for nothing was done. Standard library only: a hundred of these may start at once.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from cco_sidecar.client import Client, Context, NotConfigured, SidecarError
from cco_sidecar.demo.script import part_of

LIMIT_SECONDS = 18.0
"""Ends the agent whatever happens; the runner promises 20."""
REQUESTS_SECONDS = 17.0
CALLED_WITHIN_SECONDS = 14.0
POLL_SECONDS = 5.0
WORK_SECONDS = 0.4
CONTEXT_BYTES = 1024 * 1024
"""As large as the context that the sidecar puts beside the token, so that the two share one gathering."""
MOST_REVALIDATIONS = 2
MOST_FILES = 3


class Call(NamedTuple):
    """The event that called the agent; ``parked`` if it was waiting when that was published."""

    event: Mapping[str, Any]
    parked: bool
    lag_ms: float


class ScriptedAgent:
    """One agent, as its environment describes it (contract section 8)."""

    def __init__(self, environ: Mapping[str, str], began: float) -> None:
        self._issue = environ["ISSUE_ID"]
        self._task = environ.get("TASK", "")
        self._part = part_of(environ["AGENT_TYPE"])
        self._called_by = began + CALLED_WITHIN_SECONDS
        left = began + REQUESTS_SECONDS - time.monotonic()
        self._client = Client(environ=environ, patience_seconds=REQUESTS_SECONDS, lifetime_seconds=left)

    def work(self) -> None:
        """Do all of it.

        :raises SidecarError: the sidecar refused a step, or did not answer in time.
        """
        self._say(f"{self._part.agent_type} on {self._issue}: {self._task}")
        self._client.heartbeat()
        context, unchanged = self._read_context()
        self._tell_context(context, unchanged)
        call = self._wait()
        if self._part.waits_for and call is None:
            self._give_up()
            return
        if call is not None:
            self._client.heartbeat()
            context = self._context()  # again: it now has what those before have decided
        self._tell_start(context, call)
        time.sleep(WORK_SECONDS)
        result = self._result(context, call, unchanged)
        result_id = self._store(result)
        self._publish(
            self._part.publishes,
            self._part.phase,
            {"result_id": result_id, "summary": result["summary"], "files_affected": result["files_affected"]},
        )

    # Steps

    def _read_context(self) -> tuple[Context, bool]:
        """Read the context, then ask whether it has changed, until it has not: others may be editing the project."""
        context = self._context()
        for _ in range(MOST_REVALIDATIONS):
            context = self._context()
            if context.is_unchanged:
                return context, True
        return context, False

    def _context(self) -> Context:
        return self._client.get_context(agent_type=self._part.agent_type, budget_bytes=CONTEXT_BYTES)

    def _wait(self) -> Call | None:
        """Wait for the call, without a cursor: who asks late is given what it missed."""
        if not self._part.waits_for:
            return None
        while (left := self._called_by - time.monotonic()) > 0:
            asked_at = time.time()
            timeout = int(1000 * min(POLL_SECONDS, left))
            found = self._client.wait_for_event(self._part.waits_for, timeout, filter=f'issue_id:"{self._issue}"')
            if found:
                return _call(found[-1], asked_at)
        return None

    def _give_up(self) -> None:
        reason = f"nobody published {' or '.join(self._part.waits_for)} within {CALLED_WITHIN_SECONDS:.0f} s"
        self._say(reason)
        summary = f"Not begun: {reason}."
        decisions = ["Nothing is published, for nothing was done."]
        self._store({"status": "partial", "summary": summary, "decisions": decisions, "files_affected": []})

    def _result(self, context: Context, call: Call | None, unchanged: bool) -> dict[str, Any]:
        best = _files(context)[:MOST_FILES]
        files = [str(file["path"]) for file in best]
        lines = sum(str(file["content"]).count("\n") for file in best)
        summary = f"{self._part.phase}: looked through {lines} lines of {', '.join(files) or 'no file'}."
        decisions = [f"{self._part.phase}: begin with {path}" for path in files] or [
            f"{self._part.phase}: from scratch"
        ]
        return {
            "status": "success",
            "summary": summary,
            "decisions": decisions,
            "files_affected": files,
            "context": {
                "files": len(_files(context)),
                "bytes": context.size_bytes,
                "earlier": _earlier(context),
                "not_modified": unchanged,
                "injected": self._was_given_context(),
            },
            "called_by": None if call is None else call.event["event_id"],
        }

    def _was_given_context(self) -> bool:
        found = self._client.first_context()
        mine = (self._issue, self._part.agent_type)
        return found is not None and (found.get("issue_id"), found.get("agent_type")) == mine

    def _store(self, result: Mapping[str, Any]) -> str:
        answer = self._client.store_result(result)
        self._say(f"stored {answer['id']} in {answer['storage_path']}")
        return str(answer["id"])

    # What others can see of it

    def _tell_context(self, context: Context, unchanged: bool) -> None:
        data = {"files": len(_files(context)), "bytes": context.size_bytes, "not_modified": unchanged}
        self._publish("context_loaded", "progress", data)

    def _tell_start(self, context: Context, call: Call | None) -> None:
        data: dict[str, Any] = {"earlier": _earlier(context)}
        if call is not None:
            data["called_by"] = {name: call.event[name] for name in ("event_id", "event_type", "sequence")}
            data |= {"parked": call.parked, "lag_ms": call.lag_ms}
        self._publish("work_started", "progress", data)

    def _publish(self, event_type: str, topic: str, data: Mapping[str, Any]) -> None:
        answer = self._client.publish_event(event_type, topic, {"issue_id": self._issue, **data})
        self._say(f"published {event_type} as {answer['sequence']}")

    def _say(self, text: str) -> None:
        print(text, flush=True)


def _files(context: Context) -> Sequence[Mapping[str, Any]]:
    """Give the files of a context, best first."""
    files: Sequence[Mapping[str, Any]] = context["context"]["relevant_files"]
    return files


def _earlier(context: Context) -> list[str]:
    """Give the agent types whose results are in a context, first to report first."""
    outputs = sorted(context["context"]["previous_agent_outputs"], key=lambda output: str(output["result_id"]))
    return [output["agent_type"] for output in outputs]


def _call(event: Mapping[str, Any], asked_at: float) -> Call:
    published_at = datetime.fromisoformat(event["timestamp"]).timestamp()
    lag_ms = round(1000 * max(0.0, time.time() - published_at), 1)
    return Call(event, parked=published_at > asked_at, lag_ms=lag_ms)


def _out_of_time(signum: int, frame: object) -> NoReturn:
    os.write(2, f"demo agent: not done after {LIMIT_SECONDS:.0f} s\n".encode())
    os._exit(1)


def main() -> int:
    """Run the agent; 0 unless a step did not happen."""
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    try:
        agent = ScriptedAgent(os.environ, time.monotonic())
    except KeyError as missing:
        print(f"demo agent: {missing} is not set. Start it with: cco agent spawn --runner demo …", file=sys.stderr)
        return 2
    except NotConfigured as error:
        print(f"demo agent: {error}", file=sys.stderr)
        return 2
    try:
        agent.work()
    except SidecarError as error:
        print(f"demo agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
