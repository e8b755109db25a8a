"""How a private key lies on disk: in the clear, under a passphrase, or as a note that the system's keyring has it.

Formats (``schema`` in the file; each stays readable):
    1. ``{"schema": 1, "keytype", "public", "seed"}``: 32 secret bytes in hex, protected by the file's mode only.
    2. ``{"schema": 2, "keytype", "public", "kdf", "box"}``: the seed in a ``SecretBox`` (XSalsa20-Poly1305) whose key
       is Argon2id of the passphrase. ``kdf`` states salt and cost, so that a cost raised later still opens old files.
    3. ``{"schema": 3, "keytype", "public", "keyring"}``: no secret; the seed is in the system's keyring (extra
       ``keyring``) under this service and the public key.

Rules:
    1. The cost stated by a file is bounded before it is spent: a file cannot make us use more memory than
       ``MAX_MEMORY_BYTES``.
    2. A passphrase is Unicode NFC before it is hashed: the same keys typed on another system give the same bytes.
    3. A wrong passphrase and a changed file cannot be told apart: both are ``bad_key``.
    4. Files are private from their first byte on, and whole or absent.

Example:
    >>> seed, cheap = bytes([1]) * 32, KdfCost(ops=1, memory_bytes=8192)
    >>> sealed = sealed_fields(seed, "8a88...", "correct horse", cheap)
    >>> open_sealed(sealed, lambda: "correct horse", "alice") == seed
    True

References:
    Biryukov, Dinu, Khovratovich and Josefsson (2021), RFC 9106, "Argon2 Memory-Hard Function for Password Hashing
    and Proof-of-Work Applications", section 4.
    Differs from the paper: one lane (libsodium has no other), hence libsodium's "moderate" cost of 3 passes over
    256 MiB in place of 3 passes over 64 MiB in four lanes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from symbio_lab.errors import DataError, MissingExtraError, StorageError, TrustError
from symbio_lab.records import canonical_json

Protection = Literal["none", "passphrase", "keyring"]
Passphrase = Callable[[], str]
"""Asked only when it is needed: a prompt, or something that reads the environment."""

PLAIN_SCHEMA, SEALED_SCHEMA, KEYRING_SCHEMA = 1, 2, 3
PASSPHRASE_VARIABLE = "SYMBIO_LAB_KEY_PASSPHRASE"
KEYRING_SERVICE = "symbio-lab"
MIN_PASSPHRASE = 8
"""Characters; shorter ones are guessed offline whatever the cost."""
MAX_OPS = 16
MAX_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs."""

    ops: int = 3
    """Passes over the memory."""
    memory_bytes: int = 256 << 20


DEFAULT_COST = KdfCost()
"""Cost of keys that are encrypted without saying what it shall be."""


def environment_passphrase() -> str:
    """Return the passphrase in ``SYMBIO_LAB_KEY_PASSPHRASE``: for commands that run unattended.

    Raises:
        DataError: the variable is not set.
    """
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if not given:
        raise DataError("the key is encrypted and no passphrase was given", hint=f"set {PASSPHRASE_VARIABLE}")
    return given


def check_new_passphrase(passphrase: str) -> str:
    """Return a passphrase that may protect a key.

    Raises:
        DataError: it is too short.
    """
    if len(unicodedata.normalize("NFC", passphrase)) < MIN_PASSPHRASE:
        raise DataError(
            f"a passphrase needs at least {MIN_PASSPHRASE} characters", hint="several random words are easy to type"
        )
    return passphrase


def plain_fields(seed: bytes, public_hex: str) -> dict[str, Any]:
    """Return the fields of a key file in the clear."""
    return {"keytype": "ed25519", "public": public_hex, "schema": PLAIN_SCHEMA, "seed": seed.hex()}


def sealed_fields(seed: bytes, public_hex: str, passphrase: str, cost: KdfCost | None = None) -> dict[str, Any]:
    """Return the fields of a key file that only ``passphrase`` opens.

    Raises:
        DataError: the passphrase is too short.
    """
    from nacl.pwhash import argon2id
    from nacl.secret import SecretBox

    spent, salt = cost or DEFAULT_COST, secrets.token_bytes(argon2id.SALTBYTES)
    key = _derive(check_new_passphrase(passphrase), salt, spent)
    return {
        "box": bytes(SecretBox(key).encrypt(seed)).hex(),
        "kdf": {"memory_bytes": spent.memory_bytes, "name": "argon2id", "ops": spent.ops, "salt": salt.hex()},
        "keytype": "ed25519",
        "public": public_hex,
        "schema": SEALED_SCHEMA,
    }


