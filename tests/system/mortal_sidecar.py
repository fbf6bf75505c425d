"""A sidecar that is killed (SIGKILL) when a rule of a workflow fires, or an agent is tried again, for the N-th time.

``MORTAL`` is ``MODE:N``; MODE is ``before`` (nothing is on disk), ``after`` (it is on disk, and nobody knows), or
``acting`` (what follows is under way).
"""

import os
import signal
from typing import Any

from cco_sidecar.cli import main
from cco_sidecar.core.workflows.run import Fired, Retried, Step
from cco_sidecar.core.workflows.runs import Runs

ACTING_SECONDS = 0.03


def die(_: object = None) -> None:
    """End at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def make_mortal(mode: str, number: int) -> None:
    """Let every process of this program die at the so many-th firing."""
    take, seen = Runs.take, [0]

    def mortal(self: Runs, step: Step) -> Any:
        if not any(isinstance(effect, (Fired, Retried)) for effect in step.effects):
            return take(self, step)
        seen[0] += 1
        if seen[0] != number:
            return take(self, step)
        if mode == "before":
            die()
        if mode == "after":
            return self._ledger.record("run_step", step).addCallback(die)
        from twisted.internet import reactor

        reactor.callLater(ACTING_SECONDS, die)
        return take(self, step)

    Runs.take = mortal  # type: ignore[method-assign]  # that is the point


if __name__ == "__main__":
    if "MORTAL" in os.environ:
        how, _, place = os.environ.pop("MORTAL").partition(":")
        make_mortal(how, int(place))
    main()
