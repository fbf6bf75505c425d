"""Tokens: nothing but ours is taken, a successor is one and the same, and an end is an end also for what is cached."""

import base64
import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import jwt
import pytest
from attrs import define, evolve, field
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from cco_sidecar.core.keyring import KeyRing, SigningKey
from cco_sidecar.core.ledger import Ledger
from cco_sidecar.core.token_book import TokenBook
from cco_sidecar.core.tokens import LONGEST_SECONDS, Token, TokenAuthority
from cco_sidecar.errors import NotFound, StorageFull, TokenExpired, TokenRevoked, Unauthenticated
from tests.fakes import START, MemoryJournal, numbered, outcome


def make_key(name: str) -> SigningKey:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return SigningKey(name, private, private.public_key(), {"n": f"n of {name}", "e": "AQAB"})


KEY, OLD, STRANGER = make_key("key"), make_key("old"), make_key("stranger")


@define(eq=False)
class Office:
    """An authority over one project, with what it asks of others."""

    clock: Clock = field(factory=Clock)
    journal: MemoryJournal = field(factory=MemoryJournal)
    gone: set[tuple[str, str]] = field(factory=set)
    ttl_seconds: int = 3600
    new_id: Callable[[], str] = field(factory=numbered)
    keys: KeyRing = field(factory=lambda: KeyRing((OLD, KEY)))
    book: TokenBook = field(init=False)
    authority: TokenAuthority = field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.clock.seconds() == 0:
            self.clock.advance(START)
        ledger = Ledger(self.journal)
        self.book = TokenBook(self.clock, ledger)
        ledger.join(self.book)
        for record in self.journal.records:
            ledger.restore(record)
        self.authority = TokenAuthority(
            self.clock,
            self.keys,
            self.new_id,
            book_of=lambda project: self.book if project in {"p", "*"} else None,
            is_gone=lambda project, agent: (project, agent) in self.gone,
            ttl_seconds=self.ttl_seconds,
            refresh_before_seconds=300,
        )

    def restart(self, *, snapshot: bool = False) -> "Office":
        records = list(self.journal.records)
        if snapshot:
            kept = MemoryJournal()
            for kind, body in self.book.snapshot():
                Ledger(kept).note(kind, body)
            records = kept.records
        return Office(self.clock, MemoryJournal(records), self.gone, self.ttl_seconds, self.new_id, self.keys)

    def issue(self, sub: str = "agent-1", project: str = "p", ttl_seconds: int | None = None) -> Token:
        return self.authority.issue(
            sub=sub,
            agent_type="coder",
            project_id=project,
            issue_id="i",
            permissions=["write_results", "read_context"],
            ttl_seconds=ttl_seconds,
        )

    def verify(self, token: Token | str | bytes) -> str:
        text = token.text if isinstance(token, Token) else token
        return self.authority.verify(text if isinstance(text, bytes) else text.encode()).jti

    def successor(self, token: Token) -> Token:
        return self.authority.successor(token.claims)


# What a token is


def test_claims() -> None:
    """A token has the claims of contract section 3, and its key's id in the header."""
    office = Office()
    token = office.issue()
    assert jwt.get_unverified_header(token.text) == {"alg": "RS256", "typ": "JWT", "kid": "key"}
    assert jwt.decode(token.text, options={"verify_signature": False}) == {
        "iss": "cco-sidecar",
        "aud": "cco-agents",
        "sub": "agent-1",
        "agent_type": "coder",
        "project_id": "p",
        "issue_id": "i",
        "permissions": ["read_context", "write_results"],
        "iat": 1_800_000_000,
        "nbf": 1_800_000_000,
        "exp": 1_800_003_600,
        "jti": "00000001",
    }
    assert office.authority.verify(token.text.encode()) == token.claims


def test_admin() -> None:
    """The admin's token lives an hour whatever the settings say, and an agent named so is no admin."""
    office = Office(ttl_seconds=60)
    claims = office.authority.issue_admin(["read_context"]).claims
    assert (claims.is_admin, claims.exp - claims.iat) == (True, 3600)
    assert office.issue("admin").claims.is_admin is False
    office.gone.add(("*", "admin"))
    assert office.authority.refusal_of(claims) is None


def test_older_key_verifies() -> None:
    """A token of a key that no longer signs is good; a key that was taken away is not."""
    before = Office(keys=KeyRing((OLD,)))
    token = before.issue()
    assert Office(before.clock).verify(token) == token.claims.jti
    with pytest.raises(Unauthenticated):
        Office(before.clock, keys=KeyRing((KEY,))).verify(token)


