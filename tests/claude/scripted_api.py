"""A model that says what a script tells it to: Anthropic's Messages API, as far as `claude` asks for it, on loopback.

No model, no account, no network. What `claude` sent is kept, so that a test can say what the model would have seen.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

from attrs import define, field, frozen

MOST_REQUESTS = 2_000
"""A runaway loop ends here: what comes after is refused for good."""
_BYTES_PER_TOKEN = 4
_PIECE = 40


@frozen
class Text:
    """A piece of prose."""

    text: str

    @property
    def block(self) -> dict[str, object]:
        """Give it as the API does."""
        return {"type": "text", "text": self.text}


@frozen
class ToolUse:
    """A call of a tool, with its arguments."""

    name: str
    input: Mapping[str, object] = field(factory=dict)
    call_id: str = ""

    @property
    def block(self) -> dict[str, object]:
        """Give it as the API does."""
        return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": dict(self.input)}


@frozen
class Trouble:
    """A refusal: 529 is ``overloaded_error``, 429 ``rate_limit_error``, 401 ``authentication_error``."""

    status: int
    retry_after: int | None = None
    message: str = "scripted"


Answer = Text | ToolUse | Trouble | tuple[Text | ToolUse, ...]


@frozen
class Asked:
    """One request, as `claude` made it."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def is_turn(self) -> bool:
        """Whether this is the agent's turn, and not a question aside (a title, a summary of a tool's output)."""
        return bool(self.body.get("tools")) and not self.is_compaction

    @property
    def is_compaction(self) -> bool:
        """Whether `claude` asks for a summary of all so far, to go on with that instead."""
        return "CRITICAL: Respond with TEXT ONLY." in _plain(self.body["messages"][-1]["content"])

    @property
    def tools(self) -> list[str]:
        """Name the tools that the model may call."""
        return [str(tool["name"]) for tool in self.body.get("tools", [])]

    @property
    def text(self) -> str:
        """Give all that the model sees: its instructions, and the conversation so far."""
        return json.dumps([self.body.get("system"), self.body.get("messages")], ensure_ascii=False)

    @property
    def system(self) -> str:
        """Give the instructions."""
        return _plain(self.body.get("system", ""))

    @property
    def prompt(self) -> str:
        """Give what the conversation began with."""
        return _plain(self.body["messages"][0]["content"])

    @property
    def tokens(self) -> int:
        """Count the tokens of it, roughly."""
        return len(json.dumps(self.body)) // _BYTES_PER_TOKEN

    @property
    def results(self) -> dict[str, str]:
        """Give what the tools answered, by the id of the call."""
        found: dict[str, str] = {}
        for message in self.body.get("messages", []):
            content = message["content"]
            for block in content if isinstance(content, list) else []:
                if block.get("type") == "tool_result":
                    found[str(block["tool_use_id"])] = _plain(block.get("content", ""))
        return found

    @property
    def last_text(self) -> str:
        """Give what is new to the model: all since it spoke last."""
        messages = self.body.get("messages", [])
        spoke = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
        return json.dumps(messages[spoke + 1 :], ensure_ascii=False)

    @property
    def last_result(self) -> str:
        """Give what the tool answered that was called last; empty when none was."""
        return next(reversed(self.results.values()), "")


def _plain(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return str(content)


Script = Callable[[Asked], Answer]
"""Says what the model answers to a request; called in a thread of the server's, one request at a time."""


def in_order(*answers: Answer, last: Answer = Text("Done.")) -> Script:
    """Make a script of turns, one after the other, then ``last``. What is asked aside does not count."""
    waiting = iter(answers)

    def script(asked: Asked) -> Answer:
        return next(waiting, last) if asked.is_turn else Text("ok")

    return script


@define(eq=False)
class ScriptedApi:
    """The server; a context manager that listens while it lasts."""

    script: Script
    asked: list[Asked] = field(factory=list)
    """Every request for an answer, in the order in which they came."""
    other: list[str] = field(factory=list)
    """What else was asked: method and path."""
    _lock: threading.Lock = field(factory=threading.Lock)
    _numbers: Iterator[int] = field(factory=lambda: count(1))
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="scripted-api", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What ``ANTHROPIC_BASE_URL`` is to be."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def turns(self) -> list[Asked]:
        """The requests that were turns of the agent."""
        return [asked for asked in self.asked if asked.is_turn]

    def answer(self, asked: Asked) -> Answer:
        """Keep the request and say what is answered."""
        with self._lock:
            if len(self.asked) >= MOST_REQUESTS:
                return Trouble(400, message="too many requests for a test")
            self.asked.append(asked)
            return self.script(asked)

    def next_id(self, prefix: str) -> str:
        """Make an id."""
        with self._lock:
            return f"{prefix}_{next(self._numbers):06d}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # ten `claude` at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over those that hang up, as `claude` does when it ends; show what else there is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}


def _handler_of(api: ScriptedApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            api.other.append(f"HEAD {self.path}")
            self._send(200, b"")

        def do_GET(self) -> None:
            api.other.append(f"GET {self.path}")
            self._refuse(Trouble(404, message="not scripted"))

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if path == "/v1/messages":
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._answer(Asked(headers, json.loads(text)))
            elif path == "/v1/messages/count_tokens":
                self._send(200, json.dumps({"input_tokens": len(text) // _BYTES_PER_TOKEN}).encode())
            else:
                api.other.append(f"POST {self.path}")
                self._refuse(Trouble(404, message="not scripted"))

        def _answer(self, asked: Asked) -> None:
            answer = api.answer(asked)
            if isinstance(answer, Trouble):
                self._refuse(answer)
                return
            message = _message(api, asked, answer if isinstance(answer, tuple) else (answer,))
            if asked.body.get("stream"):
                self._stream(message)
            else:
                self._send(200, json.dumps(message).encode())

        def _refuse(self, trouble: Trouble) -> None:
            error = {"type": _ERRORS.get(trouble.status, "api_error"), "message": trouble.message}
            more = {} if trouble.retry_after is None else {"retry-after": str(trouble.retry_after)}
            self._send(trouble.status, json.dumps({"type": "error", "error": error}).encode(), more)

        def _send(self, status: int, body: bytes, more: Mapping[str, str] | None = None) -> None:
            self.send_response(status, "scripted")
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **(more or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, message: Mapping[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for event in _events(message):
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def _message(api: ScriptedApi, asked: Asked, parts: tuple[Text | ToolUse, ...]) -> dict[str, Any]:
    blocks = []
    for part in parts:
        block = part.block
        if isinstance(part, ToolUse) and not part.call_id:
            block["id"] = api.next_id("toolu")
        blocks.append(block)
    is_call = any(isinstance(part, ToolUse) for part in parts)
    return {
        "id": api.next_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": blocks,
        "stop_reason": "tool_use" if is_call else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": asked.tokens, "output_tokens": len(json.dumps(blocks)) // _BYTES_PER_TOKEN},
    }


def _events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a message into the events that it is streamed in."""
    usage = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        is_call = block["type"] == "tool_use"
        empty = {**block, "input": {}} if is_call else {**block, "text": ""}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        whole = json.dumps(block["input"]) if is_call else block["text"]
        for at in range(0, len(whole), _PIECE):
            piece = whole[at : at + _PIECE]
            delta = (
                {"type": "input_json_delta", "partial_json": piece}
                if is_call
                else {"type": "text_delta", "text": piece}
            )
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}
