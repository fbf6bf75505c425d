"""A sidecar whose default runner starts the real `claude`, and a model for it that a test writes the lines of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claude.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Agents that run for real, each with a part to play."""
    with Fleet(tmp_path) as found:
        yield found
