"""Where a webhook goes: a URL of a narrow form, so that nobody can read it in two ways."""

import re
from ipaddress import AddressValueError, IPv6Address

from cco_sidecar.core.webhooks.addresses import is_host_name, network_of
from cco_sidecar.errors import InvalidBody
from cco_sidecar.interfaces import Target

MOST_LENGTH = 2048

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:/[!$%&'()*+,./0-9:;=@A-Z_a-z~-]*)?(?:\?[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*)?)",
    re.ASCII | re.IGNORECASE,
)


def read_target(url: str) -> Target:
    """Read a webhook's URL.

    :raises InvalidBody: it is none that a webhook can have.
    """
    why = _objection(url)
    found = None if why else _URL.fullmatch(url)
    if found is None:
        raise _wrong(why or "it must be an http or https URL, like https://example.org/hook, in ASCII")
    scheme, host = found["scheme"].lower(), found["host"].strip("[]").lower()
    port = int(found["port"]) if found["port"] else 443 if scheme == "https" else 80
    if not 1 <= port <= 65535 or not _is_host(found["host"], host):
        raise _wrong("it names no host and port that there can be")
    return Target(url, scheme, host, port)


def origin_of(target: Target) -> str:
    """Name a URL's place without what may be a password in it: scheme, host and port."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{target.scheme}://{host}:{target.port}"


def _objection(url: str) -> str | None:
    if len(url) > MOST_LENGTH:
        return f"it has more than {MOST_LENGTH} characters"
    authority = re.split(r"[/?#\\]", url.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        return "it must not carry a user's name or password; receivers check the signature instead"
    if "#" in url:
        return "what stands behind a '#' is never sent: leave it out"
    return None


def _is_host(written: str, host: str) -> bool:
    if written.startswith("["):
        try:
            IPv6Address(host)
        except AddressValueError:
            return False
        return True
    return network_of(host) is not None or is_host_name(host.removesuffix("."))


def _wrong(why: str) -> InvalidBody:
    return InvalidBody(f"The webhook's url cannot be used: {why}.", path="$.url")
