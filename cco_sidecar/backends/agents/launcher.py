"""Starts a shim for each agent, follows it by pidfd, also one that an earlier sidecar started, and asks it to stop."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorFDSet,
    IReactorProcess,
    IReactorThreads,
    IReactorTime,
    IReadDescriptor,
)
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from cco_sidecar.backends.agents.cgroups import delegated_group
from cco_sidecar.backends.agents.shim import processes, program
from cco_sidecar.backends.agents.shim.order import encode_order
from cco_sidecar.backends.agents.shim_start import ShimStart, refusal
from cco_sidecar.backends.agents.states import (
    find_launched,
    how_it_ended,
    kill_orphans,
    look,
    open_pidfd,
    read_state,
    remove_notes,
    remove_stale,
)
from cco_sidecar.interfaces import Ended, IAgentLauncher, Launched, LaunchOrder, Look, ProcessIdentity

START_SECONDS = 15.0
BACKSTOP_SECONDS = 20.0
"""How long past the grace a shim may take before it is taken for stuck: twice what it gives its own sweep."""
_STALE_SECONDS = 7 * 86_400.0
Limits = Sequence[tuple[int, int, int]]
"""Resource (``resource.RLIMIT_…``), soft and hard limit; -1 leaves the hard one."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
EndedCallback = Callable[[str, Ended], None]


class IAgentReactor(IReactorProcess, IReactorFDSet, IReactorThreads, IReactorTime):
    """What the launcher asks of a reactor."""


