"""What is secret about webhooks, on disk: one private file each, below ``CCO_HOME`` and never below the storage."""

import base64
from collections.abc import Callable
from pathlib import Path

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cco_sidecar.backends.private import read_private, remove_private, write_private
from cco_sidecar.core.webhooks.targets import read_target
from cco_sidecar.errors import InvalidBody, StorageWriteFailed
from cco_sidecar.interfaces import IWebhookKeys, WebhookKey

_log = Logger()

_SUFFIX = ".json"


class _Content(msgspec.Struct):
    url: str
    secret: str


@implementer(IWebhookKeys)
@define(eq=False)
class WebhookKeyFiles:
    """Keeps keys in memory and in files; ``run`` runs what blocks in a thread."""

    _directory: Path
    _run: "Callable[[Callable[[], None]], Deferred[None]]"
    _known: dict[str, WebhookKey] = field(factory=dict)

    def load(self) -> None:
        """Read all keys; one that cannot be read is said and passed over. Blocks, so only before anything is served."""
        if not self._directory.is_dir():
            return
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                self._known[path.name.removesuffix(_SUFFIX)] = _read(path)
            except (OSError, ValueError, msgspec.MsgspecError, InvalidBody):
                _log.error("{path} is no key of a webhook", path=str(path))

    def find(self, webhook_id: str) -> WebhookKey | None:
        """See `IWebhookKeys.find`."""
        return self._known.get(webhook_id)

    def keep(self, webhook_id: str, key: WebhookKey) -> "Deferred[None]":
        """See `IWebhookKeys.keep`."""
        content = _Content(key.target.url, base64.b64encode(key.secret).decode())
        path, text = self._path(webhook_id), msgspec.json.encode(content)

        def kept(_: None) -> None:
            self._known[webhook_id] = key

        return self._run(lambda: write_private(path, text)).addCallbacks(kept, _not_written)

    def forget(self, webhook_id: str) -> "Deferred[None]":
        """See `IWebhookKeys.forget`."""
        self._known.pop(webhook_id, None)
        path = self._path(webhook_id)
        return self._run(lambda: remove_private(path)).addErrback(_not_removed, path)

    def _path(self, webhook_id: str) -> Path:
        return self._directory / f"{webhook_id}{_SUFFIX}"


def _read(path: Path) -> WebhookKey:
    content = msgspec.json.decode(read_private(path) or b"", type=_Content)
    return WebhookKey(read_target(content.url), base64.b64decode(content.secret, validate=True))


def _not_written(failure: Failure) -> None:
    failure.trap(OSError)
    raise StorageWriteFailed(
        f"The webhook's secret could not be written below CCO_HOME ({failure.getErrorMessage()}): "
        "nothing was registered."
    ) from failure.value


def _not_removed(failure: Failure, path: Path) -> None:
    failure.trap(OSError)
    _log.error("{path} could not be removed: {why}", path=str(path), why=failure.getErrorMessage())
