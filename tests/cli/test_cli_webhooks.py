"""``cco webhooks`` and ``cco events dead-letters``: what they send, what they print, how they end."""

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cco, ScriptedSidecar

MADE = {"id": "wh-1", "url": "https://example.org/", "state": "active", "secret": "whsec_AAAA"}


def test_add(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """What is given is sent, and nothing else; the secret is shown."""
    sidecar.on("POST", "/api/webhooks", MADE, 201)
    found = cco("webhooks", "add", "https://example.org/")
    assert found.exit_code == 0
    assert json.loads(found.stdout) == MADE
    assert sidecar.asked[-1].body == {"url": "https://example.org/", "selection": {}}
    options = "--type a,b --type c --topic t --filter n:1 --publisher p --correlation-id k --issue i --secret whsec_x"
    found = cco("webhooks", "add", "https://example.org/", *options.split(), "--project", "web", "--format", "text")
    assert found.stdout == "whsec_AAAA\n"
    selection = {"types": ["a", "b", "c"], "topic": "t", "filter": "n:1", "publisher": "p", "correlation_id": "k"}
    wanted = {"url": "https://example.org/", "selection": {**selection, "issue": "i"}, "secret": "whsec_x"}
    assert sidecar.asked[-1].body == wanted
    assert sidecar.asked[-1].query == {"project": "web"}


def test_secret_from_stdin(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A secret need not stand on the command line, where others see it."""
    sidecar.on("POST", "/api/webhooks", MADE, 201)
    cco("webhooks", "add", "https://example.org/", "--secret", "-", text="whsec_y\n")
    assert sidecar.asked[-1].body["secret"] == "whsec_y"


def test_refused(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """A URL that is refused is wrong usage."""
    sidecar.refuse("POST", "/api/webhooks", 400, "VAL_002", "10.0.0.1 is a private address.")
    found = cco("webhooks", "add", "http://10.0.0.1/")
    assert found.exit_code == 2
    assert "private" in found.stderr


def test_list_show_delete(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """The usual three."""
    sidecar.on("GET", "/api/webhooks", {"webhooks": [MADE]})
    sidecar.on("GET", "/api/webhooks/wh-1", MADE)
    sidecar.on("DELETE", "/api/webhooks/wh-1", {"id": "wh-1", "deleted": True})
    assert (
        cco("webhooks", "list", "--format", "csv").stdout.splitlines()[1].startswith("wh-1,https://example.org/,active")
    )
    assert json.loads(cco("webhooks", "show", "wh-1").stdout)["id"] == "wh-1"
    assert json.loads(cco("webhooks", "delete", "wh-1").stdout) == {"id": "wh-1", "deleted": True}


@pytest.mark.parametrize(("delivered", "code"), [(True, 0), (False, 1)])
def test_test(sidecar: "ScriptedSidecar", cco: "Cco", delivered: bool, code: int) -> None:
    """A test that fails is a failure, with the reason beside the data."""
    error = None if delivered else "the receiver answered 500"
    sidecar.on("POST", "/api/webhooks/wh-1/test", {"delivered": delivered, "status": 200, "error": error})
    found = cco("webhooks", "test", "wh-1")
    assert found.exit_code == code
    assert json.loads(found.stdout)["delivered"] is delivered
    assert ("answered 500" in found.stderr) is not delivered


def test_redeliver(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """All dead letters, some, or everything after a place, but not both."""
    sidecar.on("POST", "/api/webhooks/wh-1/redeliver", {"id": "wh-1", "dead_letters": 2}, 202)
    for options, body in (
        ("", {}),
        ("--dead-letter a --dead-letter b", {"dead_letters": ["a", "b"]}),
        ("--since earliest", {"since": "earliest"}),
    ):
        assert cco("webhooks", "redeliver", "wh-1", *options.split()).exit_code == 0
        assert sidecar.asked[-1].body == body
    assert cco("webhooks", "redeliver", "wh-1", "--since", "x", "--dead-letter", "a").exit_code == 2


def test_dead_letters(sidecar: "ScriptedSidecar", cco: "Cco") -> None:
    """Listed, or cleared."""
    letter = {"id": "dl-1", "webhook_id": "wh-1", "reason": "the receiver answered 500", "attempts": 8}
    sidecar.on("GET", "/api/events/dead-letters", {"dead_letters": [letter], "total": 1})
    sidecar.on("DELETE", "/api/events/dead-letters", {"removed": 1})
    found = cco("events", "dead-letters", "--webhook", "wh-1", "--limit", "5", "--format", "csv")
    assert found.stdout.splitlines()[1].startswith("dl-1,wh-1,,8,the receiver answered 500")
    assert sidecar.asked[-1].query == {"webhook": "wh-1", "limit": "5"}
    assert json.loads(cco("events", "dead-letters", "--clear").stdout) == {"removed": 1}
    assert sidecar.asked[-1].query == {}
    assert cco("events", "dead-letters", "--clear", "--limit", "1").exit_code == 2
