"""Between stdin and stdout on one side and ``POST /api/mcp`` on the other: a message a line, each a request."""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import click

from cco_sidecar.cli.asking import Trouble
from cco_sidecar.cli.place import Place
from cco_sidecar.client.transport import BrokenError, Pool, Stream, TimedOutError, UnreachableError
from cco_sidecar.client.values import Request

MOST_LINE_BYTES = 4 * 1024 * 1024
MOST_AT_ONCE = 64
ANSWER_SECONDS = 300.0
LAST_SECONDS = 5.0
"""How long, after stdin has ended, answers that are still to come are waited for."""

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_NAMED_BY = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
SERVER_ERROR, PARSE_ERROR = -32000, -32700


class Identity(Protocol):
    """Where the sidecar is and who asks it."""

    @property
    def place(self) -> Place:
        """Where the sidecar is now."""

    def token(self, refused: str | None = None) -> str:
        """Give the token to show, or another one in the place of one that was refused.

        :raises Trouble: there is none.
        """

    def take(self, successor: str) -> None:
        """Take the token that follows."""

    def explain(self, trouble: Trouble) -> str:
        """Say what is wrong and what to do about it."""


class Refused(Exception):
    """There is no answer of the protocol's; the message is for a person or a model."""

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message)
        self.data = data


class Bridge:
    """Carries messages over, many at once: a long wait holds up nothing."""

    def __init__(self, identity: Identity, lines: BinaryIO, out: BinaryIO) -> None:
        self._identity = identity
        self._lines = lines
        self._out = out
        self._writing = threading.Lock()
        self._version: str | None = None
        self._under_way: dict[str, Pool] = {}
        self._threads: set[threading.Thread] = set()
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def run(self) -> None:
        """Carry over until stdin ends, and what is then under way gets a moment more."""
        while line := self._lines.readline(MOST_LINE_BYTES):
            if line.strip():
                self._take(line)
        for thread in list(self._threads):
            thread.join(LAST_SECONDS)
        for pool in list(self._under_way.values()):
            pool.close()

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._say(_error(None, PARSE_ERROR, "This line is not JSON: one JSON-RPC message a line, as UTF-8."))
            return
        shown = message if isinstance(message, dict) else {}
        if shown.get("method") == "notifications/cancelled":
            self._cancel(shown)
            return
        self._places.acquire()  # a client that sends without end waits here
        pool = Pool(self._identity.place.server)
        key = _key(shown["id"]) if shown.get("id") is not None else f"notification {id(pool)}"
        self._under_way[key] = pool
        thread = threading.Thread(target=self._carry, args=(line, shown, key, pool), daemon=True)
        self._threads.add(thread)
        thread.start()

    def _cancel(self, message: Mapping[str, Any]) -> None:
        """End a request by hanging up, as the protocol asks for over HTTP; nothing is answered then."""
        params = message.get("params")
        pool = self._under_way.pop(_key(params.get("requestId")), None) if isinstance(params, dict) else None
        if pool is not None:
            pool.close()

    def _carry(self, line: bytes, message: Mapping[str, Any], key: str, pool: Pool) -> None:
        request_id = message.get("id")
        try:
            self._ask(pool, line, message)
        except (Refused, Trouble, click.ClickException) as error:
            if key in self._under_way and request_id is not None:
                self._say(_error(request_id, SERVER_ERROR, self._explained(error), getattr(error, "data", None)))
        finally:
            self._under_way.pop(key, None)
            self._threads.discard(threading.current_thread())
            self._places.release()

    def _explained(self, error: Exception) -> str:
        if isinstance(error, Trouble):
            return self._identity.explain(error)
        return error.format_message() if isinstance(error, click.ClickException) else str(error)

    def _ask(self, pool: Pool, line: bytes, message: Mapping[str, Any]) -> None:
        shown = self._identity.token()
        for is_again in (False, True):
            headers = {**self._headers(message), "Authorization": f"Bearer {shown}"}
            request = Request("POST", "/api/mcp", line.strip(), headers, ANSWER_SECONDS, repeatable=False)
            try:
                with pool.send(request, {}, ANSWER_SECONDS, is_fresh=True) as stream:
                    if stream.status == 401 and not is_again:
                        shown = self._identity.token(shown)
                        continue
                    if successor := stream.headers.get("x-refreshed-token"):
                        self._identity.take(successor)
                    self._pass_on(stream, message)
            except UnreachableError as error:
                raise Refused(
                    f"No sidecar answers at {pool.server.url} ({error}). Start one: cco daemon start"
                ) from None
            except TimedOutError:
                raise Refused("The sidecar did not answer in time. Ask again.") from None
            except BrokenError as error:
                raise Refused(f"The sidecar's answer was cut off ({error}). It may be restarting: ask again.") from None
            return

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Say in headers what the message says, as the protocol asks for over HTTP."""
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        version = meta.get(_VERSION_KEY) if isinstance(meta, dict) else None
        if not isinstance(version, str):
            return headers | ({"MCP-Protocol-Version": self._version} if self._version else {})
        headers |= {"MCP-Protocol-Version": _fit(version), "Mcp-Method": _fit(message.get("method"))}
        name = params.get(_NAMED_BY.get(str(message.get("method")), "")) if isinstance(params, dict) else None
        return headers | ({"Mcp-Name": _fit(name)} if isinstance(name, str) else {})

    def _pass_on(self, stream: Stream, message: Mapping[str, Any]) -> None:
        if stream.status == 202:
            return
        if stream.headers.get("content-type", "").startswith("text/event-stream"):
            for text in _events(stream.pieces):
                self._say(text)
            return
        body = stream.body()
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused("What answered is not the sidecar: its answer is not JSON.") from None
        if not isinstance(found, dict) or "jsonrpc" not in found:
            said = found.get("message") if isinstance(found, dict) else None
            raise Refused(str(said or f"The sidecar answered with status {stream.status}."), found)
        if message.get("method") == "initialize" and isinstance(found.get("result"), dict):
            self._version = found["result"].get("protocolVersion")
        self._say(body)

    def _say(self, text: bytes) -> None:
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._out.write(text.strip() + b"\n")
            self._out.flush()


def _key(request_id: object) -> str:
    return json.dumps(request_id)


def _fit(value: object) -> str:
    """Write a text as a header can hold it."""
    text = str(value)
    if _PLAIN.fullmatch(text) and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="


def _events(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the data of Server-Sent Events; here each is one line."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line.removeprefix(b"data:") for line in lines if line.startswith(b"data:"))


def _error(request_id: object, code: int, message: str, data: object = None) -> bytes:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode()
