"""MCP against the official programs: the conformance suite (npm), and the Python SDK's client.

The suite is installed when it is first wanted, into the user's cache; without npm, or without a way to its registry,
this is skipped. It cannot show a token, so it asks through a door that puts one into each request.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.system.mcp_proxy import Door
from tests.system.sidecar_process import Sidecar

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE = "node@22"
"""The suite needs a newer one than Debian has."""
INSTALL_SECONDS, SCENARIO_SECONDS = 150, 60

APPLICABLE = [
    ("2025-11-25", "server-initialize"),
    ("2025-11-25", "server-session-lifecycle"),
    ("2025-11-25", "ping"),
    ("2025-11-25", "server-sse-polling"),
    *(
        (version, name)
        for version in ("2025-11-25", "2026-07-28")
        for name in ("tools-list", "resources-list", "dns-rebinding-protection", "server-sse-multiple-streams")
    ),
    ("2026-07-28", "server-stateless"),
    ("2026-07-28", "caching"),
    ("2026-07-28", "http-header-validation"),
    ("2026-07-28", "sep-2164-resource-not-found"),
    ("2026-07-28", "input-required-result-unsupported-methods"),
    ("2026-07-28", "input-required-result-ignore-extra-params"),
]
"""What each of the others asks for is not here: docs/mcp.md has the reasons."""

NOT_HERE = ("prompts/list returned JSON-RPC error -32601", "Not testable: server does not list the diagnostic tool")
"""A failed check with one of these asks for what is not offered."""


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    with Sidecar(tmp_path_factory.mktemp("mcp")) as found:
        yield found


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """Give the command of the conformance suite."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cco-sidecar"
    kept = cache / f"mcp-{SUITE.rpartition('@')[2]}-{NODE}"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="mcp-", dir=cache))
        try:
            _install(made)
            with suppress(OSError):  # another run was quicker
                made.rename(kept)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    modules = kept / "node_modules"
    return [
        str(modules / ".bin" / "node"),
        str(modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"),
    ]


def _install(directory: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not there: the MCP conformance suite cannot be installed")
    (directory / "package.json").write_text("{}")
    options = ["--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            [npm, "install", *options, NODE, SUITE],
            cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the MCP conformance suite in time")
    if done.returncode:
        pytest.skip(f"npm could not install the MCP conformance suite: {done.stderr[-300:]}")


@pytest.fixture(scope="module")
def door(sidecar: Sidecar) -> Iterator[str]:
    """Give the URL of a way in that shows a token."""
    with Door(sidecar.port, sidecar.agent_token("mcp-1")) as found:
        yield f"http://127.0.0.1:{found.port}/api/mcp"


@pytest.mark.timeout(INSTALL_SECONDS + SCENARIO_SECONDS)
@pytest.mark.parametrize(("version", "scenario"), APPLICABLE)
def test_conformance(version: str, scenario: str, suite: list[str], door: str, tmp_path: Path) -> None:
    """Every check of a scenario that applies passes, but for those of what is not offered."""
    command = [*suite, "server", "--url", door, "--scenario", scenario, "--spec-version", version]
    done = subprocess.run(
        [*command, "--output-dir", str(tmp_path)], capture_output=True, text=True, timeout=SCENARIO_SECONDS, check=False
    )
    (file,) = tmp_path.rglob("checks.json")
    checks = json.loads(file.read_text())
    failed = [
        (check["id"], check.get("errorMessage"))
        for check in checks
        if check["status"] == "FAILURE" and not str(check.get("errorMessage")).startswith(NOT_HERE)
    ]
    assert failed == [], done.stdout[-2000:]


async def _talk(client: Any) -> dict[str, Any]:
    """Use the server as a program of the SDK does; gives what came."""
    async with client as session:
        tools = [tool.name for tool in (await session.list_tools()).tools]
        event = {"event_type": "sdk_event", "topic": "mcp", "data": {"n": 1}}
        await session.call_tool("publish_event", event)
        beats: list[float] = []

        async def on_progress(progress: float, *_: object) -> None:
            beats.append(progress)

        arguments = {"event_type": "sdk_event", "since": "earliest", "filter": "n:1", "timeout": 5000}
        found = await session.call_tool("wait_for_event", arguments)
        silent = {"event_type": "never", "timeout": 6000}
        none = await session.call_tool("wait_for_event", silent, progress_callback=on_progress)
        refused = await session.call_tool("publish_event", {**event, "topic": "a b"})
        listed = (await session.list_resources()).resources
        read = await session.read_resource(listed[0].uri)
        return {
            "tools": tools,
            "events": found.structured_content["events"],
            "timeout": none.structured_content["timeout"],
            "beats": beats,
            "refused": refused.is_error,
            "read": json.loads(read.contents[0].text)["event_type"],
        }


WAYS = ("legacy", "auto", "stdio")


@pytest.fixture(scope="module")
def talks(sidecar: Sidecar) -> dict[str, dict[str, Any]]:
    """Let clients of the SDK talk in all ways at once, since most of it is waiting."""
    mcp = pytest.importorskip("mcp", reason="the MCP SDK is not there: pip install 'cco-sidecar[test]'")
    stdio = pytest.importorskip("mcp.client.stdio")
    environ = {"CCO_TOKEN": sidecar.agent_token("mcp-2"), "CCO_SIDECAR_URL": f"http://127.0.0.1:{sidecar.port}"}
    path = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    program = stdio.StdioServerParameters(command=sys.executable, args=["-m", "cco_sidecar", "mcp"], env=environ | path)

    async def talk(*servers: tuple[Any, Any]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(_talk(mcp.Client(server, mode=mode)) for server, mode in servers))

    # An agent each: one has one wait for the same events at a time.
    with (
        Door(sidecar.port, sidecar.agent_token("mcp-3")) as old,
        Door(sidecar.port, sidecar.agent_token("mcp-4")) as new,
    ):
        urls = [f"http://127.0.0.1:{door.port}/api/mcp" for door in (old, new)]
        found = asyncio.run(talk((urls[0], "legacy"), (urls[1], "auto"), (program, "auto")))
    return dict(zip(WAYS, found, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_python_sdk(way: str, talks: dict[str, dict[str, Any]]) -> None:
    """The official client lists, calls, waits with signs of life, and reads, in both eras and over stdio."""
    got = talks[way]
    assert {"get_context", "spawn_agent", "wait_for_event"} <= set(got["tools"])
    assert got["events"][-1]["data"] == {"n": 1}
    assert (got["timeout"], got["refused"], got["read"]) == (True, True, "sdk_event")
    assert len(got["beats"]) == 1
