"""Posting to webhooks over real sockets: where a connection goes, what is sent, and what an answer may do."""

import gzip
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    DefaultOpenSSLContextFactory,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.task import deferLater
from twisted.web.http import datetimeToString

from cco_sidecar.backends.webhooks.connecting import MOST_ANSWER_BYTES
from cco_sidecar.backends.webhooks.lookup import MOST_LOOKUPS, NameLookup
from cco_sidecar.backends.webhooks.sender import USER_AGENT, WebhookSender
from cco_sidecar.core.webhooks.addresses import AddressPolicy
from cco_sidecar.core.webhooks.targets import read_target
from cco_sidecar.interfaces import Message, Receipt
from tests.fakes import outcome

reactor = cast(Any, _reactor)
LOOPBACK = AddressPolicy.of(["127.0.0.0/8"])


class Connection(Protocol):
    """Reads a request; answers with what the receiver has for it, and stays open unless told otherwise."""

    factory: "Receiver"

    def connectionMade(self) -> None:
        self.data = b""
        self.factory.connections += 1

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if found and len(body) == int(headers["content-length"]):
            self.factory.requests.append((lines[0], headers, body))
            for part in self.factory.answer:
                assert self.transport is not None
                self.transport.write(part)
            if self.factory.hangs_up:
                assert self.transport is not None
                self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        self.factory.lost += 1


class Receiver(Factory):
    """A receiver with one answer for all."""

    protocol = Connection  # type: ignore[assignment]
    noisy = False

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = self.lost = 0
        self.answer: Sequence[bytes] = [b"HTTP/1.1 204 No Content\r\n\r\n"]
        self.hangs_up = False

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer so from now on."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.answer = ["\r\n".join([*lines, "", ""]).encode() + body]


@define(eq=False)
class Names:
    """A name server: gives each name its answers in turn, the last one for ever."""

    answers: Mapping[str, list[Sequence[str]]] = field(factory=dict)
    asked: list[str] = field(factory=list)

    def __call__(self, host: str, port: int) -> "Deferred[Sequence[str]]":
        self.asked.append(host)
        found = self.answers.get(host)
        if found is None:
            return fail(DNSLookupError("no such name"))
        return succeed(found.pop(0) if len(found) > 1 else found[0])


@pytest.fixture
def receiver() -> Receiver:
    """A receiver that takes everything."""
    return Receiver()


@pytest.fixture
def port(receiver: Receiver) -> Iterator[int]:
    """The port where it listens, on 127.0.0.1."""
    listening = reactor.listenTCP(0, receiver, interface="127.0.0.1")
    yield listening.getHost().port
    pytest_twisted.blockon(listening.stopListening())


def sender(names: Names, policy: AddressPolicy = LOOPBACK, seconds: float = 5.0, **more: Any) -> WebhookSender:
    return WebhookSender(reactor, policy, seconds, names, **more)


def local() -> Names:
    return Names({"hook.example": [["127.0.0.1"]]})


def message(port: int, path: str = "/hook?a=b", scheme: str = "http", host: str = "hook.example") -> Message:
    return Message(read_target(f"{scheme}://{host}:{port}{path}"), {"webhook-id": "evt-1"}, b'{"n": 1}')


async def sent(by: WebhookSender, what: Message) -> Receipt:
    """Send, and wait for what comes of it."""
    return await by.send(what)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_what_is_sent(receiver: Receiver, port: int) -> None:
    """One POST with the message's headers and the name in Host, and nothing that tells more than it must."""
    assert (await sent(sender(local()), message(port))) == Receipt(204)
    ((line, headers, body),) = receiver.requests
    assert line == "POST /hook?a=b HTTP/1.1"
    assert body == b'{"n": 1}'
    assert headers.pop("accept-encoding", None) in {None, "gzip"}
    assert headers == {
        "host": f"hook.example:{port}",
        "webhook-id": "evt-1",
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "content-length": "8",
        "connection": "close",
    }


@pytest.mark.parametrize(("path", "asked"), [("", "/"), ("?x=1", "/?x=1"), ("/a%2Fb;c", "/a%2Fb;c"), ("/x?", "/x?")])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_targets(receiver: Receiver, port: int, path: str, asked: str) -> None:
    """The path goes out as it was written."""
    assert (await sent(sender(local()), message(port, path))).status == 204
    assert receiver.requests[0][0] in {f"POST {asked} HTTP/1.1", f"POST {asked.removesuffix('?')} HTTP/1.1"}


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_addresses_in_urls(receiver: Receiver, port: int) -> None:
    """An address in a URL is its own name."""
    names = Names({"127.0.0.1": [["127.0.0.1"]]})
    assert (await sent(sender(names), message(port, host="127.0.0.1"))).status == 204


