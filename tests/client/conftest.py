"""A sidecar that answers as scripted, and clients of it."""

from collections.abc import Iterator

import pytest

from cco_sidecar.client import Client
from tests.cli.conftest import ScriptedSidecar


@pytest.fixture
def sidecar() -> Iterator[ScriptedSidecar]:
    """Give a scripted sidecar."""
    found = ScriptedSidecar()
    yield found
    found.close()


@pytest.fixture
def client(sidecar: ScriptedSidecar) -> Iterator[Client]:
    """Give an agent's client of it."""
    environ = {
        "SIDECAR_URL": f"{sidecar.url}/api",
        "JWT_TOKEN": "t",
        "AGENT_ID": "a-1",
        "AGENT_TYPE": "python-specialist",
        "ISSUE_ID": "issue-1",
        "PROJECT_ID": "p",
    }
    with Client(environ=environ) as found:
        yield found
