"""Our keys in the shape that python-tuf signs and verifies with.

Signing goes through libsodium, like every signature of this project; securesystemslib sees the public half only. The
keyid is the same on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symbio_lab.errors import MissingExtraError
from symbio_lab.trust.keys import PublicKey, SigningKey

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.tuf_names import Key, Signer


def require_tuf() -> None:
    """Return nothing if python-tuf is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        from symbio_lab.marketplace.registry import tuf_names  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("tuf", "registry") from error


def tuf_key(key: PublicKey) -> Key:
    """Return a public key as TUF metadata lists it.

    Raises:
        MissingExtraError: python-tuf is not installed.
    """
    require_tuf()
    from symbio_lab.marketplace.registry.tuf_names import SSlibKey

    return SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public_hex})


def tuf_signer(key: SigningKey) -> Signer:
    """Return a signer for TUF metadata that signs with ``key``.

    Raises:
        MissingExtraError: python-tuf is not installed.
    """
    require_tuf()
    from symbio_lab.marketplace.registry.tuf_names import Signature, Signer

    class SodiumSigner(Signer):
        """Signs through libsodium."""

        @classmethod
        def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> Signer:
            # Keys are read by the project's own key storage, which knows about passphrases.
            raise NotImplementedError("load the key with symbio_lab and give it to tuf_signer")

        @property
        def public_key(self) -> Key:
            return tuf_key(key.public_key)

        def sign(self, payload: bytes) -> Signature:
            return Signature(key.keyid, key.sign(payload).hex())

    return SodiumSigner()