# Where it goes


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_one_private_address_among_public_ones(receiver: Receiver, port: int) -> None:
    """A name with any address that is not allowed is not connected to at all."""
    names = Names({"hook.example": [["8.8.8.8", "127.0.0.1"]]})
    receipt = await sent(sender(names, AddressPolicy()), message(port))
    assert receipt.status is None
    assert receipt.error is not None
    assert "127.0.0.1 is a loopback address" in receipt.error
    assert "webhooks.allowed_networks" in receipt.error
    assert receiver.connections == 0
    refusal = await sender(names, AddressPolicy()).refusal(message(port).target)
    assert refusal == receipt.error


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_rebinding(receiver: Receiver, port: int) -> None:
    """The address that was checked is the one that is connected to: the name is not asked for twice."""
    names = Names({"hook.example": [["127.0.0.1"], ["127.0.0.2"], ["10.0.0.1"]]})
    by = sender(names, AddressPolicy.of(["127.0.0.1"]))
    assert (await sent(by, message(port))).status == 204
    assert names.asked == ["hook.example"]
    refused = await sent(by, message(port))
    assert "127.0.0.2 is a loopback address" in str(refused.error)
    assert "10.0.0.1 is a private address" in str((await sent(by, message(port))).error)
    assert receiver.connections == 1


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_allowed_by_name(receiver: Receiver, port: int) -> None:
    """A host that the settings name may be anywhere."""
    assert (await sent(sender(local(), AddressPolicy.of(["HOOK.example"])), message(port))).status == 204


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_redirects(receiver: Receiver, port: int, status: int) -> None:
    """A redirect is an answer like any other: nothing goes where it leads."""
    receiver.says(status, Location=f"http://127.0.0.1:{port}/elsewhere")
    assert (await sent(sender(local()), message(port))).status == status
    assert receiver.connections == 1


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_no_proxy(receiver: Receiver, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no say in where it goes."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await sent(sender(local()), message(port))).status == 204


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_next_address(receiver: Receiver, port: int) -> None:
    """Where the first address of a name has nobody, the next is tried."""
    names = Names({"hook.example": [["127.0.0.9", "127.0.0.1"]]})
    assert (await sent(sender(names), message(port))).status == 204


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_no_name(port: int) -> None:
    """A name that is not there is no reason to refuse a webhook, but nothing can be sent."""
    names = Names()
    assert "the name has no address" in str((await sent(sender(names), message(port))).error)
    assert (await sender(names).refusal(message(port).target)) is None


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_nobody_there() -> None:
    """A port where nobody listens."""
    listening = reactor.listenTCP(0, Receiver(), interface="127.0.0.1")
    closed = listening.getHost().port
    (await listening.stopListening())
    assert "no connection" in str((await sent(sender(local()), message(closed))).error)


# What an answer may do


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_silence(receiver: Receiver, port: int) -> None:
    """A receiver that says nothing is left after a while, and its connection is closed."""
    receiver.answer = []
    assert (await sent(sender(local(), seconds=0.2), message(port))) == Receipt(None, "no answer came in 0.2 s")
    (await deferLater(reactor, 0.05))
    assert (receiver.connections, receiver.lost) == (1, 1)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_slow_names(port: int) -> None:
    """The time for a name counts, too."""
    stuck: Deferred[Sequence[str]] = Deferred()
    by = WebhookSender(reactor, LOOPBACK, 0.1, lambda host, port: stuck)
    assert (await sent(by, message(port))).error == "no answer came in 0.1 s"


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_body_that_never_ends(receiver: Receiver, port: int) -> None:
    """What counts is the status: a body that does not end changes nothing, and takes no longer than the rest."""
    receiver.answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"]
    assert (await sent(sender(local(), seconds=0.2), message(port))) == Receipt(200)
    (await deferLater(reactor, 0.05))
    assert receiver.lost == 1


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_large_body(receiver: Receiver, port: int) -> None:
    """Only so much of an answer is read."""
    receiver.says(500, b"x" * (4 * MOST_ANSWER_BYTES))
    assert (await sent(sender(local()), message(port))).status == 500


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_large_head(receiver: Receiver, port: int) -> None:
    """A head without end is no answer."""
    receiver.answer = [b"HTTP/1.1 200 OK\r\n"] + [b"X: " + b"y" * 1000 + b"\r\n"] * 200
    assert (await sent(sender(local()), message(port))) == Receipt(None, "the connection ended before the answer")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_compressed(receiver: Receiver, port: int) -> None:
    """A body that would be a thousand times as large unpacked is not unpacked; nor does a broken one matter."""
    packed = gzip.compress(b"\0" * 50_000_000)
    assert len(packed) < MOST_ANSWER_BYTES
    tracemalloc.start()
    try:
        for body in (packed, b"no gzip"):
            receiver.says(200, body, Content_Encoding="gzip")
            assert (await sent(sender(local()), message(port))).status == 200
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("answer", [b"what?\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x16\x03\x01", b""])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_no_http(receiver: Receiver, port: int, answer: bytes) -> None:
    """Whoever does not speak HTTP has not answered."""
    receiver.answer, receiver.hangs_up = [answer], True
    receipt = await sent(sender(local()), message(port))
    assert receipt.status is None
    assert receipt.error in {"what came is no HTTP answer", "the connection ended before the answer"}


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_retry_after(receiver: Receiver, port: int) -> None:
    """Seconds or a date; what is neither is nothing."""
    soon = datetimeToString(reactor.seconds() + 100).decode()
    for text, wanted in (("120", 120), (soon, 100), ("soon", None), ("", None), ("-5", None), ("9" * 400, None)):
        receiver.says(503, Retry_After=text)
        found = (await sent(sender(local()), message(port))).retry_after
        assert found == (pytest.approx(wanted, abs=3) if wanted else None), text


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_cancel(receiver: Receiver, port: int) -> None:
    """Whoever stops waiting cuts the connection."""
    receiver.answer = []
    sending = sender(local()).send(message(port))
    seen = outcome(sending)
    while not receiver.requests:
        (await deferLater(reactor, 0.01))
    sending.cancel()
    assert isinstance(seen[0], CancelledError)
    (await deferLater(reactor, 0.05))
    assert receiver.lost == 1


# TLS


@define
class Party:
    """A certificate for a name, signed by itself, and its files."""

    certificate: Certificate
    context: DefaultOpenSSLContextFactory


@pytest.fixture
def certified(tmp_path: Path) -> Callable[[str], Party]:
    """Make a certificate for a name."""

    def make(name: str) -> Party:
        key = ec.generate_private_key(ec.SECP256R1())
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(who)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = made.public_bytes(serialization.Encoding.PEM)
        (tmp_path / "cert.pem").write_bytes(pem)
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = DefaultOpenSSLContextFactory(str(tmp_path / "key.pem"), str(tmp_path / "cert.pem"))
        return Party(Certificate.loadPEM(pem), context)

    return make


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_tls(receiver: Receiver, certified: Callable[[str], Party]) -> None:
    """The certificate is checked against the URL's name, although the connection goes to an address."""
    party = certified("hook.example")
    listening = reactor.listenSSL(0, receiver, party.context, interface="127.0.0.1")
    secure = message(listening.getHost().port, scheme="https")
    try:
        root = trustRootFromCertificates([party.certificate])
        trusted: dict[str, Any] = {"tls": lambda name: optionsForClientTLS(name, root)}
        assert (await sent(sender(local(), **trusted), secure)).status == 204
        other = Names({"other.example": [["127.0.0.1"]]})
        wrong = message(listening.getHost().port, scheme="https", host="other.example")
        assert "TLS failed" in str((await sent(sender(other, **trusted), wrong)).error)
        assert "TLS failed" in str((await sent(sender(local()), secure)).error)
        assert len(receiver.requests) == 1
    finally:
        (await listening.stopListening())


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_plain_receiver_for_https(receiver: Receiver, port: int) -> None:
    """https to one that speaks no TLS is a failure, never plain text."""
    receipt = await sent(sender(local(), seconds=1), message(port, scheme="https"))
    assert receipt.status is None
    assert receiver.requests == []


# Names


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_lookup() -> None:
    """Addresses are their own names, names have addresses, and what is no name has none."""
    lookup = NameLookup(reactor)
    assert (await lookup("127.0.0.1", 80)) == ["127.0.0.1"]
    assert (await lookup("::1", 80)) == ["::1"]
    assert "127.0.0.1" in (await lookup("localhost", 80))
    with pytest.raises(DNSLookupError):
        (await lookup("a" * 70 + ".example", 80))


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_few_lookups_at_once() -> None:
    """No more threads are begun than there may be; those that were given up count until they end."""
    lookup = NameLookup(reactor)
    waiting = [lookup("localhost", 80) for _ in range(MOST_LOOKUPS)]
    seen = [outcome(one) for one in waiting]
    waiting[0].cancel()
    assert isinstance(seen[0][0], CancelledError)
    with pytest.raises(DNSLookupError):
        (await lookup("localhost", 80))
    for one in waiting[1:]:
        (await one)
    assert (await lookup("localhost", 80)) != []
