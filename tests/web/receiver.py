"""A receiver of webhooks on loopback: answers as it is told, and checks every signature by the specification."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, frozen


@frozen
class Got:
    """A message as it came in; ``body`` is decoded."""

    path: str
    headers: dict[str, str]
    body: Any
    content: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed_with(self, secret: str) -> bool:
        """Verify it as https://www.standardwebhooks.com says."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.content
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split(" ")


@define(eq=False, slots=False)
class Receiver:
    """Takes what is posted to it; ``script`` has the next answers (status and headers), then it is 204 for ever."""

    def __attrs_post_init__(self) -> None:
        self.got: list[Got] = []
        self.script: list[tuple[int, dict[str, str]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Got(self.path, headers, json.loads(content), content))
                status, more = receiver.script.pop(0) if receiver.script else (204, {})
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def events(self) -> list[str]:
        """Give the ids of the events that came, in order."""
        return [got.body["data"]["event_id"] for got in self.got if got.body["type"] != "webhook.test"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
