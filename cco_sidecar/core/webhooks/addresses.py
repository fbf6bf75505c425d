"""Which addresses a webhook may be sent to: public ones, and whatever the settings allow.

The table follows the special-purpose registries of IANA (RFC 6890 and what came since). `ipaddress` alone does not do:
it calls multicast, NAT64 and 6to4 addresses global, behind which any private IPv4 address may be.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

Network = IPv4Network | IPv6Network

_REFUSED: Sequence[tuple[str, str]] = (
    ("127.0.0.0/8", "a loopback address"),
    ("10.0.0.0/8", "a private address"),
    ("172.16.0.0/12", "a private address"),
    ("192.168.0.0/16", "a private address"),
    ("169.254.0.0/16", "a link-local address"),
    ("100.64.0.0/10", "an address of a carrier's NAT"),
    ("0.0.0.0/8", "an unspecified address"),
    ("192.0.0.0/24", "a reserved address"),
    ("192.0.2.0/24", "an address for documentation"),
    ("192.88.99.0/24", "a 6to4 address"),
    ("198.18.0.0/15", "an address for benchmarks"),
    ("198.51.100.0/24", "an address for documentation"),
    ("203.0.113.0/24", "an address for documentation"),
    ("168.63.129.16/32", "an address of a cloud's own services"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an unspecified address"),
    ("::1/128", "a loopback address"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6 form"),
    ("::/96", "an IPv4 address in IPv6 form"),
    ("64:ff9b::/96", "a NAT64 address"),
    ("64:ff9b:1::/48", "a NAT64 address"),
    ("fc00::/7", "a private address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
    ("2001::/32", "a Teredo address"),
    ("2001::/23", "a reserved address"),
    ("2001:db8::/32", "an address for documentation"),
    ("2002::/16", "a 6to4 address"),
    ("3fff::/20", "an address for documentation"),
)
_TABLE: Sequence[tuple[Network, str]] = tuple((ip_network(text), what) for text, what in _REFUSED)
_PUBLIC_IPV6 = IPv6Network("2000::/3")

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*", re.ASCII)


def network_of(text: str) -> Network | None:
    """Read an address or a network in CIDR form; None if it is neither."""
    try:
        return ip_network(text)
    except ValueError:
        return None


def is_host_name(text: str) -> bool:
    """Say whether ``text`` can be the name of a host; what only looks like an address (``127.1``) is none."""
    return _HOST.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()


@frozen
class AddressPolicy:
    """What may be connected to: public addresses, the ``networks``, and any address of the ``hosts`` (lower case)."""

    networks: Sequence[Network] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, allowed: Iterable[str]) -> "AddressPolicy":
        """Make one of the setting's texts: networks, addresses, host names."""
        texts = list(allowed)
        networks = [network for text in texts if (network := network_of(text)) is not None]
        return cls(tuple(networks), frozenset(text.lower() for text in texts if network_of(text) is None))

    def refusal(self, host: str, addresses: Iterable[str]) -> str | None:
        """Say why nothing may be sent to a host with these addresses; one that is refused refuses them all."""
        if host.lower() in self.hosts:
            return None
        for text in addresses:
            what = self._why_not(text)
            if what is not None:
                return f"{text} is {what}"
        return None

    def _why_not(self, text: str) -> str | None:
        try:
            address = ip_address(text)
        except ValueError:
            return "no address"
        if any(_within(address, network) for network in self.networks):
            return None
        for network, what in _TABLE:
            if _within(address, network):
                return what
        if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
            return "a reserved address"
        return None


def _within(address: IPv4Address | IPv6Address, network: Network) -> bool:
    return address.version == network.version and address in network
