"""The signing keys: private, kept, and named after what they are."""

import base64
import hashlib
import json
import os
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cco_sidecar.backends import keys
from cco_sidecar.backends.keys import add_key, load_keys, replace_keys
from cco_sidecar.core.keyring import KeyRing


def pem_of(private: "rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey", password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def published_by(ring: KeyRing) -> dict[str, str]:
    keys = ring.jwks()["keys"]
    assert isinstance(keys, list)
    (published,) = keys
    return dict(published)


def new_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_first_start(tmp_path: Path) -> None:
    """The first start makes one key, for its owner alone."""
    directory = tmp_path / "home" / "keys"
    before = os.umask(0)
    try:
        ring = load_keys(directory)
    finally:
        os.umask(before)
    (path,) = directory.iterdir()
    assert path.name == f"{ring.signing.key_id}.pem"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert oct(directory.stat().st_mode & 0o777) == "0o700"
    assert ring.signing.private.key_size >= 2048


def test_kept(tmp_path: Path) -> None:
    """Another start finds the same key, and makes none."""
    first, second = load_keys(tmp_path / "keys"), load_keys(tmp_path / "keys")
    assert first.signing.key_id == second.signing.key_id
    assert first.signing.private.private_numbers() == second.signing.private.private_numbers()
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_open_directory_is_closed(tmp_path: Path) -> None:
    """A directory that others could read is made private."""
    (tmp_path / "keys").mkdir(mode=0o755)
    load_keys(tmp_path / "keys")
    assert oct((tmp_path / "keys").stat().st_mode & 0o777) == "0o700"


def test_thumbprint(tmp_path: Path) -> None:
    """The id is the key's RFC 7638 thumbprint, so anybody can compute it from the published key."""
    ring = load_keys(tmp_path / "keys")
    published = published_by(ring)
    canonical = f'{{"e":"{published["e"]}","kty":"RSA","n":"{published["n"]}"}}'
    digest = hashlib.sha256(canonical.encode()).digest()
    assert published["kid"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_published_key_verifies(tmp_path: Path) -> None:
    """What is published is enough to verify what is signed."""
    ring = load_keys(tmp_path / "keys")
    published = published_by(ring)
    token = jwt.encode({"x": 1}, ring.signing.private, algorithm="RS256")
    assert jwt.decode(token, jwt.PyJWK(published).key, algorithms=["RS256"]) == {"x": 1}
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(json.loads(json.dumps(published)))


def test_newest_signs(tmp_path: Path) -> None:
    """Of several keys the newest signs, and all verify."""
    directory = tmp_path / "keys"
    first = load_keys(directory).signing.key_id
    newer = directory / "a.pem"
    newer.write_bytes(pem_of(new_rsa()))
    os.utime(directory / f"{first}.pem", (1000, 1000))
    ring = load_keys(directory)
    assert ring.keys[0].key_id == first
    assert ring.signing.key_id != first
    assert ring.find(first) is not None
    assert ring.find("other") is None
    assert ring.find(["kid"]) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"],
    ids=["empty", "garbage", "bytes", "hollow"],
)
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    """A key file that holds none stops the start with one line: a new key would end every agent's token."""
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "x.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pem holds no") as refused:
        load_keys(directory)
    assert "\n" not in str(refused.value)
    assert "remove it" in str(refused.value)
    assert [path.name for path in directory.iterdir()] == ["x.pem"]


@pytest.mark.parametrize("kind", ["elliptic", "encrypted", "public"])
def test_other_keys(tmp_path: Path, kind: str) -> None:
    """Another kind of key, or one with a password, is refused in the same way."""
    directory = tmp_path / "keys"
    directory.mkdir()
    private = new_rsa()
    content = {
        "elliptic": lambda: pem_of(ec.generate_private_key(ec.SECP256R1())),
        "encrypted": lambda: pem_of(private, b"password"),
        "public": lambda: private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    }[kind]()
    (directory / "x.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pem holds no"):
        load_keys(directory)


def test_add_key(tmp_path: Path) -> None:
    """A key that was added signs, also after a restart; the one before is kept until its tokens are over."""
    directory = tmp_path / "keys"
    first = load_keys(directory, 0.0)
    second = add_key(directory, first, 100.0)
    third = add_key(directory, second, 200.0)
    assert [key.until for key in third.keys] == [100.0, 200.0, None]
    found = load_keys(directory, 99.0)
    assert [(key.key_id, key.until) for key in found.keys] == [(key.key_id, key.until) for key in third.keys]
    assert found.signing.key_id == third.signing.key_id
    later = load_keys(directory, 150.0)
    assert [key.key_id for key in later.keys] == [key.key_id for key in third.keys[1:]]
    assert len(list(directory.glob("*.pem"))) == 2
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_replace_keys(tmp_path: Path) -> None:
    """After a revocation there is one key, and no file of another."""
    directory = tmp_path / "keys"
    before = add_key(directory, load_keys(directory), 1e12)
    after = replace_keys(directory)
    assert len(after.keys) == 1
    assert before.find(after.signing.key_id) is None
    assert [key.key_id for key in load_keys(directory).keys] == [after.signing.key_id]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be written changes nothing: the old one signs, for ever."""
    directory = tmp_path / "keys"
    ring = load_keys(directory)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "write_private", full)
        for change in (lambda: add_key(directory, ring, 5.0), lambda: replace_keys(directory)):
            with pytest.raises(OSError, match="No space"):
                change()
    found = load_keys(directory, 10.0)
    assert [(key.key_id, key.until) for key in found.keys] == [(ring.signing.key_id, None)]


def test_crash_between(tmp_path: Path) -> None:
    """Notes about the end of a key that still signs are not believed, nor are notes that are none."""
    directory = tmp_path / "keys"
    ring = load_keys(directory)
    (directory / "ends.json").write_text(json.dumps({ring.signing.key_id: 5.0}))
    assert load_keys(directory, 10.0).signing.until is None
    for text in ("[]", "{", '{"x": "y"}'):
        (directory / "ends.json").write_text(text)
        assert load_keys(directory, 10.0).signing.key_id == ring.signing.key_id
