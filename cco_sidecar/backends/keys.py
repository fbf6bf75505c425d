"""The signing keys on disk, made at first start and kept, so that a restart ends no agent's token."""

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path

from attrs import evolve
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from cco_sidecar.backends.private import read_private, write_private
from cco_sidecar.core.hook_keys import LEAST_SECRET, HookKeys
from cco_sidecar.core.keyring import KeyRing, SigningKey

_BITS = 2048
_ENDS = "ends.json"


def load_keys(directory: Path, now: float | None = None) -> KeyRing:
    """Read the keys of a directory, the newest signs; make the first one if there is none. Blocks.

    Keys whose tokens are over (``now`` is in seconds since the epoch) are removed.

    :raises OSError: the directory cannot be read or written.
    :raises ValueError: a key file holds no private RSA key.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    paths = sorted(directory.glob("*.pem"), key=lambda path: path.stat().st_mtime_ns)
    ends = _read_ends(directory)
    keys = [evolve(key, until=ends.get(key.key_id)) for key in map(_read, paths)]
    if keys:
        keys[-1] = evolve(keys[-1], until=None)  # it signs, so there will be more of its tokens
    ring = KeyRing(tuple(keys or [_make(directory)]))
    remaining = ring.without_ended(time.time() if now is None else now)
    remove_others(directory, remaining)
    return remaining


def add_key(directory: Path, ring: KeyRing, until: float) -> KeyRing:
    """Make a key that signs from now on; the others verify until then (seconds since the epoch). Blocks.

    :raises OSError: it cannot be written; then all is as it was.
    """
    fresh = ring.followed_by(_new_key(), until)
    ends = {key.key_id: key.until for key in fresh.keys if key.until is not None}
    write_private(directory / _ENDS, json.dumps(ends).encode())
    _write(directory, fresh.signing)
    return fresh


def replace_keys(directory: Path) -> KeyRing:
    """Make a key, and remove all others: every token that they signed is dead. Blocks.

    :raises OSError: the new one cannot be written (then all is as it was), or an old one not be removed.
    """
    fresh = KeyRing((_new_key(),))
    _write(directory, fresh.signing)
    remove_others(directory, fresh)
    return fresh


def remove_others(directory: Path, ring: KeyRing) -> None:
    """Remove the files of all keys that are not in the ring. Blocks."""
    for path in directory.glob("*.pem"):
        # By its name first, for reading a key takes 30 ms; who put one here may have called it otherwise.
        if ring.find(path.stem) is None and ring.find(_read(path).key_id) is None:
            path.unlink(missing_ok=True)


def load_hook_keys(path: Path) -> HookKeys:
    """Read the secret of the hook keys; make it if there is none. Blocks.

    :raises OSError: it cannot be read or written.
    """
    secret = read_private(path)
    if secret is None or len(secret) < LEAST_SECRET:  # too short: a disk that was full when it was made
        secret = secrets.token_bytes(LEAST_SECRET)
        write_private(path, secret)
    return HookKeys(secret)


def _read_ends(directory: Path) -> dict[str, float]:
    text = read_private(directory / _ENDS)
    try:
        found = {} if text is None else json.loads(text)
        return {str(key_id): float(until) for key_id, until in found.items()}
    except (ValueError, AttributeError, TypeError):
        return {}  # then old keys verify for longer than they need to


def _read(path: Path) -> SigningKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no private key: restore it, or remove it to have a new one made") from error
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError(f"{path} holds no RSA key: remove it to have one made")
    return _signing_key(private)


def _make(directory: Path) -> SigningKey:
    key = _new_key()
    _write(directory, key)
    return key


def _new_key() -> SigningKey:
    return _signing_key(rsa.generate_private_key(public_exponent=65537, key_size=_BITS))


def _write(directory: Path, key: SigningKey) -> None:
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(directory / f"{key.key_id}.pem", pem)


def _signing_key(private: rsa.RSAPrivateKey) -> SigningKey:
    public = private.public_key()
    jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
    # RFC 7638: the thumbprint is over exactly these members, in this order, without white space.
    canonical = json.dumps({"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}, separators=(",", ":"), sort_keys=True)
    key_id = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    return SigningKey(key_id, private, public, {"n": jwk["n"], "e": jwk["e"]})
