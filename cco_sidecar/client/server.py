"""Where the sidecar is."""

from typing import NamedTuple
from urllib.parse import urlsplit


class Server(NamedTuple):
    """Where requests go; ``prefix`` is the path below which the sidecar is, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """Give host and port as a ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Give the URL without ``/api`` and without a slash at its end."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_server(url: str) -> Server:
    """Read the sidecar's URL; a trailing ``/api`` is taken off.

    :raises ValueError: it is none.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or not _is_clean(url):
        raise ValueError(url)
    if parts.username is not None:
        raise ValueError(url)
    prefix = parts.path.rstrip("/").removesuffix("/api").rstrip("/")
    default_port = 443 if parts.scheme == "https" else 80
    return Server(parts.scheme, parts.hostname, parts.port or default_port, prefix)


def _is_clean(text: str) -> bool:
    return text.isprintable() and " " not in text
