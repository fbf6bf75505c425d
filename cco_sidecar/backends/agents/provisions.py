"""What an agent is given before it starts and loses when it ends: token, files, environment, a voice."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from attrs import define, field
from twisted.internet import defer
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cco_sidecar.backends.agents.claude import servers_file, settings_file
from cco_sidecar.backends.agents.runners import Runner, agent_environment
from cco_sidecar.backends.agents.tokenfiles import (
    context_path,
    environment_path,
    servers_path,
    settings_path,
    token_path,
)
from cco_sidecar.backends.private import read_private, remove_private, write_private
from cco_sidecar.core.agent_news import CONDITION_EVENTS
from cco_sidecar.core.agent_rows import Agent
from cco_sidecar.core.events.event import SIDECAR
from cco_sidecar.core.events.hub import Draft
from cco_sidecar.core.events.selection import Selection
from cco_sidecar.core.hook_keys import HookKeys
from cco_sidecar.core.projects import Projects
from cco_sidecar.core.results import LIFECYCLE_TOPIC
from cco_sidecar.core.roster import Roster
from cco_sidecar.core.times import rfc3339
from cco_sidecar.core.tokens import Token, TokenAuthority
from cco_sidecar.errors import Refusal, SpawnFailed, TokenRevoked
from cco_sidecar.interfaces import LaunchOrder

_log = Logger()
_T = TypeVar("_T")

CONTEXT_SECONDS = 5.0
"""How long a start waits for the agent's first context before it goes on without."""


