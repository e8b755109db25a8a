"""Whose keys this installation accepts: its own, those it enrolled, and what it was told about them since.

Layout of the folder of keys, beside the private keys of ``key_ring``::

    enrolled/KEYID16.json       a publisher's public key and the rights that it has here
    accepted/NNNNNN~SHA16.json  signed statements about keys, in the order in which they were accepted
    revoked/KEYID16.json        keys that this installation revoked by its own decision

Rules:
    1. Our own keys count: what we published, we may adopt. Keys that ours succeeded still do, until they are revoked.
    2. Whether a statement counts is judged once, when it is accepted, against the policy of that moment: which of a
       rotation and a revocation came first can be told here and nowhere else. Afterwards only its signatures are
       verified again.
    3. A revocation is never forgotten because of something else: it stays when the key that signed it loses its rights.
    4. A file ``trust-policy.yaml`` in the state folder is the installation's policy (``policy_file``); a key that it
       lists has the rights that stand there, whatever was enrolled.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json, write_atomic, write_json
from symbio_lab.config import Settings
from symbio_lab.errors import DataError, NotFoundError, StorageError, SymbioError, TrustError
from symbio_lab.trust.key_ring import OWN_NAME, KeyRing
from symbio_lab.trust.keys import PublicKey, keyid_of
from symbio_lab.trust.locking import locked
from symbio_lab.trust.policy import PublisherKey, TrustPolicy
from symbio_lab.trust.succession import (
    MAX_STATEMENT_BYTES,
    Revocation,
    Succession,
    accept_statement,
    read_key_statement,
)

OWN_KEY_NAME = "this installation"
POLICY_FILE_NAME = "trust-policy.yaml"
ENROLLED_SCHEMA = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EnrolledKey:
    """One publisher's key as it was enrolled here."""

    publisher: PublisherKey
    trusted: bool = False
    """Whether this installation trusts the key itself."""
    succeeds: str | None = None
    """Keyid whose place it takes by this installation's own decision."""

    @property
    def keyid(self) -> str:
        """Keyid, 64 hex characters."""
        return keyid_of(self.publisher.public_hex)


def own_key(settings: Settings) -> list[PublisherKey]:
    """Return our own public keys: the one that publishes (known), those that it succeeded, and other named ones.

    Raises:
        DataError: the file of the own key is not JSON.
        TrustError: ``bad_key``: it is not a key.
    """
    ring = KeyRing(settings.keys)
    found = []
    if (settings.keys / f"{OWN_NAME}.json").is_file():
        found.append(PublisherKey(ring.find(OWN_NAME).public_hex, OWN_KEY_NAME, known=True))
    for key in ring.stored():
        if key.name == OWN_NAME and key.retired:
            found.append(PublisherKey(key.public_hex, OWN_KEY_NAME, known=True))
        elif key.name != OWN_NAME:
            # Not known: further keys of ours would be further votes of ours.
            found.append(PublisherKey(key.public_hex, f"{OWN_KEY_NAME}: {key.name}"))
    return found


def enrolled_keys(settings: Settings) -> list[PublisherKey]:
    """Return the publishers' keys under ``keys/enrolled/``, without what was decided about them since.

    Raises:
        DataError: a file does not hold ``public_hex`` and ``name``.
    """
    return [entry.publisher for entry in enrolments(settings)]


def enrolments(settings: Settings) -> list[EnrolledKey]:
    """Return what stands under ``keys/enrolled/``, by file name.

    Raises:
        DataError: a file does not hold ``public_hex`` and ``name``.
    """
    return [_enrolled(path) for path in sorted((settings.keys / "enrolled").glob("*.json"))]


def enrol(settings: Settings, entry: EnrolledKey) -> None:
    """Enrol a publisher's key, or change the rights of one that is.

    Raises:
        TrustError: ``bad_key``: not a valid point.
        StorageError: the state folder cannot be written.
    """
    publisher = entry.publisher
    value: dict[str, Any] = {
        "schema": ENROLLED_SCHEMA,
        "public_hex": PublicKey(publisher.public_hex).public_hex,
        "name": publisher.name,
        "known": publisher.known,
    }
    if publisher.namespaces:
        value["namespaces"] = list(publisher.namespaces)
    if entry.trusted:
        value["trusted"] = True
    if entry.succeeds:
        value["succeeds"] = entry.succeeds
    write_json(settings.keys / "enrolled" / f"{entry.keyid[:16]}.json", value)


def accept(settings: Settings, data: bytes) -> Succession | Revocation:
    """Return a statement about a key after it was judged and kept; from now on it counts here.

    Accepting it again changes nothing.

    Raises:
        TrustError: every code of ``succession.accept_statement``.
        StorageError: the state folder cannot be written.
    """
    statement = read_key_statement(data)
    folder = settings.keys / "accepted"
    digest = hashlib.sha256(data).hexdigest()[:16]
    # Judging and keeping are one step: of two successors of one key that come at once, one is refused.
    with locked(settings.keys / ".accepted.lock"):
        held = _statements(folder)
        if not any(path.name.endswith(f"~{digest}.json") for path in held):
            own = {keyid_of(publisher.public_hex) for publisher in own_key(settings)}
            accept_statement(data, enrolled_policy(settings), authorities=own)
            number = 1 + max((int(path.name[:6]) for path in held), default=0)
            write_atomic(folder / f"{number:06d}~{digest}.json", data)
    return statement


