"""The listening side: builds connections, admits requests, and ends them all."""

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Site

from cco_sidecar.errors import Refusal
from cco_sidecar.web.channel import IDLE_SECONDS
from cco_sidecar.web.codec import write_refusal
from cco_sidecar.web.connection import Connection, FastPath
from cco_sidecar.web.request import SidecarRequest

SWEEP_SECONDS = 1.0


class SidecarSite(Site):
    """The listening side: builds connections, and admits requests.

    ``admit`` says why a request is refused before it is routed; ``log_request`` hears of each that was answered;
    ``fast_path`` is offered every request first, whole.
    """

    draining = False

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        *,
        new_request_id: Callable[[], str],
        most_body_bytes: Callable[[bytes], int],
        admit: Callable[[SidecarRequest], Refusal | None],
        log_request: Callable[[SidecarRequest], None],
        fast_path: FastPath | None = None,
    ) -> None:
        super().__init__(resource, timeout=IDLE_SECONDS, reactor=clock)
        self.displayTracebacks = False
        self.clock = clock
        self.new_request_id = new_request_id
        self.most_body_bytes = most_body_bytes
        self.fast_path = fast_path
        self._admit = admit
        self._log_request = log_request
        self.connections: set[Connection] = set()
        self._sweep: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> Connection:  # type: ignore[override]
        """Make a connection's protocol: HTTP/1.1 and nothing else."""
        return Connection(self)

    def remember(self, connection: Connection) -> None:
        """A connection was made."""
        self.connections.add(connection)
        if self._sweep is None:
            self._sweep = self.clock.callLater(SWEEP_SECONDS, self._sweep_out)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)

    def _sweep_out(self) -> None:
        """End what has been silent too long; to look at all of them costs less than a time limit for each."""
        now = self.clock.seconds()
        for connection in [connection for connection in self.connections if connection.ends_at <= now]:
            connection.out_of_time()
        self._sweep = self.clock.callLater(SWEEP_SECONDS, self._sweep_out) if self.connections else None

    def admit(self, request: SidecarRequest) -> None:
        """Route a request, or refuse it."""
        refusal = self._admit(request)
        if refusal is None and request.oversized:
            refusal = request.too_large()
        if refusal is None:
            request.route_on()
            return
        write_refusal(request, refusal)
        request.finish()

    def log(self, request: SidecarRequest) -> None:  # type: ignore[override]
        """Hear of an answered request."""
        self._log_request(request)

    def startFactory(self) -> None:
        """Begin; twisted.web's access log is not wanted."""

    def stopFactory(self) -> None:
        """End."""

    def drain(self) -> None:
        """Keep no connection open longer than its answers need."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()