@implementer(IReadDescriptor)
@define(eq=False)
class _Follower:
    """A pidfd in the reactor: readable once the process has ended."""

    _pidfd: int
    _over: Callable[[], None]

    def fileno(self) -> int:
        return self._pidfd

    def logPrefix(self) -> str:
        return "agent"

    def doRead(self) -> None:
        self._over()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of it; its owner closes it."""


@define(eq=False)
class _Watch:
    """A running agent, from its start or adoption to its end."""

    agent_id: str
    launched: Launched
    ended: EndedCallback
    follower: _Follower | None = None
    backstop: IDelayedCall | None = None
    waiters: dict["Deferred[None]", None] = field(factory=dict)


@implementer(IAgentLauncher)
class AgentLauncher(Service):
    """Starts agent processes under shims that outlive this sidecar, and finds them again.

    :param log_directory: gets ``<agent_id>.log``.
    :param state_directory: private (0700) and not for backups: state files of the shims.
    :param limits: what an agent's processes may use, each.
    """

    name = "agents"
    _log = Logger()

    def __init__(self, reactor: IAgentReactor, log_directory: Path, state_directory: Path, limits: Limits = ()) -> None:
        self._reactor = reactor
        self._limits = list(limits)
        self._cgroup = b""
        self._log_directory = log_directory
        self._state_directory = state_directory
        self._watches: dict[str, _Watch] = {}
        self._pending: dict[Deferred[None], None] = {}
        self._pool = ThreadPool(0, 4, "agents")
        self._stopped = False

    def startService(self) -> None:
        super().startService()
        self._cgroup = delegated_group()
        self._pool.start()

    def tidy(self) -> None:
        """Remove what crashes left over long ago; after all agents were found again."""
        self._aside(remove_stale, self._state_directory, self._reactor.seconds() - _STALE_SECONDS)

    async def stopService(self) -> None:
        """Let the agents run on under their shims; what was asked of these is handed over first."""
        super().stopService()
        await DeferredList(list(self._pending))
        self._stopped = True
        for watch in self._watches.values():
            self._let_go(watch)
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._pool.stop)

    def log_path(self, agent_id: str) -> Path:
        return self._log_directory / f"{agent_id}.log"

    def launch(self, order: LaunchOrder, ended: EndedCallback) -> "Deferred[Launched]":
        return Deferred.fromCoroutine(self._launch(order, ended))

    def adopt(self, agent_id: str, launched: Launched, ended: EndedCallback) -> None:
        self._follow(_Watch(agent_id, launched, ended))

    def stop(self, agent_id: str, grace_seconds: float) -> "Deferred[None]":
        watch = self._watches.get(agent_id)
        if watch is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(lambda gone: watch.waiters.pop(gone, None))
        watch.waiters[waiter] = None
        self._ask(watch, grace_seconds)
        return waiter

    def find(self, agent_id: str) -> "Deferred[Launched | None]":
        return self._in_thread(find_launched, self._state_path(agent_id), agent_id)

    def forget(self, agent_id: str) -> "Deferred[None]":
        done = self._in_thread(remove_notes, self._state_path(agent_id))
        done.addErrback(lambda failure: self._log.failure("notes on {id} could not be removed", failure, id=agent_id))
        self._keep(done)
        return done

    def look(self, agent_id: str) -> "Deferred[Look | None]":
        return self._in_thread(look, self._state_path(agent_id).with_suffix(".sock"))

    async def _launch(self, order: LaunchOrder, ended: EndedCallback) -> Launched:
        protocol = ShimStart(self._encoded(order), order.command[0])
        arguments = [sys.executable, "-I", "-S", program.__file__, order.agent_id]
        pipes = {0: "w", 1: "r", 2: "r"}
        try:
            transport = self._reactor.spawnProcess(protocol, sys.executable, arguments, env={}, childFDs=pipes)
        except OSError as error:
            raise refusal(error.strerror or str(error)) from error
        deadline = self._reactor.callLater(START_SECONDS, self._too_slow, order.agent_id, protocol, transport)
        try:
            launched = await protocol.answer
        finally:
            if deadline.active():
                deadline.cancel()
        self._follow(_Watch(order.agent_id, launched, ended))
        return launched

    def _encoded(self, order: LaunchOrder) -> bytes:
        state = self._state_path(order.agent_id)
        paths = [state, self._stop_path(order.agent_id), self.log_path(order.agent_id), order.directory]
        try:
            return encode_order(
                [os.fsencode(path) for path in paths],
                order.timeout_seconds,
                [os.fsencode(argument) for argument in order.command],
                [os.fsencode(f"{name}={value}") for name, value in order.environment.items()],
                cgroup=self._cgroup,
                limits=self._limits,
            )
        except ValueError as error:  # a NUL, or half a surrogate pair
            raise refusal(f"its command or environment can't be passed on ({error})") from error

    def _too_slow(self, agent_id: str, protocol: ShimStart, transport: IProcessTransport) -> None:
        """Give up on a start, for instance on a dead network file system, and leave nothing of it."""
        pid = transport.pid
        found = None if pid is None else processes.find(pid)
        try:
            transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return  # processEnded is on its way
        if found is not None:
            self._aside(self._clear, agent_id, ProcessIdentity(processes.boot_id(), found.pid, found.started))
        protocol.answer.errback(refusal(f"it did not start within {START_SECONDS:g} s"))

    def _clear(self, agent_id: str, leader: ProcessIdentity) -> None:
        state = read_state(self._state_path(agent_id))
        kill_orphans(agent_id, leader, "" if state is None else state.cgroup)
        remove_notes(self._state_path(agent_id))

    def _follow(self, watch: _Watch) -> None:
        self._watches[watch.agent_id] = watch
        pidfd = open_pidfd(watch.launched.shim)
        if pidfd is None:
            self._settle(watch)
            return
        watch.follower = _Follower(pidfd, lambda: self._settle(watch))
        self._reactor.addReader(watch.follower)

    def _settle(self, watch: _Watch) -> None:
        """The shim is gone: find out how its agent ended, and tell."""
        self._let_go(watch)
        path = self._state_path(watch.agent_id)
        found = self._in_thread(how_it_ended, path, watch.agent_id, watch.launched, self._reactor.seconds())
        found.addCallback(self._tell, watch)
        found.addErrback(lambda failure: self._log.failure("agent {id} ended unseen", failure, id=watch.agent_id))

    def _tell(self, found: tuple[Ended, int], watch: _Watch) -> None:
        ended, survivors = found
        if self._stopped:
            return  # too late for this sidecar: the next one finds the state file
        if survivors:
            self._log.error("{n} processes of agent {id} can't be killed", n=survivors, id=watch.agent_id)
        del self._watches[watch.agent_id]
        try:
            watch.ended(watch.agent_id, ended)
        finally:
            waiters, watch.waiters = watch.waiters, {}
            for waiter in waiters:
                waiter.callback(None)

    def _let_go(self, watch: _Watch) -> None:
        if watch.follower is not None:
            self._reactor.removeReader(watch.follower)
            os.close(watch.follower.fileno())
            watch.follower = None
        if watch.backstop is not None and watch.backstop.active():
            watch.backstop.cancel()

    def _ask(self, watch: _Watch, grace_seconds: float) -> None:
        """Ask the shim to end the agent; should it not, end the shim and sweep after it."""
        if watch.follower is None:
            return  # it is gone already
        if watch.backstop is not None and watch.backstop.active():
            watch.backstop.cancel()
        watch.backstop = self._reactor.callLater(
            max(grace_seconds, 0.0) + BACKSTOP_SECONDS, self._signal, watch, signal.SIGKILL
        )
        if grace_seconds <= 0:
            self._signal(watch, signal.SIGUSR1)
            return
        path = self._stop_path(watch.agent_id)
        written = self._in_thread(path.write_bytes, b"%f" % grace_seconds)
        written.addErrback(lambda failure: self._log.failure("the grace could not be passed on", failure))
        self._keep(written.addCallback(lambda _: self._signal(watch, signal.SIGTERM)))

    def _signal(self, watch: _Watch, number: signal.Signals) -> None:
        if watch.follower is None:
            return
        try:
            signal.pidfd_send_signal(watch.follower.fileno(), number)
            signal.pidfd_send_signal(watch.follower.fileno(), signal.SIGCONT)  # it may have been stopped
        except ProcessLookupError:
            return  # it just ended; the reactor will see

    def _state_path(self, agent_id: str) -> Path:
        return self._state_directory / f"{agent_id}.json"

    def _stop_path(self, agent_id: str) -> Path:
        return self._state_directory / f"{agent_id}.stop"

    def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> "Deferred[_T]":
        return deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)

    def _aside(self, work: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Do work that nobody waits for, but for the end of this service."""
        done = self._in_thread(work, *args, **kwargs)
        done.addErrback(lambda failure: self._log.failure("work on state files failed", failure))
        self._keep(done.addCallback(lambda _: None))

    def _keep(self, work: "Deferred[None]") -> None:
        self._pending[work] = None
        work.addBoth(lambda _: self._pending.pop(work, None))
