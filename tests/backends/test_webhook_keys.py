"""The secrets of webhooks on disk."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from cco_sidecar.backends.webhooks.keys import WebhookKeyFiles
from cco_sidecar.core.webhooks.targets import read_target
from cco_sidecar.errors import StorageWriteFailed
from cco_sidecar.interfaces import WebhookKey
from tests.conftest import LoggedFailures
from tests.fakes import outcome, result_of

KEY = WebhookKey(read_target("https://example.org/very-secret"), bytes(range(32)))


def at_once(work: Callable[[], None]) -> "Deferred[None]":
    """Run what blocks right here."""
    return maybeDeferred(work)


def test_kept_and_read_again(tmp_path: Path) -> None:
    """A key is in a private file, found by the next start, and gone when it is forgotten."""
    directory = tmp_path / "home" / "webhooks"
    files = WebhookKeyFiles(directory, at_once)
    files.load()
    result_of(files.keep("wh-1", KEY))
    assert files.find("wh-1") == KEY
    assert stat.S_IMODE((directory / "wh-1.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    later = WebhookKeyFiles(directory, at_once)
    later.load()
    assert later.find("wh-1") == KEY
    result_of(later.forget("wh-1"))
    result_of(later.forget("wh-1"))
    assert later.find("wh-1") is None
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", '{"url": "x", "secret": "AAAA"}', '{"url": "http://a/", "secret": "!"}'])
def test_damaged(tmp_path: Path, content: str) -> None:
    """A file that is no key is passed over: its webhook is paused, and all others go on."""
    (tmp_path / "wh-1.json").write_text(content)
    files = WebhookKeyFiles(tmp_path, at_once)
    result_of(files.keep("wh-2", KEY))
    later = WebhookKeyFiles(tmp_path, at_once)
    later.load()
    assert later.find("wh-1") is None
    assert later.find("wh-2") == KEY


def test_not_written(tmp_path: Path, logged_failures: LoggedFailures) -> None:
    """What cannot be written is refused, and not known."""
    (tmp_path / "webhooks").write_text("in the way")
    files = WebhookKeyFiles(tmp_path / "webhooks", at_once)
    (seen,) = outcome(files.keep("wh-1", KEY))
    assert isinstance(seen, StorageWriteFailed)
    assert files.find("wh-1") is None
