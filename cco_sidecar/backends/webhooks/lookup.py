"""Looking names up."""

import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure

MOST_LOOKUPS = 256
"""How many names may be looked up at once: each takes a thread for as long as the resolver likes."""


@define(eq=False)
class NameLookup:
    """Resolves names in threads of its own, which nobody waits for at the end: a resolver may take half a minute."""

    _reactor: Any
    _under_way: int = 0

    def __call__(self, host: str, port: int) -> "Deferred[Sequence[str]]":
        """Fire with the addresses of a host; an address is its own.

        :raises DNSLookupError: it has none, or too many lookups are under way.
        """
        if _is_address(host):
            return succeed([host])
        if self._under_way >= MOST_LOOKUPS:
            return fail(DNSLookupError("too many names are being looked up"))
        self._under_way += 1
        done: Deferred[Sequence[str]] = Deferred()

        def look() -> None:
            self._reactor.callFromThread(self._looked, done, _addresses(host, port))

        threading.Thread(target=look, name=f"lookup of {host}", daemon=True).start()
        return done

    def _looked(self, done: "Deferred[Sequence[str]]", result: Any) -> None:
        self._under_way -= 1
        done.callback(result)  # one that was cancelled takes it without a word


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str, port: int) -> Sequence[str] | Failure:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Failure(DNSLookupError(getattr(error, "strerror", None) or str(error)))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
