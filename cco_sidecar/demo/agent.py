"""The scripted agent of the packaged ``demo`` runner: no model, no network but the sidecar, and it ends by itself.

It does what an agent does: says that it lives, reads its context, waits for the event that calls it, works a moment,
stores a result and publishes its own event. Nobody's call in time is no failure: it then stores a ``partial`` result
and publishes nothing, for nothing was done. Standard library only: a hundred of these may start at once.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, urlencode

from cco_sidecar.demo.client import Client, OutOfTimeError, RefusedError
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


class Context(NamedTuple):
    """What the agent was told of the project."""

    body: Mapping[str, Any]
    etag: str
    size: int

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The files, best first."""
        files: Sequence[Mapping[str, Any]] = self.body["context"]["relevant_files"]
        return files

    @property
    def earlier(self) -> list[str]:
        """The agent types whose results are in it, first to report first."""
        outputs = sorted(self.body["context"]["previous_agent_outputs"], key=lambda output: str(output["result_id"]))
        return [output["agent_type"] for output in outputs]


class Call(NamedTuple):
    """The event that called the agent; ``parked`` if it was waiting when that was published."""

    event: Mapping[str, Any]
    parked: bool
    lag_ms: float


class ScriptedAgent:
    """One agent, as its environment describes it (contract section 8)."""

    def __init__(self, environ: Mapping[str, str], began: float) -> None:
        self._id = environ["AGENT_ID"]
        self._issue = environ["ISSUE_ID"]
        self._project = environ["PROJECT_ID"]
        self._task = environ.get("TASK", "")
        self._part = part_of(environ["AGENT_TYPE"])
        self._token_file = Path(environ["JWT_TOKEN_FILE"])
        self._first_token = environ["JWT_TOKEN"]
        self._context_file = Path(environ["CONTEXT_FILE"])
        self._called_by = began + CALLED_WITHIN_SECONDS
        self._client = Client(environ["SIDECAR_URL"], self._token, began + REQUESTS_SECONDS)

    def work(self) -> None:
        """Do all of it.

        :raises RefusedError: the sidecar refused a step.
        :raises OutOfTimeError: a step was not answered in time.
        """
        self._say(f"{self._part.agent_type} on {self._issue}: {self._task}")
        self._heartbeat()
        context, unchanged = self._read_context()
        self._tell_context(context, unchanged)
        call = self._wait()
        if self._part.waits_for and call is None:
            self._give_up()
            return
        if call is not None:
            self._heartbeat()
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

    def _heartbeat(self) -> None:
        self._client.request("POST", f"/agents/{quote(self._id)}/heartbeat", {})

    def _read_context(self) -> tuple[Context, bool]:
        """Read the context, then ask whether it has changed, until it has not: others may be editing the project."""
        context = self._context()
        for _ in range(MOST_REVALIDATIONS):
            answer = self._ask_context({"If-None-Match": context.etag})
            if answer is None:
                return context, True
            context = answer
        return context, False

    def _context(self) -> Context:
        context = self._ask_context({})
        if context is None:
            raise RefusedError("the context is 'not modified' though nothing was said of an earlier one")
        return context

    def _ask_context(self, headers: Mapping[str, str]) -> Context | None:
        target = f"/context/{quote(self._issue)}/{quote(self._part.agent_type)}?budget_bytes={CONTEXT_BYTES}"
        answer = self._client.request("GET", target, headers=headers)
        if answer.status == 304:
            return None
        return Context(answer.json(), answer.headers.get("etag", ""), len(answer.body))

    def _wait(self) -> Call | None:
        """Wait for the call, without a cursor: who asks late is given what it missed."""
        if not self._part.waits_for:
            return None
        types = ",".join(self._part.waits_for)
        while (left := self._called_by - time.monotonic()) > 0:
            query = {"timeout": int(1000 * min(POLL_SECONDS, left)), "filter": f'issue_id:"{self._issue}"'}
            asked_at = time.time()
            answer = self._client.request("GET", f"/events/wait/{types}?{urlencode(query)}").json()
            if answer["events"]:
                return _call(answer["events"][-1], asked_at)
        return None

    def _give_up(self) -> None:
        reason = f"nobody published {' or '.join(self._part.waits_for)} within {CALLED_WITHIN_SECONDS:.0f} s"
        self._say(reason)
        summary = f"Not begun: {reason}."
        decisions = ["Nothing is published, for nothing was done."]
        self._store({"status": "partial", "summary": summary, "decisions": decisions, "files_affected": []})

    def _result(self, context: Context, call: Call | None, unchanged: bool) -> dict[str, Any]:
        files = [str(file["path"]) for file in context.files[:MOST_FILES]]
        lines = sum(str(file["content"]).count("\n") for file in context.files[:MOST_FILES])
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
                "files": len(context.files),
                "bytes": context.size,
                "earlier": context.earlier,
                "not_modified": unchanged,
                "injected": self._was_given_context(),
            },
            "called_by": None if call is None else call.event["event_id"],
        }

    def _was_given_context(self) -> bool:
        try:
            found = json.loads(self._context_file.read_bytes())
        except (OSError, ValueError):
            return False
        return bool(found["issue_id"] == self._issue and found["agent_type"] == self._part.agent_type)

    def _store(self, result: Mapping[str, Any]) -> str:
        report = {
            "agent_id": self._id,
            "agent_type": self._part.agent_type,
            "issue_id": self._issue,
            "project_id": self._project,
            "result": result,
        }
        answer = self._client.request("POST", "/results", report, {"Idempotency-Key": f"{self._id}-result"}).json()
        self._say(f"stored {answer['id']} in {answer['storage_path']}")
        return str(answer["id"])

    # What others can see of it

    def _tell_context(self, context: Context, unchanged: bool) -> None:
        data = {"files": len(context.files), "bytes": context.size, "not_modified": unchanged}
        self._publish("context_loaded", "progress", data)

    def _tell_start(self, context: Context, call: Call | None) -> None:
        data: dict[str, Any] = {"earlier": context.earlier}
        if call is not None:
            data["called_by"] = {name: call.event[name] for name in ("event_id", "event_type", "sequence")}
            data |= {"parked": call.parked, "lag_ms": call.lag_ms}
        self._publish("work_started", "progress", data)

    def _publish(self, event_type: str, topic: str, data: Mapping[str, Any]) -> None:
        event = {"topic": topic, "data": {"issue_id": self._issue, **data}}
        key = {"Idempotency-Key": f"{self._id}-{event_type}"}
        answer = self._client.request("POST", f"/events/{event_type}", event, key).json()
        self._say(f"published {event_type} as {answer['sequence']}")

    def _say(self, text: str) -> None:
        print(text, flush=True)

    def _token(self) -> str:
        try:
            return self._token_file.read_text().strip()
        except OSError:
            return self._first_token


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
    try:
        agent.work()
    except (RefusedError, OutOfTimeError) as error:
        print(f"demo agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
