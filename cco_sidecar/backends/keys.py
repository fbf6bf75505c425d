"""The signing keys on disk, made at first start and kept, so that a restart ends no agent's token."""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from cco_sidecar.backends.private import write_private
from cco_sidecar.core.tokens import KeyRing, SigningKey

_BITS = 2048


def load_keys(directory: Path) -> KeyRing:
    """Read the keys of a directory, the newest signs; make the first one if there is none. Blocks.

    :raises OSError: the directory cannot be read or written.
    :raises ValueError: a key file holds no private RSA key.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    paths = sorted(directory.glob("*.pem"), key=lambda path: path.stat().st_mtime_ns)
    keys = [_read(path) for path in paths]
    return KeyRing(tuple(keys or [_make(directory)]))


def _read(path: Path) -> SigningKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no private key: restore it, or remove it to have a new one made") from error
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError(f"{path} holds no RSA key: remove it to have one made")
    return _signing_key(private)


def _make(directory: Path) -> SigningKey:
    private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    key = _signing_key(private)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(directory / f"{key.key_id}.pem", pem)
    return key


def _signing_key(private: rsa.RSAPrivateKey) -> SigningKey:
    public = private.public_key()
    jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
    # RFC 7638: the thumbprint is over exactly these members, in this order, without white space.
    canonical = json.dumps({"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}, separators=(",", ":"), sort_keys=True)
    key_id = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    return SigningKey(key_id, private, public, {"n": jwk["n"], "e": jwk["e"]})
