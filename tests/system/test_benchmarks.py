"""The tools of the benchmarks: does the load generator count what there is, and the meter all that computes?"""

import contextlib
import json
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import closed_loop, context_livez, context_speed, fanout, hook_command, hooks, recovery
from benchmarks.context_tree import generate_tree
from benchmarks.load import Load, http_request, nats_request
from benchmarks.machine import CPUMeter
from benchmarks.sidecars import EVENT_TYPE, publishing, sidecar

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator is C, and there is no cc")

SPINNER = """
import subprocess, sys, threading, time

def spin():
    while time.thread_time() < 0.1:
        pass
    print(flush=True)
    sys.stdin.readline()

sys.stdin.readline()
if len(sys.argv) > 1:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(b"\\n")
    child.stdin.flush()
    child.stdout.readline()
threading.Thread(target=spin).start()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the cache of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@contextlib.contextmanager
def server(answer: Callable[[socketserver.StreamRequestHandler], None]) -> Iterator[int]:
    """A server that does this to each connection; gives its port."""

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                answer(self)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


@needs_compiler
def test_it_publishes(tmp_path: Path) -> None:
    """Each answer that it counts is an event."""
    with sidecar(tmp_path) as running, closed_loop.sidecar_load(running, 3) as load:
        assert [(told["answers"], told["refused"]) for told in (load.run(0), load.run(0))] == [(3, 0), (3, 0)]
        answers = load.run(0.05)["answers"]
        events = running.call("GET", f"/api/events?type={EVENT_TYPE}&limit=1000")[1]["events"]
        assert answers >= 3
        assert len(events) == min(1000, 6 + answers)
        contestant = closed_loop.Contestant(load, running.pid)
        contestant.round(0)
        assert contestant.report("our")["our_cpu_us"] > 0


@needs_compiler
def test_it_says_what_is_refused(tmp_path: Path) -> None:
    """An answer that is no 2xx is a refusal."""
    with sidecar(tmp_path) as running, Load(running.port, [publishing("no token")] * 2) as load:
        told = load.run(0)
    assert (told["answers"], told["refused"]) == (2, 2)


@needs_compiler
def test_it_wakes_a_crowd(tmp_path: Path) -> None:
    """All that are parked get the event, and park again."""
    with sidecar(tmp_path) as running, contextlib.ExitStack() as stack:

        def parked() -> int:
            return int(running.call("GET", "/status")[1]["events"]["active_subscriptions"])

        crowd = fanout.gathered(stack, running.pid, parked, fanout.our_load(running, 5), 5)
        crowd.round()
        crowd.probing_round()
        crowd.round()
    assert [told["answers"] for told in crowd.rounds] == [5, 5]
    assert crowd.probe_ms > 0
    assert all(0 < told["first_ms"] <= told["last_ms"] for told in crowd.rounds)


@needs_compiler
def test_a_parked_answer_without_the_mark_is_refused(tmp_path: Path) -> None:
    """A poll that times out is not taken for one that got the event."""
    publish = http_request("POST", "/", None, b"{}")

    def answer(connection: socketserver.StreamRequestHandler) -> None:
        if connection.rfile.readline().startswith(b"POST"):
            released.set()
        released.wait(20)
        connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nempty")
        connection.rfile.read()

    released = threading.Event()
    with server(answer) as port, Load(port, [http_request("GET", "/")] * 2, publish, mark="event") as load:
        load.park()
        assert load.fire()["refused"] == 2


@needs_compiler
def test_it_puts_answers_together() -> None:
    """An answer that comes in parts is one answer."""

    def answer(connection: socketserver.StreamRequestHandler) -> None:
        while connection.rfile.readline() != b"\r\n":
            pass
        for part in (b"HTTP/1.1 200 OK\r\nX: y\r", b"\ncontent-LENGTH: 4\r\n\r", b"\nbo", b"dy"):
            connection.wfile.write(part)
            told.wait(0.02)
        connection.rfile.read()

    told = threading.Event()
    with server(answer) as port, Load(port, [http_request("GET", "/")]) as load:
        result = load.run(0)
    assert (result["answers"], result["refused"]) == (1, 0)


@needs_compiler
def test_a_server_that_hangs_up_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    """What was not measured is not reported."""

    def answer(connection: socketserver.StreamRequestHandler) -> None:
        connection.rfile.readline()

    with (
        server(answer) as port,
        Load(port, [http_request("GET", "/")]) as load,
        pytest.raises(RuntimeError, match="gave up"),
    ):
        load.run(0)
    assert "hung up" in capfd.readouterr().err


@needs_compiler
def test_it_speaks_nats() -> None:
    """A publish is done when its acknowledgement is there; one with an error is a refusal."""

    def answer(connection: socketserver.StreamRequestHandler) -> None:
        connection.wfile.write(b'INFO {"server_id":"fake"}\r\nPING\r\n')
        assert connection.rfile.readline().startswith(b"CONNECT ")
        inbox = connection.rfile.readline().split()[1]
        for ack in (b'{"stream":"bench","seq":1}', b'{"error":{"code":503}}'):
            while not (line := connection.rfile.readline()).startswith(b"PUB bench "):
                assert line == b"PONG\r\n"
            reply, size = line.split()[2:]
            assert reply == inbox
            assert connection.rfile.read(int(size) + 2) == b"event\r\n"
            connection.wfile.write(b"MSG %s 1 %d\r\n%s\r\n" % (reply, len(ack), ack))
        connection.rfile.read()

    with server(answer) as port:
        requests = [nats_request(number, "bench", b"event") for number in range(2)]
        with Load(port, requests, protocol="nats") as load:
            rounds = [load.run(0), load.run(0)]
    assert [(told["answers"], told["refused"]) for told in rounds] == [(2, 0), (2, 2)]


def test_the_meter_counts_threads_and_children() -> None:
    """What a server's threads and its children compute is the server's."""
    command = [sys.executable, "-c", SPINNER, SPINNER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        meter = CPUMeter(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert meter.microseconds() >= 190_000
        process.kill()


@needs_compiler
def test_a_start_has_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed is a start on the events of the log, and on none without it."""
    monkeypatch.setattr(recovery, "EVENTS", 200)
    events = recovery.fill(tmp_path)
    log = tmp_path / "log"
    (tmp_path / "storage").rename(log)
    assert len(events) == 200
    assert recovery.our_start(tmp_path, log, events[:1]) > 0
    assert recovery.our_start(tmp_path, None, []) > 0
    recovery.fill_table(tmp_path / "table", events)
    assert recovery.peer_start(tmp_path / "table", 200) > 0