def test_jwks() -> None:
    """The published keys have public members only."""
    published = KeyRing((OLD, KEY)).jwks()
    assert [set(key) for key in published["keys"]] == [{"kty", "use", "alg", "kid", "n", "e"}] * 2  # type: ignore[attr-defined]  # a list of dicts


# What is no token


def good_claims(**changes: Any) -> dict[str, Any]:
    claims = {
        "iss": "cco-sidecar",
        "aud": "cco-agents",
        "sub": "agent-1",
        "agent_type": "coder",
        "project_id": "p",
        "issue_id": "i",
        "permissions": ["read_context"],
        "iat": int(START),
        "nbf": int(START),
        "exp": int(START) + 3600,
        "jti": "j",
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(claims: object, header: dict[str, object] | None = None, key: SigningKey = KEY) -> str:
    """Sign with a real key, whatever is said."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    head = {"alg": "RS256", "typ": "JWT", "kid": "key", **(header or {})}
    text = f"{part({k: v for k, v in head.items() if v is not ...})}.{part(claims)}"
    signature = key.private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{part(signature)}"


def with_hmac(secret: bytes, header: dict[str, object]) -> str:
    text = f"{part(header)}.{part(good_claims())}"
    return f"{text}.{part(hmac.new(secret, text.encode(), sha256).digest())}"


PEM = KEY.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
DER = KEY.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
JWK = {"kty": "RSA", **json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGER.public))}
GOOD = signed(good_claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")

NO_TIMES: list[object] = [str(int(START) + 60), START + 60.5, True, [], {}, 10**30, 10**400, -1, "x"]
NO_TEXTS: list[object] = [5, [], {}, True]

CORPUS: dict[str, str | bytes] = {
    "empty": "",
    "one part": "x",
    "two parts": f"{HEAD}.{BODY}",
    "no signature": f"{HEAD}.{BODY}.",
    "no head": f".{BODY}.{SIGNATURE}",
    "no body": f"{HEAD}..{SIGNATURE}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "doubled body": f"{HEAD}.{BODY}.{BODY}.{SIGNATURE}",
    "five parts, as encrypted": f"{GOOD}.x.y",
    "spaces around": f" {GOOD} ",
    "line end": GOOD + "\n",
    "padding": GOOD + "=",
    "foreign characters": GOOD.replace(".", ".!!!!", 1),
    "NUL": GOOD + "\0",
    "not UTF-8": GOOD.encode() + b"\xff",
    "cut in the signature": GOOD[:-20],
    "cut in the body": GOOD[: len(HEAD) + 20],
    "1 MB": GOOD + "A" * 1_000_000,
    "1 MB of dots": "." * 1_000_000,
    "other signature": f"{HEAD}.{BODY}.{part(b'x' * 256)}",
    "signature of another token": f"{HEAD}.{part(good_claims(sub='admin'))}.{SIGNATURE}",
    "stranger's key, our kid": signed(good_claims(), key=STRANGER),
    "stranger's key and kid": signed(good_claims(), {"kid": "stranger"}, STRANGER),
    "our old key under the new kid": signed(good_claims(), key=OLD),
    "none": f"{part({'alg': 'none', 'kid': 'key'})}.{part(good_claims())}.",
    "none with our signature": f"{part({'alg': 'none', 'kid': 'key'})}.{BODY}.{SIGNATURE}",
    "nOnE": f"{part({'alg': 'nOnE', 'kid': 'key'})}.{part(good_claims())}.x",
    "no alg": f"{part({'kid': 'key'})}.{BODY}.{SIGNATURE}",
    "alg a number": signed(good_claims(), {"alg": 5}),
    "alg a list": signed(good_claims(), {"alg": ["RS256"]}),
    "alg null": signed(good_claims(), {"alg": None}),
    "RS512 said": signed(good_claims(), {"alg": "RS512"}),
    "PS256 said": signed(good_claims(), {"alg": "PS256"}),
    "ES256 said": signed(good_claims(), {"alg": "ES256"}),
    "HS256 with the public PEM": with_hmac(PEM, {"alg": "HS256", "kid": "key"}),
    "HS256 with the stripped PEM": with_hmac(PEM.strip(), {"alg": "HS256", "kid": "key"}),
    "HS256 with the public DER": with_hmac(DER, {"alg": "HS256", "kid": "key"}),
    "HS256 with nothing": with_hmac(b"", {"alg": "HS256", "kid": "key"}),
    "HMAC said to be RS256": with_hmac(PEM, {"alg": "RS256", "kid": "key"}),
    "no kid": signed(good_claims(), {"kid": ...}),
    "kid unknown": signed(good_claims(), {"kid": "unknown"}),
    "kid a path": signed(good_claims(), {"kid": "../../../../dev/null"}),
    "kid SQL": signed(good_claims(), {"kid": "key' OR '1'='1"}),
    "kid a number": signed(good_claims(), {"kid": 0}),
    "kid null": signed(good_claims(), {"kid": None}),
    "kid a list": signed(good_claims(), {"kid": ["key"]}),
    "kid with NUL": signed(good_claims(), {"kid": "key\0"}),
    "jku": signed(good_claims(), {"jku": "http://127.0.0.1:1/jwks", "kid": "stranger"}, STRANGER),
    "x5u": signed(good_claims(), {"x5u": "file:///etc/passwd", "kid": "stranger"}, STRANGER),
    "jwk": signed(good_claims(), {"jwk": JWK}, STRANGER),
    "crit": signed(good_claims(), {"crit": ["exp"], "exp": 1}),
    "crit unknown": signed(good_claims(), {"crit": ["x"], "x": 1}),
    "crit empty": signed(good_claims(), {"crit": []}),
    "b64 false": signed(good_claims(), {"b64": False}),
    "head a list": f"{part([1])}.{BODY}.{SIGNATURE}",
    "head no JSON": f"{part(b'{')}.{BODY}.{SIGNATURE}",
    "head not UTF-8": f"{part(bytes([255, 254]))}.{BODY}.{SIGNATURE}",
    "head nested deep": f"{part(b'[' * 2900)}.x.x",
    "body a list": signed([1]),
    "body a text": signed("x"),
    "body null": signed(None),
    "body no JSON": signed(b"{"),
    "body nested deep": signed(b"[" * 1500),
    **{f"without {name}": signed(good_claims(**{name: ...})) for name in good_claims()},
    **{f"{name} null": signed(good_claims(**{name: None})) for name in good_claims()},
    **{
        f"{name} {value!r}"[:40]: signed(good_claims(**{name: value}))
        for name in ("exp", "iat", "nbf")
        for value in NO_TIMES
    },
    **{
        f"{name} {value!r}": signed(good_claims(**{name: value}))
        for name in ("sub", "agent_type", "project_id", "issue_id", "jti")
        for value in NO_TEXTS
    },
    "permissions a text": signed(good_claims(permissions="read_context")),
    "permissions of numbers": signed(good_claims(permissions=[1])),
    "permissions a dict": signed(good_claims(permissions={"read_context": True})),
    "iss another": signed(good_claims(iss="cco-sidecar2")),
    "iss a list": signed(good_claims(iss=["cco-sidecar"])),
    "aud another": signed(good_claims(aud="cco-agent")),
    "aud a list of others": signed(good_claims(aud=["x", "y"])),
    "not yet": signed(good_claims(nbf=int(START) + 60)),
    "for ever": signed(good_claims(exp=int(START) + LONGEST_SECONDS + 1)),
    "exp before iat": signed(good_claims(iat=int(START) + 4000)),
    "expired": signed(good_claims(iat=int(START) - 100, nbf=int(START) - 100, exp=int(START))),
    "expired long ago": signed(good_claims(iat=1, nbf=1, exp=3600)),
}


def test_the_corpus_is_near_the_truth() -> None:
    """Unchanged, the corpus' token is taken: what is refused below is refused for what was changed."""
    assert Office().verify(GOOD) == "j"
    assert len(CORPUS) > 100


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_refused(name: str) -> None:
    """Nothing of the corpus is taken, also not when it comes again, and no other exception than a refusal leaves."""
    office = Office()
    for _ in range(2):
        with pytest.raises((Unauthenticated, TokenExpired)) as refused:
            office.verify(CORPUS[name])
    assert isinstance(refused.value, TokenExpired) == name.startswith("expired")
    assert GOOD[:50] not in refused.value.message


@given(st.binary(max_size=200) | st.from_regex(rb"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_any_bytes(text: bytes) -> None:
    """Whatever the bytes, they are no token, and the refusal says so."""
    with pytest.raises(Unauthenticated):
        Office().verify(text)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte(place: int, change: int) -> None:
    """A token with one byte changed is refused, or says the same: the last letter of a signature has spare bits."""
    text = bytearray(GOOD.encode())
    text[place] ^= change
    try:
        assert Office().verify(bytes(text)) == "j"
    except Unauthenticated:
        return
    assert place == len(GOOD) - 1


# Its end


def test_expiry() -> None:
    """A token ends at its second, by the injected clock, also when its verification is cached."""
    office = Office()
    token = office.issue()
    office.clock.advance(3599)
    office.verify(token)
    office.clock.advance(1)
    with pytest.raises(TokenExpired):
        office.verify(token)
    with pytest.raises(TokenExpired):
        office.restart().verify(token)


def test_agent_gone() -> None:
    """A token dies with its agent, from the next request on, also from the cache; another agent's does not."""
    office = Office()
    token, other = office.issue(), office.issue("agent-2")
    office.verify(token)
    office.gone.add(("p", "agent-1"))
    with pytest.raises(TokenRevoked):
        office.verify(token)
    office.verify(other)


def test_project_gone() -> None:
    """A token of a project that is no longer served is dead."""
    office = Office()
    token = office.issue(project="other")
    with pytest.raises(TokenRevoked):
        office.verify(token)
    with pytest.raises(NotFound):
        office.successor(token)
    with pytest.raises(NotFound):
        office.authority.revoke("other", token.claims.jti)


# Successors


def test_successor_twice() -> None:
    """However often it is asked for, and when, a token's successor is the same, byte for byte."""
    office = Office()
    token = office.issue()
    office.clock.advance(100.7)
    first = office.successor(token)
    office.clock.advance(1000)
    assert office.successor(token).text == first.text
    assert (first.claims.iat, first.claims.exp) == (int(START) + 100, int(START) + 3700)
    assert first.claims.jti != token.claims.jti
    assert evolve(first.claims, jti=token.claims.jti, iat=token.claims.iat, exp=token.claims.exp) == token.claims
    assert office.verify(first) == first.claims.jti
    assert office.verify(token) == token.claims.jti


@pytest.mark.parametrize("snapshot", [False, True])
def test_successor_after_restart(snapshot: bool) -> None:
    """Also after a restart it is the same, byte for byte."""
    office = Office()
    token = office.issue()
    first = office.successor(token)
    again = office.restart(snapshot=snapshot)
    again.clock.advance(5)
    assert again.successor(token).text == first.text


def test_narrow_stays_narrow() -> None:
    """A token that was issued short, or with less, has successors no longer and with no more."""
    office = Office()
    token = office.authority.issue(
        sub="a", agent_type="coder", project_id="p", issue_id="i", permissions=["read_context"], ttl_seconds=60
    )
    office.clock.advance(30)
    after = office.successor(office.successor(token))
    assert after.claims.exp - after.claims.iat == 60
    assert after.claims.permissions == {"read_context"}


@pytest.mark.parametrize(("ttl", "wants_at"), [(3600, 3300), (400, 200), (60, 30)])
def test_wants_successor(ttl: int, wants_at: int) -> None:
    """Five minutes before its end, or in the second half of a short life."""
    office = Office()
    claims = office.issue(ttl_seconds=ttl).claims
    office.clock.advance(wants_at - 1)
    assert not office.authority.wants_successor(claims)
    office.clock.advance(1)
    assert office.authority.wants_successor(claims)


# Revocation


@pytest.mark.parametrize("snapshot", [False, True])
def test_revoke(snapshot: bool) -> None:
    """Revoking a token ends all its successors, at once and after a restart, and nobody else's."""
    office = Office()
    first, other = office.issue(), office.issue()
    second = office.successor(first)
    third = office.successor(second)
    for token in (first, second, third, other):
        office.verify(token)
    line, on_disk = office.authority.revoke("p", second.claims.jti)
    assert line == [second.claims.jti, third.claims.jti]
    assert outcome(on_disk) == [None]
    for where in (office, office.restart(snapshot=snapshot)):
        for token in (second, third):
            with pytest.raises(TokenRevoked):
                where.verify(token)
        where.verify(first)
        where.verify(other)


@pytest.mark.parametrize("snapshot", [False, True])
def test_revoke_after_the_first_has_ended(snapshot: bool) -> None:
    """A token that ended long ago still leads to the successor that lives."""
    office = Office()
    tokens = [office.issue(ttl_seconds=60)]
    for _ in range(10):
        office.clock.advance(50)
        tokens.append(office.successor(tokens[-1]))
    office = office.restart(snapshot=snapshot)
    office.verify(tokens[-1])
    line, _ = office.authority.revoke("p", tokens[0].claims.jti)
    assert line == [token.claims.jti for token in tokens]
    with pytest.raises(TokenRevoked):
        office.verify(tokens[-1])


def test_revoked_is_not_forgotten_early() -> None:
    """A revocation is remembered as long as any token it could mean."""
    office = Office(ttl_seconds=100)
    token = office.issue(ttl_seconds=86400)
    office.authority.revoke("p", token.claims.jti)
    office.clock.advance(86000)
    office.successor(office.issue())  # sweeps
    with pytest.raises(TokenRevoked):
        office.restart(snapshot=True).verify(token)


def test_ended_lines_are_forgotten() -> None:
    """What no living token hangs on is not kept."""
    office = Office()
    office.successor(office.issue(ttl_seconds=60))
    office.clock.advance(120)
    office.successor(office.issue())
    assert len(office.book.successions) == 1
    assert office.restart(snapshot=True).journal.kinds() == ["succession"]


def test_revocation_not_on_disk() -> None:
    """If one of the records is refused, the revocation is not said to be on disk; in memory it holds."""
    office = Office()
    token = office.issue()
    office.successor(token)
    office.journal.held = True
    full = StorageFull("full")
    _, on_disk = office.authority.revoke("p", token.claims.jti)
    seen = outcome(on_disk)
    office.journal.refuse(full, 1)
    office.journal.write()
    assert seen == [full]
    with pytest.raises(TokenRevoked):
        office.verify(token)


def test_revoke_before_the_disk() -> None:
    """It holds from the next request on, not only when it is on disk; the answer waits for the disk."""
    office = Office()
    token = office.issue()
    office.journal.held = True
    _, on_disk = office.authority.revoke("p", token.claims.jti)
    seen = outcome(on_disk)
    with pytest.raises(TokenRevoked):
        office.verify(token)
    assert seen == []
    office.journal.write()
    assert seen == [None]


# Keys that change


def rotated(office: Office, key: SigningKey, until: float) -> None:
    office.authority.use(office.authority.keys.followed_by(key, until))


def test_rotation() -> None:
    """A new key signs at once; what the old one signed is good, and a successor stays what it was given as."""
    office = Office(keys=KeyRing((OLD,)))
    token, renewed = office.issue(), office.issue()
    successor = office.successor(renewed)
    rotated(office, KEY, START + 7_200)
    assert jwt.get_unverified_header(office.issue().text)["kid"] == "key"
    assert jwt.get_unverified_header(office.successor(token).text)["kid"] == "key"
    assert office.successor(renewed) == successor
    for each in (token, renewed, successor):
        assert office.verify(each) == each.claims.jti
    assert [key["kid"] for key in office.authority.keys.jwks()["keys"]] == ["old", "key"]  # type: ignore[attr-defined]  # a list of dicts
    assert office.authority.keys.without_ended(START + 7_199).find("old") is not None
    assert office.authority.keys.without_ended(START + 7_200).find("old") is None
    rotated(office, STRANGER, START + 9_000)
    assert [key.until for key in office.authority.keys.keys] == [START + 7_200, START + 9_000, None]


def test_revoked_key() -> None:
    """What a revoked key signed is dead, also where it was verified before, and its successors with it."""
    office = Office(keys=KeyRing((OLD,)))
    token = office.issue()
    successor = office.successor(token)
    standing = office.authority.standing(office.authority.verify(token.text.encode()))
    assert standing.refusal() is None
    office.authority.use(KeyRing((KEY,)))
    assert isinstance(standing.refusal(), TokenRevoked)
    for dead in (token, successor):
        with pytest.raises(Unauthenticated):
            office.verify(dead)
    again = office.authority.reissue(token.claims)
    assert office.authority.verify(again.text.encode()) == again.claims
    assert (again.claims.sub, again.claims.exp) == (token.claims.sub, token.claims.exp)
    assert again.claims.jti != token.claims.jti


def test_admin_of_a_revoked_key() -> None:
    """The admin's tokens are no exception."""
    office = Office(keys=KeyRing((OLD,)))
    claims = office.authority.issue_admin(["read_context"]).claims
    office.authority.use(KeyRing((KEY,)))
    assert isinstance(office.authority.refusal_of(claims), TokenRevoked)
