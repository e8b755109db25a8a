"""Ed25519 keys: signing keys, enrolled public keys, and their keyids.

Rules:
    1. A keyid is the SHA-256 of the canonical JSON of the public key, as securesystemslib computes it.
    2. A public key must be a valid point of the prime-order group; low-order points verify forged signatures.
    3. A private key is written with mode 0600, whole or not at all, and never shown by ``repr``.

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
from dataclasses import dataclass
from pathlib import Path

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
from symbio_lab.errors import StorageError, TrustError
from symbio_lab.records import canonical_json

logger = logging.getLogger(__name__)

KEY_FILE_SCHEMA = 1


def keyid_of(public_hex: str) -> str:
    """Return the keyid (64 hex characters) of an Ed25519 public key given as 64 hex characters.

    Raises:
        TrustError: ``bad_key``: not 32 bytes of lower-case hex.
    """
    _public_bytes(public_hex)
    return hashlib.sha256(
        canonical_json({"keytype": "ed25519", "keyval": {"public": public_hex}, "scheme": "ed25519"})
    ).hexdigest()


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
        if not crypto_core_ed25519_is_valid_point(_public_bytes(self.public_hex)):
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


def save_key(path: Path, key: SigningKey) -> None:
    """Write ``key`` to ``path`` with mode 0600, whole or not at all.

    Raises:
        StorageError: disk full or no permission.
    """
    write_atomic(path, lambda temporary: _write_private(temporary, _key_bytes(key)))


def load_key(path: Path) -> SigningKey:
    """Return the key that ``save_key`` wrote.

    Raises:
        StorageError: the file cannot be read.
        DataError: the file is not JSON.
        TrustError: ``bad_key``: the file is JSON but not a key, or its halves do not belong together.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") != KEY_FILE_SCHEMA or value.get("keytype") != "ed25519":
        raise TrustError("bad_key", f"{path.name} is not a symbio_lab key file (schema {KEY_FILE_SCHEMA})")
    try:
        key = SigningKey(bytes.fromhex(value.get("seed", "")))
    except (ValueError, TypeError) as error:
        raise TrustError("bad_key", f"{path.name} holds no hex seed") from error
    if key.public_hex != value.get("public"):
        raise TrustError("bad_key", f"the two halves of the key in {path.name} do not belong together")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        logger.warning("the private key %s can be read by other users; run: chmod 600", path.name)
    return key


def load_or_create_key(path: Path) -> SigningKey:
    """Return the key at ``path``, making it first if there is none.

    Two processes that race get the same key: the first one to link its file into place wins.

    Raises:
        StorageError: the file cannot be read or written.
        TrustError: ``bad_key``: the file is not a key.
    """
    if path.exists():
        return load_key(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_private(temporary, _key_bytes(SigningKey.generate()))
        try:
            # A hard link fails when the target exists; a rename would overwrite the winner's key.
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:
            os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return load_key(path)


def _public_bytes(public_hex: str) -> bytes:
    try:
        raw = bytes.fromhex(public_hex)
    except (ValueError, TypeError) as error:
        raise TrustError("bad_key", "a public key is 64 hex characters") from error
    if raw.hex() != public_hex or len(raw) != 32:
        raise TrustError("bad_key", "a public key is 64 lower-case hex characters")
    return raw


def _key_bytes(key: SigningKey) -> bytes:
    value = {"keytype": "ed25519", "public": key.public_hex, "schema": KEY_FILE_SCHEMA, "seed": key.seed.hex()}
    return canonical_json(value) + b"\n"


def _write_private(path: Path, data: bytes) -> None:
    """Write ``data`` to a file that is private from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
