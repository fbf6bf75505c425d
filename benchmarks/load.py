"""The load generator ``load.c``: compiled when first needed, and led from here over its standard input."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from attrs import define, field

from benchmarks.machine import CLIENT_CORE, cache_directory, pinned

SOURCE = Path(__file__).with_name("load.c")


def http_request(method: str, path: str, token: str | None = None, body: bytes = b"") -> bytes:
    """Write down a request as it is sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def nats_request(number: int, subject: str, body: bytes) -> bytes:
    """Write down what connection ``number`` publishes, with the place for its acknowledgement."""
    return f"PUB {subject} _INBOX.{number} {len(body)}\r\n".encode() + body + b"\r\n"


def compiled() -> Path:
    """Compile it, unless this very text has been compiled before."""
    program = cache_directory() / f"load-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if not program.exists():
        fresh = program.with_suffix(".new")
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(SOURCE)], check=True)
        fresh.rename(program)
    return program


@define(eq=False)
class Load:
    """Connections to a server, each with its one request, on the client's core.

    ``fire`` has the publisher's request sent, and ``probe`` is asked beside it; an answer to one of ``requests`` that
    lacks ``mark`` counts as refused.
    """

    _port: int
    _requests: Sequence[bytes]
    _publisher: bytes = b""
    _probe: bytes = b""
    _mark: str = ""
    _protocol: str = "http"
    _process: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> Self:
        program = compiled()
        with tempfile.NamedTemporaryFile() as file:
            for message in (self._publisher, self._probe, *self._requests):
                file.write(b"%d\n%s" % (len(message), message))
            file.flush()
            command = [str(program), self._protocol, str(self._port), file.name, self._mark]
            with pinned(CLIENT_CORE):
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, seconds: float) -> dict[str, Any]:
        """Let every connection ask and be answered for so long; ends with the last answer."""
        return self._told(f"run {seconds}")

    def park(self) -> None:
        """Let every connection send its request, and wait."""
        self._told("park")

    def fire(self, *, probing: bool = False) -> dict[str, Any]:
        """Let the publisher send; ends when every parked connection has its answer. Times count from the sending."""
        return self._told("fire probe" if probing else "fire")

    def _told(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The load generator gave up; what it said is above.")
        answer: dict[str, Any] = json.loads(line)
        return answer
