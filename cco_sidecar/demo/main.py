"""``cco demo``: a sidecar of its own, scripted agents, a real repository; all of it shown, checked and cleared away."""

import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cco_sidecar.cli.output import note
from cco_sidecar.client import SidecarError
from cco_sidecar.demo.repository import Repository, RepositoryError, choose
from cco_sidecar.demo.script import WORKFLOW, chain
from cco_sidecar.demo.sidecar import Sidecar, StartError
from cco_sidecar.demo.stage import Stage, clear, end_processes, left_over
from cco_sidecar.demo.story import Story, missing
from cco_sidecar.demo.timeline import line, show_numbers, show_tables

PLAY_SECONDS = 45.0
CLEAR_SECONDS = 5.0
INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(keep: bool = False) -> int:
    """Show the demo; gives the exit code: 0 if every step happened, 1 if not, 130 if it was interrupted.

    :param keep: leave its directory, with the storage and the logs, where it is.
    """
    directory = Path(tempfile.mkdtemp(prefix="cco-demo-"))
    try:
        with _ended_by_signals():
            return _run(directory, keep)
    except KeyboardInterrupt:
        note("Interrupted; what was started is stopped.")
        return INTERRUPTED
    except (RepositoryError, StartError, SidecarError) as error:
        note(f"The demo could not be shown. {error}")
        return 1
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a closed terminal and SIGTERM end the demo as Ctrl-C does: in order."""

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _run(directory: Path, keep: bool) -> int:
    began_at = time.time()
    repository = choose(Path.cwd(), directory / "repository")
    steps = chain()
    # The last one comes late, to see that it is given what it missed.
    story = Story(steps, late=frozenset({steps[-1].agent_type}))
    sidecar = Sidecar(directory, repository.root)
    _show_head(repository, len(steps))
    try:
        stage = _play(sidecar, story, began_at)
    finally:
        with _handled_by(signal.SIG_IGN):
            _stop(sidecar, story)
    story.left_over = left_over(story)
    show_tables(story)
    show_numbers(stage.status, sum(story.requests.values()))
    return _show_end(story, directory, sidecar, keep, time.time() - began_at)


def _show_head(repository: Repository, agents: int) -> None:
    whose = "made for the demo" if repository.made else "only read"
    line(f"{agents} scripted agents work on one issue, by the workflow '{WORKFLOW}'. No model, no network.")
    line()
    line(f"Repository  {repository.root} ({whose}; {repository.files} files, {repository.branch} at {repository.head})")


def _play(sidecar: Sidecar, story: Story, began_at: float) -> Stage:
    entry = sidecar.start()
    line(f"Sidecar     {entry.url} (process {entry.pid})")
    line(f"Storage     {sidecar.storage}")
    line()
    stage = Stage(sidecar.client(PLAY_SECONDS), sidecar, story, began_at)
    stage.play()
    stage.look_back()
    return stage


def _stop(sidecar: Sidecar, story: Story) -> None:
    """Stop what was started, agents first."""
    if sidecar.is_running:
        # A sidecar that cannot do it any more is ended all the same.
        with contextlib.suppress(SidecarError, OSError):
            clear(sidecar.client(CLEAR_SECONDS))
    sidecar.stop()
    end_processes(story)


def _show_end(story: Story, directory: Path, sidecar: Sidecar, keep: bool, seconds: float) -> int:
    line()
    line("All of it is stopped: the sidecar and every agent.")
    logs = f"{sidecar.log} and {sidecar.storage / 'logs' / 'agents'}"
    line(f"Kept: {directory} (logs: {logs})" if keep else f"Not kept: {directory} (to keep it: cco demo --keep)")
    gaps = missing(story)
    if gaps:
        note("\n".join([f"\nNot every step happened, in {seconds:.1f} s:", *(f"  - {gap}" for gap in gaps)]))
        note(f"The sidecar's log ends:\n{sidecar.last_lines()}")
        return 1
    line(f"Every step happened, in {seconds:.1f} s.")
    return 0