def revoke_here(settings: Settings, keyid: str, *, reason: str, now: str) -> None:
    """Revoke a key by this installation's own decision, whether it is enrolled or not.

    Raises:
        StorageError: the state folder cannot be written.
    """
    value = {"schema": 1, "keyid": keyid, "reason": reason, "revoked": now}
    write_json(settings.keys / "revoked" / f"{keyid[:16]}.json", value)


def find_enrolled(settings: Settings, who: str) -> str:
    """Return the keyid of a key that counts here, by keyid, its beginning, public key, or its publisher's name.

    Raises:
        NotFoundError: nobody.
        DataError: several.
    """
    keys = enrolled_policy(settings).keys
    found = [keyid for keyid, key in keys.items() if who in (keyid, key.public_hex, key.name)]
    if not found and len(who) >= 8:
        found = [keyid for keyid in keys if keyid.startswith(who)]
    if not found:
        raise NotFoundError(f"no key here is called {who!r:.80}", hint="list them: symbio market keys list")
    if len(found) > 1:
        listed = ", ".join(keyid[:16] for keyid in sorted(found))
        raise DataError(f"{len(found)} keys are called {who!r:.80}: {listed}", hint="give the keyid")
    return found[0]


def enrolled_policy(settings: Settings, tenant: str | None = None) -> TrustPolicy:
    """Return the installation's policy for any market that is not a scenario's pool.

    Args:
        settings: state folder.
        tenant: whose rules, where the policy file has several; None takes its default.

    Raises:
        ConfigError: everything that is wrong with the policy file.
        DataError: the file of an enrolled key or of a statement is damaged.
        TrustError: ``bad_key``: an enrolled key is not a valid point.
    """
    path = settings.home / POLICY_FILE_NAME
    if not path.is_file():
        return with_enrolled(TrustPolicy(), settings)
    from symbio_lab.trust.policy_file import load_policy_file

    return with_enrolled(load_policy_file(path).for_tenant(tenant), settings)


def with_enrolled(policy: TrustPolicy, settings: Settings) -> TrustPolicy:
    """Return ``policy`` with our own keys, those enrolled here, and everything accepted or revoked about them.

    Args:
        policy: a key that it has keeps the rights that it has there.
        settings: state folder.

    Raises:
        DataError: the file of an enrolled key, a statement or a revocation is damaged.
        TrustError: ``bad_key``: an enrolled key is not a valid point.
    """
    entries = [entry for entry in enrolments(settings) if entry.keyid not in policy.keys]
    known = [*own_key(settings), *(entry.publisher for entry in entries)]
    given = {keyid_of(publisher.public_hex): publisher for publisher in known}
    policy = policy.enrol(*(publisher for keyid, publisher in given.items() if keyid not in policy.keys))
    policy = _trust(policy, {entry.keyid for entry in entries if entry.trusted})
    for entry in entries:
        if entry.succeeds is not None:
            policy = _succeed(policy, entry.succeeds, entry.publisher.public_hex)
    for statement in _accepted(settings):
        if isinstance(statement, Revocation):
            policy = policy.revoke(statement.keyid)
        else:
            policy = _succeed(policy, statement.old, statement.new_hex)
    return policy.revoke(*_revoked(settings))


def _trust(policy: TrustPolicy, keyids: set[str]) -> TrustPolicy:
    return replace(policy, trusted=policy.trusted | keyids) if keyids else policy


def _succeed(policy: TrustPolicy, old: str, new_hex: str) -> TrustPolicy:
    try:
        return policy.succeed(old, new_hex)
    except TrustError as error:
        # The old key may have been taken off the list since; then its successor has nothing to take over.
        logger.warning("a succession does not count (%s): %s", error.code, error)
        return policy


def _enrolled(path: Path) -> EnrolledKey:
    value = read_json(path)
    wrong = DataError(f"{path.name} is not an enrolled key", hint="remove it and run: symbio market keys enrol")
    if not isinstance(value, dict) or not isinstance(value.get("public_hex"), str):
        raise wrong
    namespaces, succeeds = value.get("namespaces", []), value.get("succeeds")
    if not isinstance(namespaces, list) or not all(isinstance(name, str) for name in namespaces):
        raise wrong
    if succeeds is not None and not isinstance(succeeds, str):
        raise wrong
    known = value.get("known") is True
    publisher = PublisherKey(value["public_hex"], str(value.get("name", "")), known, tuple(namespaces))
    return EnrolledKey(publisher, value.get("trusted") is True, succeeds)


def _statements(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*~*.json") if path.name[:6].isdigit())


def _accepted(settings: Settings) -> Iterator[Succession | Revocation]:
    for path in _statements(settings.keys / "accepted"):
        try:
            with path.open("rb") as handle:
                yield read_key_statement(handle.read(MAX_STATEMENT_BYTES + 1))
        except OSError as error:
            raise StorageError(f"cannot read {path.name}: {error.strerror or error}") from error
        except SymbioError as error:
            # Going on without it could bring a revoked key back.
            raise DataError(
                f"the accepted statement {path.name} is damaged: {error}",
                hint="restore it from a copy, or remove it and accept the statement again",
            ) from error


def _revoked(settings: Settings) -> Iterator[str]:
    for path in sorted((settings.keys / "revoked").glob("*.json")):
        value = read_json(path)
        keyid = value.get("keyid") if isinstance(value, dict) else None
        if not isinstance(keyid, str):
            raise DataError(f"{path.name} names no revoked key", hint="restore it from a copy, or revoke the key again")
        yield keyid
