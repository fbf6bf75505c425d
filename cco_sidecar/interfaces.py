"""The doors to the outside: what the core asks of disk, threads and processes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class IJournal(Interface):
    """An append-only log of records, each a JSON text; what is acknowledged survives ``kill -9``."""

    trouble = Attribute("None, or the sentence that says why the journal takes nothing (str).")
    size_bytes = Attribute("How much the segments hold on disk (int).")

    def append(record: bytes) -> "Deferred[None]":
        """Fire when ``record`` is on disk; records are on disk, and acknowledged, in the order of the calls.

        :raises StorageFull: the disk is full; nothing of the record remains.
        :raises EventLogUnavailable: the log failed earlier, is stopping, or has too much waiting.
        """

    def note(record: bytes) -> None:
        """Write ``record`` with the next batch; nobody waits for it, and a crash may lose it."""

    def flush() -> "Deferred[None]":
        """Fire when all that was appended or noted so far is on disk."""


@frozen
class StoredResult:
    """A result as it lies on disk: the names that find it, and the whole JSON object."""

    result_id: str
    agent_id: str
    agent_type: str
    issue_id: str
    project_id: str
    status: str
    timestamp: str
    body: bytes


@frozen
class ResultEntry:
    """A line of a listing of results; ``timestamp`` is RFC 3339."""

    id: str
    agent_id: str
    agent_type: str
    issue_id: str
    project_id: str
    status: str
    timestamp: str


@frozen
class ResultListing:
    """All results found, newest first, and the paths (below the storage) that could not be read."""

    entries: Sequence[ResultEntry]
    damaged: Sequence[str]


class IResultStore(Interface):
    """Keeps results: each for ever under its own id, the newest of a type under the type's name."""

    def store(result: StoredResult) -> "Deferred[Path]":
        """Fire with the absolute path of the type's newest result when both files are on disk.

        :raises StorageFull: the disk is full.
        :raises StorageWriteFailed: any other write error.
        """

    def listing(project_id: str, issue_id: str | None) -> "Deferred[ResultListing]":
        """Fire with every result of the project, or of one of its issues."""

    def newest(project_id: str, issue_id: str, agent_type: str) -> "Deferred[bytes]":
        """Fire with the newest result of that type.

        :raises NotFound: there is none.
        :raises StorageReadFailed: it cannot be read.
        """

    def by_id(project_id: str, result_id: str, issue_id: str | None = None) -> "Deferred[bytes]":
        """Fire with the result of that id, looked for in one issue or in all; raises as `newest`."""

    def prune(project_id: str, before: float) -> "Deferred[int]":
        """Remove history last written before a time (seconds since the epoch); fire with how many went."""


@frozen
class LaunchOrder:
    """All it takes to start an agent's process.

    ``command`` is an argument list, run without a shell in ``directory``; ``environment`` is the whole environment.
    """

    agent_id: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    timeout_seconds: float


@frozen
class ProcessIdentity:
    """A process, named so that a reused pid is never taken for it.

    ``started`` is the start time in clock ticks since boot (``/proc/PID/stat`` field 22).
    """

    boot_id: str
    pid: int
    started: int


@frozen
class Launched:
    """The agent's own process and the shim that watches over it."""

    agent: ProcessIdentity
    shim: ProcessIdentity


@frozen
class Ended:
    """How a process ended: ``exit_code`` is negative for a signal, None when it cannot be known (lost).

    ``timed_out`` says that it was ended because its time was up; ``ended_at`` is in seconds since the epoch.
    """

    exit_code: int | None
    ended_at: float
    timed_out: bool = False


@frozen
class Look:
    """How an agent is, as its supervisor sees it; counts are from the start of its process.

    :param cpu_seconds: of all its processes, also those that ended.
    :param output_bytes: what it wrote; ``dropped_lines`` of it found no room on the disk.
    """

    cpu_seconds: float
    processes: int
    output_bytes: int
    dropped_lines: int


class IAgentLauncher(Interface):
    """Starts agent processes, tells when they end, and ends them with all their descendants."""

    def launch(order: LaunchOrder, ended: "Callable[[str, Ended], None]") -> "Deferred[Launched]":
        """Start a process; ``ended(agent_id, how)`` is called once, later, on the reactor.

        :raises SpawnFailed: it could not be started (``details["reason"]``); ``ended`` is then never called.
        """

    def adopt(agent_id: str, launched: Launched, ended: "Callable[[str, Ended], None]") -> None:
        """Take up a process that an earlier sidecar started; ``ended`` is called once, also if it ended meanwhile."""

    def stop(agent_id: str, grace_seconds: float) -> "Deferred[None]":
        """End the process: SIGTERM to its group, SIGKILL to all its descendants after the grace (0: at once).

        Fires when none of its descendants is left and ``ended`` was called.
        """

    def find(agent_id: str) -> "Deferred[Launched | None]":
        """Fire with the processes of an agent whose start was not recorded; None: it was not and won't be started."""

    def forget(agent_id: str) -> "Deferred[None]":
        """Remove what is kept about a process that ended; fires when the agent may be started again."""

    def look(agent_id: str) -> "Deferred[Look | None]":
        """Fire with how the agent is; None when that can't be told."""

    def log_path(agent_id: str) -> Path:
        """Give the path of the file that has the agent's stdout and stderr."""


@frozen
class Target:
    """Where a webhook goes: its URL, and what was read from it; ``host`` is a name or an address, without brackets."""

    url: str
    scheme: str
    host: str
    port: int


@frozen
class Message:
    """What is posted to a webhook; ``headers`` are those that are its own."""

    target: Target
    headers: Mapping[str, str]
    body: bytes


@frozen
class Receipt:
    """What came of a message: the answer's status, or None and why there is no answer.

    ``retry_after`` is how many seconds the receiver wants to be left alone.
    """

    status: int | None
    error: str | None = None
    retry_after: float | None = None


class IWebhookSender(Interface):
    """Posts messages to receivers whose addresses are allowed."""

    def refusal(target: Target) -> "Deferred[str | None]":
        """Fire with why nothing would be sent there; None also where the name has no address at the moment."""

    def send(message: Message) -> "Deferred[Receipt]":
        """Fire with what came of it, within a bounded time; never fails but when it is cancelled."""


@frozen
class WebhookKey:
    """What of a webhook is secret: the key that signs, and the URL, which often holds a password in its path."""

    target: Target
    secret: bytes


class IWebhookKeys(Interface):
    """Keeps what is secret about webhooks, apart from the storage."""

    def find(webhook_id: str) -> WebhookKey | None:
        """Give a webhook's key; None if there is none here."""

    def keep(webhook_id: str, key: WebhookKey) -> "Deferred[None]":
        """Fire when the key is on disk.

        :raises StorageWriteFailed: it cannot be written.
        """

    def forget(webhook_id: str) -> "Deferred[None]":
        """Fire when the key is gone."""
