"""What everything else stands on: clocks, counters, threads, stores, helpers; none of it knows an agent or a route."""

import hashlib
import os
from pathlib import Path
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred

from cco_sidecar.access_log import AccessLog, Entry
from cco_sidecar.backends.agents.launcher import AgentLauncher
from cco_sidecar.backends.agents.legible import legible
from cco_sidecar.backends.agents.limits import limits_of
from cco_sidecar.backends.audit import AuditLog
from cco_sidecar.backends.files import ResultFiles
from cco_sidecar.backends.gatherer.service import Gatherer
from cco_sidecar.backends.looking import look
from cco_sidecar.backends.threads import Workers, read_log
from cco_sidecar.backends.webhooks.keys import WebhookKeyFiles
from cco_sidecar.backends.webhooks.lookup import NameLookup
from cco_sidecar.backends.webhooks.sender import WebhookSender
from cco_sidecar.core.agent_signs import AllSigns
from cco_sidecar.core.events.waiting import PollRoom
from cco_sidecar.core.hooks.files import FileSeen
from cco_sidecar.core.token_book import Epoch
from cco_sidecar.core.webhooks.addresses import AddressPolicy
from cco_sidecar.core.webhooks.room import SendRoom
from cco_sidecar.core.wheel import TimerWheel
from cco_sidecar.ground import Ground
from cco_sidecar.web.accounts import Accounts
from cco_sidecar.web.measurements import Measurements

MOST_GATHERINGS = 512
"""How many contexts may wait to be gathered: four times the fleet."""
NO_LOOPS = frozenset(
    {
        ("GET /api/events/wait/<types>", 200),
        ("POST /api/agents/<agent_id>/heartbeat", 200),
        ("POST /api/tokens/refresh", 200),
        ("POST /api/hooks/claude", 200),
    }
)
"""Answers that come again and again in good order, and are no work either."""


class Base:
    """The parts that need no others."""

    def __init__(self, reactor: Any, ground: Ground, access: AccessLog) -> None:
        settings = ground.settings
        self.reactor = reactor
        self.ground = ground
        self.wheel = TimerWheel(reactor)
        self.epoch = Epoch()
        self.polls = PollRoom(settings.events.max_parked_polls)
        self.measurements = Measurements(reactor)
        self.signs = AllSigns()
        self.answers = Accounts(reactor, self.measurements, access, self._note_answer)
        self.audit = AuditLog(reactor, settings.home / "audit.log")
        self.workers = Workers(reactor)
        self.store = ResultFiles(reactor, settings.storage / "results")
        self.gatherer = Gatherer(reactor, cache_bytes=settings.cache_size_mb * 1024 * 1024, queue_limit=MOST_GATHERINGS)
        self.webhook_keys = WebhookKeyFiles(settings.home / "webhooks", self.workers.run)
        self.sender = WebhookSender(
            reactor,
            AddressPolicy.of(settings.webhooks.allowed_networks),
            settings.webhooks.timeout_seconds,
            NameLookup(reactor),
        )
        self.sending = SendRoom()
        self.run_directory = settings.home / "run" / _storage_name(settings.storage)
        self.launcher = AgentLauncher(
            reactor,
            settings.storage / "logs" / "agents",
            self.run_directory / "agents",
            limits_of(asdict(settings.agents.limits)),
        )

    def _note_answer(self, entry: Entry) -> None:
        if entry.agent is not None and (entry.route, entry.status) not in NO_LOOPS:
            self.signs.answered(entry.agent, entry.method, entry.path, entry.status)

    def read_log(self, agent_id: str, tail: int | None, offset: int) -> "Deferred[tuple[bytes, int]]":
        """Fire with a piece of an agent's log, as it is; see `read_log`."""
        return self.workers.run(lambda: read_log(self.launcher.log_path(agent_id), tail, offset))

    def last_lines(self, agent_id: str, lines: int) -> "Deferred[bytes]":
        """Fire with the last lines of an agent's log, in words."""
        # Not each line of Claude Code's says something.
        path, most = self.launcher.log_path(agent_id), 4 * lines
        return self.workers.run(lambda: legible(read_log(path, most, 0)[0], lines))

    def look_at(self, root: Path, path: str) -> "Deferred[FileSeen]":
        """Fire with what a file of a project is like."""
        return self.workers.run(lambda: look(root, path))


def _storage_name(storage: Path) -> str:
    """Name a storage in a path: two sidecars of one home must not take each other's agents for their own."""
    return hashlib.sha256(os.fsencode(storage)).hexdigest()[:12]
