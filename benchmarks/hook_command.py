"""What a person's `claude` waits for at every tool call: a whole `cco hook post-tool-use`, from exec to its end.

The hook is that of a Read of 100 kB; `claude` and the token are known, as after the first hook of a session. The peer
is curl, which posts the same bytes with a token that it is given. Both ask a server that answers ``{}`` at once, for
this is about the command. Prints one JSON line; ``ratio`` is our time to curl's, the medians of interleaved rounds.

    python -m benchmarks.hook_command [ROUNDS]
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.machine import SERVER_CORE, load_average, pinned

ROOT = Path(__file__).resolve().parents[1]
SESSION = "5d0f9b1e-0000-4000-8000-000000000000"
READ = {
    "session_id": SESSION,
    "cwd": "/work",
    "hook_event_name": "PostToolUse",
    "tool_name": "Read",
    "tool_input": {"file_path": "/src/shop/main.py"},
    "tool_response": {"type": "text", "file": {"filePath": "/src/shop/main.py", "content": "0123456789" * 10_000}},
}
JSON = "Content-Type: application/json"


class Answering(BaseHTTPRequestHandler):
    """Gives a token or an empty answer, at once."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        text = b'{"token": "a.b.c"}' if self.path == "/api/tokens" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def answering() -> Iterator[str]:
    """Listen in this process; gives the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def took(command: Sequence[str], text: bytes, environ: Mapping[str, str], expected: bytes) -> float:
    """Run a command to its end; gives the milliseconds."""
    with pinned(SERVER_CORE):
        began = time.perf_counter()
        done = subprocess.run(command, input=text, env=environ, capture_output=True, check=False)
        milliseconds = 1000 * (time.perf_counter() - began)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done
    return milliseconds


def main(rounds: int) -> None:
    """Measure, in turn."""
    text = json.dumps(READ).encode()
    with tempfile.TemporaryDirectory() as home, answering() as url:
        Path(home, "admin-token").write_text("a.b.c")
        environ = {"PATH": os.environ["PATH"], "HOME": home, "CCO_HOME": home, "PYTHONPATH": str(ROOT)}
        environ |= {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": SESSION}
        ours = [sys.executable, "-m", "cco_sidecar", "hook", "post-tool-use", "--sidecar-url", url]
        curl = ["curl", "-sf", "-H", "Authorization: Bearer a.b.c", "-H", JSON, "--data-binary", "@-"]
        contestants = {
            "our": (ours, text, b"{}"),
            "peer": ([*curl, f"{url}/api/hooks/claude"], text, b"{}"),
            "python": ([sys.executable, "-c", "pass"], b"", b""),
        }
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name, (command, said, expected) in contestants.items():
                milliseconds = took(command, said, environ, expected)
                if number:  # the first has to ask for the token, and to read its files from the disk
                    times[name].append(milliseconds)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    told = {"ratio": round(medians["our"] / medians["peer"], 2)}
    told |= {f"{name}_ms": round(median, 1) for name, median in medians.items()}
    told["our_p95_ms"] = round(sorted(times["our"])[int(0.95 * rounds)], 1)
    print(json.dumps({**told, "load_average": load_average()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