@define(eq=False)
class Provisions:
    """Implements `cco_sidecar.core.agent_lives.AgentHooks`; ``gather`` gives an agent's first context."""

    _reactor: IReactorFromThreads
    _clock: IReactorTime
    _projects: Projects
    _tokens: TokenAuthority
    _roster: Roster
    _runners: Mapping[str, Runner]
    _run_directory: Path
    _url: str
    _gather: "Callable[[Agent], Deferred[bytes]]"
    _hook_keys: HookKeys
    _on_hook_failure: str
    _pool: ThreadPool = field(factory=lambda: ThreadPool(0, 1, name="provisions"))
    _current: dict[str, Token] = field(factory=dict)
    _with_context: set[str] = field(factory=set)
    _began: float = 0.0

    # Life

    def start(self) -> None:
        """Begin; from now on `renew_all` is to be called every so often."""
        self._pool.start()
        self._began = self._clock.seconds()

    def stop(self) -> "Deferred[None]":
        """End; fires when nothing is being written."""
        return self._in_thread(lambda: None).addBoth(lambda _: self._pool.stop())

    def _in_thread(self, work: Callable[[], _T]) -> "Deferred[_T]":
        return deferToThreadPool(self._reactor, self._pool, work)

    # Before the start

    def keep(self, agent: Agent, environment: Mapping[str, str]) -> "Deferred[None]":
        """Keep what the spawn asked for: it may be secret, and the agent may have to wait its turn."""
        text = msgspec.json.encode(dict(environment))
        return self._in_thread(lambda: write_private(environment_path(self._run_directory, agent.agent_id), text))

    def prepare(self, agent: Agent) -> "Deferred[LaunchOrder]":
        """Make all it takes to start the agent."""
        return Deferred.fromCoroutine(self._prepare(agent))

    async def _prepare(self, agent: Agent) -> LaunchOrder:
        runner = self._runners.get(agent.runner)
        if runner is None:
            raise SpawnFailed(f"The runner '{agent.runner}' is not configured any more.", reason="unknown runner")
        project = self._projects.get(agent.project_id)
        token = self._token(agent)
        extra = await self._kept(agent)
        await self._write_token(agent.agent_id, token)
        await self._write_files(agent.agent_id, runner)
        await self._inject_context(agent)
        values = {
            "agent_id": agent.agent_id,
            "agent_type": agent.agent_type,
            "issue_id": agent.issue_id,
            "project_id": agent.project_id,
            "project_root": str(project.root),
            "task": agent.task,
        }
        agent_at = agent.project_id, agent.agent_id
        environment = agent_environment(
            os.environ,
            **values,
            sidecar_url=f"{self._url}/api",
            token=token.text,
            token_file=str(token_path(self._run_directory, agent.agent_id)),
            context_file=str(context_path(self._run_directory, agent.agent_id)),
            hook_key=self._hook_keys.make(*agent_at) if runner.wants("settings_file") else None,
            runner_env=runner.env,
            extra=extra,
        )
        more = {
            "python": sys.executable,
            "session_id": agent.session_id,
            "model": self._roster.get(agent.agent_type).model,
            "mcp_config": str(servers_path(self._run_directory, agent.agent_id)),
            "settings_file": str(settings_path(self._run_directory, agent.agent_id)),
        }
        command = runner.expand({**values, **more})
        return LaunchOrder(agent.agent_id, command, environment, project.root, agent.seconds_left)

    async def _write_files(self, agent_id: str, runner: Runner) -> None:
        """Write the files that the runner's command names."""
        if runner.wants("mcp_config"):
            path, servers = servers_path(self._run_directory, agent_id), servers_file(sys.executable)
            await self._in_thread(lambda: write_private(path, servers))
        if runner.wants("settings_file"):
            path, settings = settings_path(self._run_directory, agent_id), self._claude_settings()
            await self._in_thread(lambda: write_private(path, settings))

    def _claude_settings(self) -> bytes:
        return settings_file(sys.executable, self._url, may_fail=self._on_hook_failure == "allow")

    def _token(self, agent: Agent) -> Token:
        kind = self._roster.get(agent.agent_type)
        return self._tokens.issue(
            sub=agent.agent_id,
            agent_type=agent.agent_type,
            project_id=agent.project_id,
            issue_id=agent.issue_id,
            permissions=kind.permissions,
        )

    async def _kept(self, agent: Agent) -> dict[str, str]:
        if not agent.environment_names:
            return {}
        path = environment_path(self._run_directory, agent.agent_id)
        text = await self._in_thread(lambda: read_private(path))
        if text is None:
            raise SpawnFailed("The environment of the spawn is lost: spawn again.", reason="environment lost")
        return msgspec.json.decode(text, type=dict[str, str])

    async def _inject_context(self, agent: Agent) -> None:
        """Put the agent's first context beside its token; an agent can start without, and ask."""
        try:
            waiting = self._gather(agent)
            waiting.addTimeout(CONTEXT_SECONDS, self._clock)
            body = await waiting
            path = context_path(self._run_directory, agent.agent_id)
            await self._in_thread(lambda: write_private(path, body))
        except (Refusal, defer.TimeoutError) as why:
            _log.warn("agent {id} starts without a context: {why}", id=agent.agent_id, why=str(why))
            return
        except Exception:  # noqa: BLE001 - whatever kept the context away must not keep the agent away
            _log.failure("agent {id} starts without a context", id=agent.agent_id)
            return
        self._with_context.add(agent.agent_id)

    def has_context(self, agent_id: str) -> bool:
        """Say whether the agent found a context at its start."""
        return agent_id in self._with_context

    # Tokens

    async def _write_token(self, agent_id: str, token: Token) -> None:
        self._current[agent_id] = token
        path = token_path(self._run_directory, agent_id)
        await self._in_thread(lambda: write_private(path, token.text.encode()))

    async def renew(self, agent: Agent) -> None:
        """Give an agent that an earlier sidecar started a token of this one."""
        await self._write_token(agent.agent_id, self._token(agent))

    def renew_all(self) -> None:
        """Replace the token files whose tokens end soon."""
        for agent_id, token in list(self._current.items()):
            if self._tokens.wants_successor(token.claims):
                renewed = self._write_token(agent_id, self._tokens.successor(token.claims))
                Deferred.fromCoroutine(renewed).addErrback(
                    lambda failure: _log.failure("a token file could not be renewed", failure)
                )

    async def reissue_all(self) -> None:
        """Give every agent a token of the key that signs now: those that they have are dead."""
        for agent_id, token in list(self._current.items()):
            await self._write_token(agent_id, self._tokens.reissue(token.claims))

    # A voice

    def announce(self, event_type: str, agent: Agent) -> "Deferred[object]":
        """Publish a lifecycle event, once."""
        return maybeDeferred(self._announce, event_type, agent)

    def _announce(self, event_type: str, agent: Agent) -> "Deferred[object] | None":
        if agent.created_at <= self._began and self._was_announced(event_type, agent):
            return None
        hub = self._projects.get(agent.project_id).hub
        data = _condition_of(agent) if event_type in CONDITION_EVENTS.values() else _state_of(agent)
        draft = Draft.of_sidecar(
            event_type, LIFECYCLE_TOPIC, data, agent_type=agent.agent_type, issue_id=agent.issue_id
        )
        return hub.publish(draft).addCallback(lambda published: published)

    def _was_announced(self, event_type: str, agent: Agent) -> bool:
        """Look for the event: an earlier sidecar may have ended between publishing it and noting that it had."""
        selection = Selection(types=frozenset({event_type}), publisher=SIDECAR, issue_id=agent.issue_id)
        ring = self._projects.get(agent.project_id).hub.ring
        about = {"agent_id": agent.agent_id}
        if event_type in CONDITION_EVENTS.values():
            about["since"] = str(_condition_of(agent)["since"])  # an agent may be stalled more than once
        return any(
            selection.matches(event) and all(text in event.fields().texts(name) for name, text in about.items())
            for event in ring.after(0)
        )

    # At the end

    def gone(self, agent: Agent) -> None:
        """Take everything back; the token is dead already, for the registry says so."""
        self._current.pop(agent.agent_id, None)
        self._with_context.discard(agent.agent_id)
        ended = TokenRevoked(f"The agent '{agent.agent_id}' has ended, and its tokens with it.")
        self._projects.get(agent.project_id).end_agent(agent.agent_id, ended)
        self._in_thread(lambda: self._remove_files(agent.agent_id)).addErrback(self._unforeseen)

    def _remove_files(self, agent_id: str) -> None:
        for path in (token_path, context_path, environment_path, servers_path, settings_path):
            remove_private(path(self._run_directory, agent_id))

    def _unforeseen(self, failure: Failure) -> None:
        _log.failure("an agent's files could not be removed", failure)


def _state_of(agent: Agent) -> dict[str, object]:
    """Give the data of a lifecycle event (contract section 8); of one that was given up also why, and its log's end."""
    data: dict[str, object] = {
        "agent_id": agent.agent_id,
        "agent_type": agent.agent_type,
        "issue_id": agent.issue_id,
        "status": agent.status,
        "exit_code": agent.exit_code,
        "result_id": agent.result_id,
    }
    if agent.failure:
        data |= {"failure": agent.failure, "reason": agent.reason}
    if agent.giving_up:
        data |= {"reason": agent.reason, "log_tail": agent.log_tail}
    return data


def _condition_of(agent: Agent) -> dict[str, object]:
    """Give the data of an event about what befell a running agent, and what is done about it."""
    done = "restarted" if agent.restart_due else "given up" if agent.giving_up else "reported"
    return {
        "agent_id": agent.agent_id,
        "agent_type": agent.agent_type,
        "issue_id": agent.issue_id,
        "condition": agent.condition,
        "reason": agent.reason,
        "since": None if agent.condition_at is None else rfc3339(agent.condition_at),
        "restarts": agent.restarts,
        "action": done,
    }
