"""A program that passes for the sidecar: it writes its run file, answers /readyz, and ends on SIGTERM.

Called with the arguments of `cco`; FAKE says how it misbehaves: ``dies``, ``never-ready``, ``stays``.
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cco_sidecar import runfile


class Ready(BaseHTTPRequestHandler):
    """Answers everything with 200, or 503 if it is never ready."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(503 if os.environ.get("FAKE") == "never-ready" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def serve(arguments: list[str]) -> None:
    """Be a sidecar on the port that the arguments name."""
    if os.environ.get("FAKE") == "dies":
        sys.stderr.write("--port is taken by process 7.\n\x1b[31mThe end.\n")
        sys.exit(5)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("FAKE") == "stays" else lambda *_: os._exit(0))
    port_as_given = next((int(it.removeprefix("--port=")) for it in arguments if it.startswith("--port=")), 3001)
    home = Path(os.environ["CCO_HOME"])
    server = HTTPServer(("127.0.0.1", port_as_given), Ready)
    port = server.server_address[1]
    (home / "started").write_text("\n".join([str(Path.cwd()), os.environ.get("CCO_SIDECAR_LOG_LEVEL", ""), *arguments]))
    storage, token_file = "/data", str(home / "admin-token")
    runfile.write(
        home, port_as_given, runfile.RunFile(f"http://127.0.0.1:{port}", port, os.getpid(), storage, token_file)
    )
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:3] == ["config", "show"]:
        sys.exit("Error: sidecar.port must be right." if Path(os.environ["CCO_HOME"], "broken").exists() else 0)
    serve(sys.argv[1:])
