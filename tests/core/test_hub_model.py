"""The hub against its model, on every journal that there is."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.core.hub_machine import HubMachine
from tests.fakes import MemoryStorage, Storage
from tests.storages import FileStorage

SEGMENT_BYTES = 4096
"""So small that new segments begin by themselves."""


class HubInMemory(HubMachine):
    """The hub on a journal in memory."""

    def make_storage(self) -> Storage:
        return MemoryStorage(held=True)


class HubOnFiles(HubMachine):
    """The hub on files, with a writer that may die."""

    def make_storage(self) -> Storage:
        for name in ("fsync", "fdatasync"):  # a crash of the machine is not played here, and they take most of the time
            self.patches.enter_context(mock.patch.object(os, name, lambda _handle: None))
        self.directory = Path(tempfile.mkdtemp(prefix="cco-hub-model-"))
        return FileStorage(self.directory / "p", SEGMENT_BYTES)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    @rule(done=st.booleans())
    def writer_dies(self, done: bool) -> None:
        """What it had in hand is refused and never seen; another one goes on."""
        assert isinstance(self.house.storage, FileStorage)
        self.may_refuse = True
        self.house.storage.die(done=done and not self.full)
        self._land()


MACHINES = [HubInMemory, HubOnFiles]


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_hub(machine: type[RuleBasedStateMachine]) -> None:
    """Whatever happens in whatever order, nothing is lost and nothing comes twice."""
    run(machine, 100, 50)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", MACHINES)
def test_hub_for_long(machine: type[RuleBasedStateMachine]) -> None:
    """The same, many times more."""
    run(machine, 3000, 80)