def open_sealed(fields: Mapping[str, Any], passphrase: Passphrase, name: str) -> bytes:
    """Return the seed that ``sealed_fields`` sealed.

    Args:
        fields: the key file.
        passphrase: asked for what it was sealed with, once the file is known to be well-formed.
        name: name of the key in messages.

    Raises:
        TrustError: ``bad_key``: wrong passphrase, a changed file, or a cost beyond the bounds.
    """
    from nacl.exceptions import CryptoError
    from nacl.pwhash import argon2id
    from nacl.secret import SecretBox

    kdf = fields.get("kdf")
    try:
        if not isinstance(kdf, dict) or kdf["name"] != "argon2id":
            raise ValueError("another key derivation")
        cost, salt = KdfCost(kdf["ops"], kdf["memory_bytes"]), bytes.fromhex(kdf["salt"])
        box = bytes.fromhex(fields["box"])
        bounded = type(cost.ops) is int and type(cost.memory_bytes) is int
        bounded = bounded and argon2id.OPSLIMIT_MIN <= cost.ops <= MAX_OPS
        if not bounded or not argon2id.MEMLIMIT_MIN <= cost.memory_bytes <= MAX_MEMORY_BYTES:
            raise ValueError("a cost out of bounds")
        if len(salt) != argon2id.SALTBYTES:
            raise ValueError("a salt of another length")
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError("bad_key", f"the encrypted key {name} is damaged: {error}") from error
    try:
        return SecretBox(_derive(passphrase(), salt, cost)).decrypt(box)
    except CryptoError as error:
        raise TrustError("bad_key", f"wrong passphrase for the key {name}, or its file was changed") from error


def keyring_fields(public_hex: str) -> dict[str, Any]:
    """Return the fields of a key file that says where the secret is."""
    return {"keyring": KEYRING_SERVICE, "keytype": "ed25519", "public": public_hex, "schema": KEYRING_SCHEMA}


def put_in_keyring(seed: bytes, public_hex: str) -> None:
    """Keep a seed in the system's keyring, and read it back: some backends drop what they are given.

    Raises:
        MissingExtraError: the package ``keyring`` is not installed.
        StorageError: the system has no keyring, it is locked, or it did not keep the key.
    """
    _call_keyring("set_password", KEYRING_SERVICE, public_hex, seed.hex())
    if take_from_keyring(public_hex, "just stored") != seed:
        raise StorageError("the system's keyring did not keep the key", hint="keep it in a file: leave out --keyring")


def take_from_keyring(public_hex: str, name: str) -> bytes:
    """Return the seed that ``put_in_keyring`` kept.

    Raises:
        MissingExtraError: the package ``keyring`` is not installed.
        StorageError: the keyring cannot be read, or does not have this key.
        TrustError: ``bad_key``: what it has is no seed.
    """
    kept = _call_keyring("get_password", KEYRING_SERVICE, public_hex)
    if kept is None:
        raise StorageError(
            f"the system's keyring does not have the key {name}", hint="unlock the keyring of the user who made it"
        )
    try:
        return bytes.fromhex(kept)
    except ValueError as error:
        raise TrustError("bad_key", f"what the keyring has for {name} is no key") from error


def drop_from_keyring(public_hex: str) -> None:
    """Remove a seed from the system's keyring.

    Raises:
        MissingExtraError: the package ``keyring`` is not installed.
        StorageError: the keyring cannot be changed.
    """
    _call_keyring("delete_password", KEYRING_SERVICE, public_hex)


def key_bytes(fields: Mapping[str, Any]) -> bytes:
    """Return the bytes of a key file."""
    return canonical_json(fields) + b"\n"


def create_private(path: Path, data: bytes) -> bool:
    """Write a file of mode 0600 unless it exists, whole or not at all; return whether it was this call that made it.

    Of any number of processes that race exactly one gets True, and all find the same file afterwards.

    Raises:
        StorageError: disk full or no permission.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(temporary, data)
        try:
            # A hard link fails when the target exists; a rename would overwrite the winner's file.
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without links: an exclusive open still has one winner, though a kill may leave it short.
            try:
                write_private(path, data)
            except FileExistsError:
                return False
        return True
    except OSError as error:
        raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that is private from its first byte on, and on disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _derive(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    from nacl.pwhash import argon2id
    from nacl.secret import SecretBox

    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return argon2id.kdf(SecretBox.KEY_SIZE, secret, salt, opslimit=cost.ops, memlimit=cost.memory_bytes)


def _call_keyring(function: str, *arguments: str) -> Any:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise MissingExtraError("keyring", "keyring") from error
    try:
        return getattr(keyring, function)(*arguments)
    except KeyringError as error:
        raise StorageError(
            f"the system's keyring cannot be used: {' '.join(str(error).split()) or type(error).__name__}",
            hint="unlock it, or keep the key in a file: leave out --keyring",
        ) from error