def test_contexts_under_load(tmp_path: Path) -> None:
    """The tree is the same each time; contexts of it are gathered while /livez is asked, and both are counted."""
    root = generate_tree(tmp_path / "tree", 300)
    again = generate_tree(tmp_path / "again", 300)
    heads = {
        subprocess.run(["git", "rev-parse", "HEAD"], cwd=one, check=True, capture_output=True).stdout
        for one in (root, again)
    }
    assert len(heads) == 1
    found = context_livez.measure(tmp_path, root, 1.0)
    assert found["contexts"] >= len(context_livez.CLIENTS)
    assert found["probes"] > 10
    assert 0 < found["livez_p50_ms"] <= found["livez_p99_ms"] <= found["livez_most_ms"]


def test_speed_of_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cold, unchanged and edited answers are timed beside a peer that packs the same repository, and checked."""
    program = tmp_path / "peer"
    program.write_text('#!/bin/sh\ngit ls-files -z | xargs -0 cat > "$3"\n')
    program.chmod(0o755)
    monkeypatch.setattr(context_speed, "repomix", lambda: program)
    root = generate_tree(tmp_path / "tree", 100)
    found = context_speed.measure(tmp_path, root, "/api/context/issue/code-reviewer", 1)
    assert found["our_files"] == 100
    assert found["repomix_bytes"] > 50_000
    assert found["unchanged_ms"] < found["cold_ms"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_hook_is_a_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Both contestants are answered, and the line has the ratio."""
    hook_command.main(1)
    told = json.loads(capsys.readouterr().out)
    assert told["ratio"] == pytest.approx(told["our_ms"] / told["peer_ms"], rel=0.05)
    assert told["our_p95_ms"] == told["our_ms"]


def test_hooks(tmp_path: Path) -> None:
    """Every hook is answered, and just the edits of what another has claimed are denied."""
    found = hooks.ours(tmp_path, agents=3, hooks_each=5)
    assert (len(found.seconds), found.refused, found.denied) == (15, 0, 3)
