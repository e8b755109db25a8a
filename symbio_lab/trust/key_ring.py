"""The private keys of one installation, by name: made, listed, opened, protected and rotated.

Layout of the folder::

    NAME.json                   the key in use, in one of the formats of ``key_storage``
    next/NAME.json              a key that is about to take its place: a rotation that was killed goes on with it
    retired/NAME~KEYID16.json   keys that were succeeded, as they were
    statements/*.dsse.json      successions and revocations that we signed, to hand out

Rules:
    1. A name is made once; of several processes that make it at once, one does and the others are told.
    2. A key is never deleted and never overwritten by another: what it signed must stay explainable. One process at
       a time changes the key under a name.
    3. The secret is asked for only when it is needed; listing and exporting never need it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import write_atomic
from symbio_lab.errors import DataError, NotFoundError, StorageError, SymbioError
from symbio_lab.trust.key_storage import (
    KdfCost,
    Passphrase,
    Protection,
    create_private,
    drop_from_keyring,
    key_bytes,
    keyring_fields,
    plain_fields,
    put_in_keyring,
    sealed_fields,
)
from symbio_lab.trust.keys import KeyFile, SigningKey, load_key, read_key_file, write_key_file
from symbio_lab.trust.locking import locked
from symbio_lab.trust.succession import Succession, read_key_statement, sign_revocation, sign_succession

OWN_NAME = "own"
"""The key that signs what this installation publishes, unless another is named."""
logger = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What can be told about a private key without its secret."""

    name: str
    keyid: str
    public_hex: str
    protection: Protection
    """``none``: in the clear on disk; ``passphrase``: encrypted; ``keyring``: not on disk."""
    retired: bool = False
    """Whether another key has succeeded it."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """A key and the one that took its place."""

    old: StoredKey
    new: StoredKey
    statement: Path
    """Envelope file to hand to everybody who enrolled the old key."""


class KeyRing:
    """The keys in one folder."""

    def __init__(self, folder: Path, cost: KdfCost | None = None) -> None:
        """Name the folder; nothing is read yet.

        Args:
            folder: usually ``settings.keys``.
            cost: what a guess at a passphrase shall cost, for keys written from now on.
        """
        self.folder = folder
        self.cost = cost

    def stored(self) -> list[StoredKey]:
        """Return the keys in use, by name, then those that were succeeded; files that are no keys are left out."""
        used = (path for path in sorted(self.folder.glob("*.json")) if _NAME.fullmatch(path.stem))
        return [key for path in used for key in _if_key(path.stem, path)] + self.retired()

    def retired(self, name: str = "*") -> list[StoredKey]:
        """Return the keys that were succeeded, of one name or of all; files that are no keys are left out."""
        paths = sorted((self.folder / "retired").glob(f"{name}~*.json"))
        return [key for path in paths for key in _if_key(path.stem.partition("~")[0], path, retired=True)]

    def find(self, name: str) -> StoredKey:
        """Return the key in use under this name.

        Raises:
            DataError: not a name, or a damaged file.
            NotFoundError: there is none.
            TrustError: ``bad_key``: the file is not a key.
        """
        return _stored(name, self._existing(name))

    def create(self, name: str, protection: Protection, passphrase: Passphrase | None = None) -> StoredKey:
        """Return a new key under a new name.

        Args:
            name: lower-case letters, digits, ``-`` and ``_``.
            protection: where the secret shall be.
            passphrase: asked for the new passphrase where ``protection`` is ``passphrase``.

        Raises:
            DataError: the name is taken or no name, or the passphrase is too short.
            MissingExtraError: the package ``keyring`` is needed and not installed.
            StorageError: the file or the system's keyring cannot be written.
        """
        path = self._path(name)
        taken = DataError(f"there is a key {name!r} already", hint="choose another name, or: symbio market keys rotate")
        if path.exists():
            raise taken
        key = SigningKey.generate()
        fields = self._fields(key, protection, passphrase)
        if not create_private(path, key_bytes(fields)):
            if protection == "keyring":
                drop_from_keyring(key.public_hex)
            raise taken
        return self.find(name)

    def open(self, name: str, passphrase: Passphrase | None = None) -> SigningKey:
        """Return the key in use under this name, with its secret.

        Args:
            name: which key.
            passphrase: asked if the key is encrypted; None takes ``SYMBIO_LAB_KEY_PASSPHRASE``.

        Raises:
            DataError: not a name, a damaged file, or no passphrase.
            NotFoundError: there is none.
            TrustError: ``bad_key``: a wrong passphrase, or not a key.
            MissingExtraError: the package ``keyring`` is needed and not installed.
            StorageError: the file or the system's keyring cannot be read.
        """
        return load_key(self._existing(name), passphrase)

    def protect(self, name: str, protection: Protection, *, old: Passphrase, new: Passphrase) -> StoredKey:
        """Return the key after its secret was put elsewhere; the key itself stays the same.

        Args:
            name: which key.
            protection: where the secret shall be from now on.
            old: asked for the passphrase that it has.
            new: asked for the passphrase that it shall have.

        Raises:
            DataError: as ``open``, or the new passphrase is too short.
            NotFoundError: there is none.
            TrustError: ``bad_key``: a wrong passphrase, or not a key.
            MissingExtraError: the package ``keyring`` is needed and not installed.
            StorageError: the file or the system's keyring cannot be written.
        """
        path = self._existing(name)
        with self._alone(name):
            before, key = read_key_file(path), load_key(path, old)
            write_key_file(path, self._fields(key, protection, new))
            if before.protection == "keyring" and protection != "keyring":
                drop_from_keyring(key.public_hex)
            return self.find(name)

    def rotate(self, name: str, *, issued: str, old: Passphrase, new: Passphrase) -> Rotated:
        """Return the key under this name and the one that took its place, protected alike.

        A rotation that was killed goes on with the key that it had made.

        Args:
            name: which key.
            issued: UTC time that the succession states.
            old: asked for the passphrase of the key.
            new: asked for the passphrase of its successor.

        Raises:
            DataError: as ``open``; the new passphrase is too short; an earlier rotation named a key that is not here.
            NotFoundError: there is none.
            TrustError: ``bad_key``: a wrong passphrase, or not a key.
            MissingExtraError: the package ``keyring`` is needed and not installed.
            StorageError: a file or the system's keyring cannot be written.
        """
        path, waiting = self._existing(name), self.folder / "next" / f"{name}.json"
        with self._alone(name):
            before, key = read_key_file(path), load_key(path, old)
            if not waiting.exists():
                create_private(waiting, key_bytes(self._fields(SigningKey.generate(), before.protection, new)))
            successor = load_key(waiting, new)
            statement = self.folder / "statements" / f"succession-{key.keyid[:16]}.dsse.json"
            if not create_private(statement, sign_succession(key, successor, issued=issued)):
                _check_successor(statement, successor.keyid)
            create_private(self.folder / "retired" / f"{name}~{key.keyid[:16]}.json", key_bytes(before.fields))
            try:
                os.replace(waiting, path)
            except OSError as error:
                raise StorageError(f"cannot write {path.name}: {error.strerror or error}") from error
            (retired,) = [item for item in self.retired(name) if item.keyid == key.keyid]
            return Rotated(retired, self.find(name), statement)

    def revoke(
        self, keyid: str, by: str, *, reason: str, issued: str, passphrase: Passphrase | None = None
    ) -> tuple[Path, bytes]:
        """Return the revocation of a key signed by one of ours, as a file and as bytes.

        Args:
            keyid: the key that is revoked.
            by: name of the key that says so; a key that revokes itself may be a retired one.
            reason: for people to read.
            issued: UTC time that the statement states.
            passphrase: as ``open``.

        Raises:
            DataError, NotFoundError, TrustError, MissingExtraError, StorageError: as ``open``; ``bad_manifest`` when
                the reason or the time is not as the schema asks.
        """
        signed = sign_revocation(keyid, self._signer(by, keyid, passphrase), reason=reason, issued=issued)
        path = self.folder / "statements" / f"revocation-{keyid[:16]}.dsse.json"
        write_atomic(path, signed)
        return path, signed

    def _signer(self, name: str, keyid: str, passphrase: Passphrase | None) -> SigningKey:
        own = self.folder / "retired" / f"{name}~{keyid[:16]}.json"
        return load_key(own, passphrase) if own.is_file() else self.open(name, passphrase)

    def _alone(self, name: str) -> AbstractContextManager[None]:
        """Keep other processes from changing the key under this name: one of two new keys would be lost."""
        return locked(self.folder / f".{name}.lock")

    def _fields(self, key: SigningKey, protection: Protection, passphrase: Passphrase | None) -> Mapping[str, Any]:
        if protection == "keyring":
            put_in_keyring(key.seed, key.public_hex)
            return keyring_fields(key.public_hex)
        if protection == "none":
            return plain_fields(key.seed, key.public_hex)
        if passphrase is None:
            raise DataError("an encrypted key needs a passphrase", hint="give one, or keep the key in the clear")
        return sealed_fields(key.seed, key.public_hex, passphrase(), self.cost)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise DataError(
                f"{name!r:.80} is no name for a key", hint="use lower-case letters, digits, - and _, at most 64"
            )
        return self.folder / f"{name}.json"

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        if not path.is_file():
            raise NotFoundError(f"there is no key {name!r}", hint="list them: symbio market keys list")
        return path


def _if_key(name: str, path: Path, *, retired: bool = False) -> list[StoredKey]:
    try:
        return [_stored(name, path, retired=retired)]
    except SymbioError as error:
        # One damaged file must not take all keys away.
        logger.warning("%s is left out: %s", path.name, error)
        return []


def _stored(name: str, path: Path, *, retired: bool = False) -> StoredKey:
    found: KeyFile = read_key_file(path)
    return StoredKey(name, found.keyid, found.public_hex, found.protection, retired)


def _check_successor(statement: Path, keyid: str) -> None:
    try:
        read = read_key_statement(statement.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {statement.name}: {error.strerror or error}") from error
    if not isinstance(read, Succession) or read.new != keyid:
        # It may have been handed out: a second one would be refused by everybody who has it.
        raise DataError(
            f"{statement.name} names another successor, which is not here",
            hint="bring back the key that it names as next/NAME.json, or make a new key and let others enrol it",
        )
