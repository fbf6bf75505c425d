"""The keys that sign tokens, and those that signed some that still count."""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey


@frozen(eq=False)
class SigningKey:
    """An RSA key pair and its id (RFC 7638 thumbprint); ``until`` is when the last token that it signed has ended."""

    key_id: str
    private: RSAPrivateKey
    public: RSAPublicKey
    numbers: Mapping[str, str]
    until: float | None = None


@frozen(eq=False)
class KeyRing:
    """All keys that verify, oldest first; the last one signs."""

    keys: Sequence[SigningKey]

    @property
    def signing(self) -> SigningKey:
        """The key that signs."""
        return self.keys[-1]

    def find(self, key_id: object) -> SigningKey | None:
        """Give the key of that id."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def jwks(self) -> dict[str, object]:
        """Give the public keys as a JSON Web Key Set (RFC 7517)."""
        return {
            "keys": [
                {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.key_id, **key.numbers} for key in self.keys
            ]
        }

    def followed_by(self, key: SigningKey, until: float) -> "KeyRing":
        """Give the ring in which ``key`` signs, and all others verify until then at the latest."""
        older = [each if each.until is not None else evolve(each, until=until) for each in self.keys]
        return KeyRing((*older, key))

    def without_ended(self, now: float) -> "KeyRing":
        """Give the ring without the keys whose tokens are over."""
        return KeyRing(tuple(key for key in self.keys if key.until is None or key.until > now))
