"""The sidecars that the tests of this directory share, and the thread that each test runs in."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from cco_sidecar.backends.gatherer.gatherer_process import GathererProcess

pytest.register_assert_rewrite("tests.web.sidecar")

from tests.web.sidecar import RUNNERS, Sidecar  # noqa: E402 - only after the line above


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Run the test in a thread: it is a client, and may block while the reactor serves."""
    wanted = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    pytest_twisted.blockon(deferToThread(pyfuncitem.obj, **arguments))
    return True


def started(directory: Path, config: Mapping[str, Any] | None = None) -> Sidecar:
    """Start a sidecar and wait until it serves."""
    made = Sidecar.claimed(directory, config)
    made.service.startService()
    sidecar: Sidecar = pytest_twisted.blockon(deferToThread(made.meet))
    return sidecar


def stopped(sidecar: Sidecar) -> None:
    """End a sidecar, and whatever its tests left running."""
    pytest_twisted.blockon(deferToThread(_kill_all, sidecar))
    pytest_twisted.blockon(sidecar.service.stopService())
    sidecar.let_go()


def _kill_all(sidecar: Sidecar) -> None:
    for project in sidecar.settings.projects:
        # A workflow tries again when its agent was killed.
        for issue in sidecar.admin.get("/api/issues", project=project, limit=1000).ok()["issues"]:
            sidecar.admin.post(f"/api/issues/{issue['issue_id']}/stop", project=project)
        for agent in sidecar.admin.get("/api/agents", project=project, limit=1000).ok()["agents"]:
            sidecar.admin.delete(f"/api/agents/{agent['agent_id']}", project=project, force="true")


@pytest.fixture(scope="session", autouse=True)
def _no_head_start() -> Iterator[None]:
    """The process that gathers starts when it is first needed: most tests need none."""
    with mock.patch.object(GathererProcess, "start"):
        yield


@pytest.fixture(scope="session")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """The sidecar of most tests, as it comes out of the box; each test brings agents and issues of its own."""
    made = started(tmp_path_factory.mktemp("sidecar"), {"agents": {"runners": RUNNERS}})
    yield made
    stopped(made)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sidecar]]:
    """Start sidecars with settings of their own, one after the other on the same directory; from the test's thread."""
    running: list[Sidecar] = []

    def begin(**config: Any) -> Sidecar:
        made = Sidecar.claimed(tmp_path, config)
        made.inside(made.service.startService)
        running.append(made.meet())
        return made

    yield begin
    for made in running:
        if not made.over:
            stopped(made)
