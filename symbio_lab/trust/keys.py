"""Ed25519 keys: signing keys, enrolled public keys, and their keyids.

Rules:
    1. A keyid is the SHA-256 of the canonical JSON of the public key, as securesystemslib computes it.
    2. A public key must be a valid point of the prime-order group; low-order points verify forged signatures.
    3. A private key is written with mode 0600, whole or not at all, and never shown by ``repr``; ``key_storage``
       has the formats of its file.

Example:
    >>> keyid_of(SigningKey.from_seed(bytes([1]) * 32).public_hex)[:16]
    '7ab6b86cb2c9684b'

References:
    Josefsson and Liusvaara (2017), RFC 8032, "Edwards-Curve Digital Signature Algorithm (EdDSA)", section 5.1.
    Differs from the paper: nothing (libsodium, which also refuses low-order points).
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign_BYTES,
    crypto_sign_seed_keypair,
    crypto_sign_SEEDBYTES,
)
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey as _SodiumSigningKey
from nacl.signing import VerifyKey

from symbio_lab.codec import read_json, write_atomic
from symbio_lab.errors import TrustError
from symbio_lab.records import canonical_json
from symbio_lab.trust.key_storage import (
    KEYRING_SCHEMA,
    PLAIN_SCHEMA,
    SEALED_SCHEMA,
    Passphrase,
    Protection,
    create_private,
    environment_passphrase,
    key_bytes,
    open_sealed,
    plain_fields,
    take_from_keyring,
    write_private,
)

logger = logging.getLogger(__name__)


def keyid_of(public_hex: str) -> str:
    """Return the keyid (64 hex characters) of an Ed25519 public key given as 64 hex characters.

    Raises:
        TrustError: ``bad_key``: not 32 bytes of lower-case hex.
    """
    _public_bytes(public_hex)
    return hashlib.sha256(
        canonical_json({"keytype": "ed25519", "keyval": {"public": public_hex}, "scheme": "ed25519"})
    ).hexdigest()


@lru_cache(maxsize=1024)
def _is_point(public: bytes) -> bool:
    return bool(crypto_core_ed25519_is_valid_point(public))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key whose point was checked; it can verify but not sign."""

    public_hex: str
    """64 lower-case hex characters."""

    def __post_init__(self) -> None:
        """Check the point, so that no later signature check can be fooled by a low-order key.

        Raises:
            TrustError: ``bad_key``: not hex, or not a valid point of the group.
        """
        if not _is_point(_public_bytes(self.public_hex)):
            raise TrustError("bad_key", f"{self.public_hex[:16]}... is not a valid Ed25519 point")

    @property
    def keyid(self) -> str:
        """Keyid, 64 hex characters."""
        return keyid_of(self.public_hex)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` (64 bytes) is this key's signature of ``message``."""
        if len(signature) != crypto_sign_BYTES:
            return False
        try:
            VerifyKey(bytes.fromhex(self.public_hex)).verify(message, signature)
        except BadSignatureError:
            return False
        return True


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key. Its ``repr`` shows the keyid only."""

    seed: bytes
    """32 secret bytes."""

    def __post_init__(self) -> None:
        """Check the length of the seed.

        Raises:
            TrustError: ``bad_key``: the seed is not 32 bytes.
        """
        if not isinstance(self.seed, bytes) or len(self.seed) != crypto_sign_SEEDBYTES:
            raise TrustError("bad_key", f"an Ed25519 seed has {crypto_sign_SEEDBYTES} bytes")

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key from the system's randomness (a key is the one thing that is never seeded)."""
        return cls(secrets.token_bytes(crypto_sign_SEEDBYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Return the key of a 32-byte seed.

        Raises:
            TrustError: ``bad_key``: the seed is not 32 bytes.
        """
        return cls(seed)

    @property
    def public_hex(self) -> str:
        """Public half, 64 lower-case hex characters."""
        return crypto_sign_seed_keypair(self.seed)[0].hex()

    @property
    def public_key(self) -> PublicKey:
        """Public half, checked."""
        return PublicKey(self.public_hex)

    @property
    def keyid(self) -> str:
        """Keyid, 64 hex characters."""
        return keyid_of(self.public_hex)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message`` (plain Ed25519, deterministic)."""
        return bytes(_SodiumSigningKey(self.seed).sign(message).signature)

    def __repr__(self) -> str:
        """Return the keyid; the seed stays secret."""
        return f"SigningKey(keyid={self.keyid[:16]}...)"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file as it can be read without its secret."""

    public_hex: str
    """Public half as stated, checked to be a valid point."""
    protection: Protection
    """``none``, ``passphrase`` or ``keyring``."""
    fields: Mapping[str, Any] = field(repr=False)
    """The whole file."""

    @property
    def keyid(self) -> str:
        """Keyid, 64 hex characters."""
        return keyid_of(self.public_hex)


def save_key(path: Path, key: SigningKey) -> None:
    """Write ``key`` to ``path`` in the clear with mode 0600, whole or not at all.

    Raises:
        StorageError: disk full or no permission.
    """
    write_key_file(path, plain_fields(key.seed, key.public_hex))


def write_key_file(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a key file of any format with mode 0600, in place of the one that is there.

    Raises:
        StorageError: disk full or no permission.
    """
    write_atomic(path, lambda temporary: write_private(temporary, key_bytes(fields)))


def read_key_file(path: Path) -> KeyFile:
    """Return what a key file says without its secret: enough to enrol the key.

    Raises:
        StorageError: the file cannot be read.
        DataError: the file is not JSON.
        TrustError: ``bad_key``: the file is JSON but not a key.
    """
    value = read_json(path)
    protections: dict[int, Protection] = {
        PLAIN_SCHEMA: "none",
        SEALED_SCHEMA: "passphrase",
        KEYRING_SCHEMA: "keyring",
    }
    schema = value.get("schema") if isinstance(value, dict) else None
    if type(schema) is not int or schema not in protections or value.get("keytype") != "ed25519":
        known = ", ".join(map(str, protections))
        raise TrustError("bad_key", f"{path.name} is not a symbio_lab key file (schema {known})")
    public = PublicKey(value.get("public", ""))
    return KeyFile(public.public_hex, protections[schema], value)


def load_key(path: Path, passphrase: Passphrase | None = None) -> SigningKey:
    """Return the key in a key file of any format.

    Args:
        path: the key file.
        passphrase: asked if the file is encrypted; None takes ``SYMBIO_LAB_KEY_PASSPHRASE``.

    Raises:
        StorageError: the file or the system's keyring cannot be read.
        DataError: the file is not JSON, or it is encrypted and there is no passphrase.
        TrustError: ``bad_key``: not a key, a wrong passphrase, or its halves do not belong together.
        MissingExtraError: the key is in the keyring and that package is not installed.
    """
    found, name = read_key_file(path), path.stem
    if found.protection == "passphrase":
        seed = open_sealed(found.fields, passphrase or environment_passphrase, name)
    elif found.protection == "keyring":
        seed = take_from_keyring(found.public_hex, name)
    else:
        try:
            seed = bytes.fromhex(found.fields.get("seed", ""))
        except (ValueError, TypeError) as error:
            raise TrustError("bad_key", f"{path.name} holds no hex seed") from error
    key = SigningKey(seed)
    if key.public_hex != found.public_hex:
        raise TrustError("bad_key", f"the two halves of the key in {path.name} do not belong together")
    if found.protection != "keyring" and _others_can_read(path):
        logger.warning("the private key %s can be read by other users; run: chmod 600", path.name)
    return key


def load_or_create_key(path: Path, passphrase: Passphrase | None = None) -> SigningKey:
    """Return the key at ``path``, making it first, in the clear, if there is none.

    Two processes that race get the same key: the first one to link its file into place wins.

    Args:
        path: the key file.
        passphrase: as ``load_key``.

    Raises:
        StorageError: the file cannot be read or written.
        DataError: the file is encrypted and there is no passphrase.
        TrustError: ``bad_key``: the file is not a key.
    """
    if not path.exists():
        key = SigningKey.generate()
        create_private(path, key_bytes(plain_fields(key.seed, key.public_hex)))
    return load_key(path, passphrase)


def _public_bytes(public_hex: str) -> bytes:
    try:
        raw = bytes.fromhex(public_hex)
    except (ValueError, TypeError) as error:
        raise TrustError("bad_key", "a public key is 64 hex characters") from error
    if raw.hex() != public_hex or len(raw) != 32:
        raise TrustError("bad_key", "a public key is 64 lower-case hex characters")
    return raw


def _others_can_read(path: Path) -> bool:
    try:
        return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False  # moved away since it was read
