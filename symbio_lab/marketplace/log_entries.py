"""What a market's log records: one small entry for each signed statement, and how they are gathered.

An entry says that a statement with this payload digest was there: ``{"digest": ..., "kind": ..., "schema": 1}`` in
canonical JSON. Nothing of the statement itself is in it, so the log can be public where the market is not.

Rules:
    1. Kinds: ``patch``, ``evaluation``, ``voucher``, ``revocation`` and ``succession``, told by the predicate type of
       the statement.
    2. Gathered are every version of every patch, the statements about each, and the statements about the keys that
       signed those (vouchers, revocations, successions lie under the keyid), until nothing new turns up.
    3. What cannot be read is counted and left out: a log of unreadable things helps nobody. No signature is judged
       here; that something was *claimed* is what a log records.
    4. Order is patches by name and version, then the other kinds by digest, so that gathering twice gives the same.

Example:
    >>> LogEntry("ab" * 32, "patch").to_bytes()[-28:]
    b'","kind":"patch","schema":1}'
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.registry.offers import offered_versions
from symbio_lab.marketplace.transport import Transport
from symbio_lab.records import canonical_json
from symbio_lab.trust.envelope import peek_keyids, peek_payload, strict_json
from symbio_lab.trust.evaluation_statement import EVALUATION_TYPE
from symbio_lab.trust.manifest import PREDICATE_TYPE
from symbio_lab.trust.strict_fields import hex_digest, take
from symbio_lab.trust.succession import REVOCATION_TYPE, SUCCESSION_TYPE
from symbio_lab.trust.voucher import VOUCHER_TYPE

ENTRY_SCHEMA = 1
KINDS = {
    PREDICATE_TYPE: "patch",
    EVALUATION_TYPE: "evaluation",
    VOUCHER_TYPE: "voucher",
    REVOCATION_TYPE: "revocation",
    SUCCESSION_TYPE: "succession",
}
"""Predicate type -> kind of entry."""
MAX_KEYS = 10_000
"""Keys whose statements are gathered, at most."""


@dataclass(frozen=True, slots=True, order=True)
class LogEntry:
    """One line of the log."""

    digest: str
    """SHA-256 of the statement's payload, 64 hex."""
    kind: str
    """One of the values of ``KINDS``."""

    def to_bytes(self) -> bytes:
        """Return the bytes that are hashed into the tree."""
        return canonical_json({"schema": ENTRY_SCHEMA, "digest": self.digest, "kind": self.kind})


@dataclass(frozen=True, slots=True)
class Gathered:
    """The statements of a market."""

    entries: tuple[LogEntry, ...]
    num_unreadable: int = 0
    """Envelopes that hold no statement of a known kind."""


def read_entry(data: bytes) -> LogEntry:
    """Return the entry in ``data``, read strictly: one entry has one encoding.

    Raises:
        TrustError: ``bad_proof``: it is none.
    """
    try:
        schema, digest, kind = take(strict_json(data, "bad_proof", "log entry"), "entry", "schema", "digest", "kind")
        entry = LogEntry(hex_digest(digest, "entry.digest"), str(kind))
    except TrustError as error:
        raise TrustError("bad_proof", f"the log holds something that is no entry: {error}") from error
    if schema != ENTRY_SCHEMA or kind not in KINDS.values() or entry.to_bytes() != data:
        raise TrustError("bad_proof", f"the log holds an entry of an unknown kind or form: {kind!r:.40}")
    return entry


def statement_entry(envelope: bytes) -> LogEntry:
    """Return the entry for the statement in an envelope, which is not verified.

    Raises:
        TrustError: ``bad_envelope``, ``duplicate_key`` or ``bad_manifest``: it holds no statement of a known kind.
    """
    payload = peek_payload(envelope)
    value = strict_json(payload, "bad_manifest", "statement")
    stated: Any = value.get("predicateType") if isinstance(value, dict) else None
    kind = KINDS.get(stated) if isinstance(stated, str) else None
    if kind is None:
        raise TrustError("bad_manifest", f"a statement of the type {stated!r:.80} is not logged")
    return LogEntry(hashlib.sha256(payload).hexdigest(), kind)


def gather_entries(transport: Transport) -> Gathered:
    """Return an entry for every statement that a market holds.

    Raises:
        StorageError: the market cannot be read.
    """
    patches: list[LogEntry] = []
    others: set[LogEntry] = set()
    subjects: list[str] = []
    keyids: dict[str, None] = {}
    num_unreadable = 0
    for _, envelope in offered_versions(transport):
        entry = None if isinstance(envelope, TrustError) else _entry(envelope)
        if isinstance(envelope, TrustError) or entry is None or entry.kind != "patch":
            num_unreadable += 1
            continue
        patches.append(entry)
        subjects.append(entry.digest)
        keyids |= dict.fromkeys(peek_keyids(envelope))
    asked: set[str] = set()
    while subjects:
        for subject in subjects:
            for envelope in transport.read_evaluations(subject):
                entry = _entry(envelope)
                if entry is None:
                    num_unreadable += 1
                    continue
                others.add(entry)
                keyids |= dict.fromkeys(peek_keyids(envelope))
        asked |= set(subjects)
        subjects = [keyid for keyid in list(keyids)[:MAX_KEYS] if keyid not in asked]
    return Gathered((*dict.fromkeys(patches), *sorted(others - set(patches))), num_unreadable)


def digest_of_ref(transport: Transport, ref: str) -> str:
    """Return the payload digest of a patch, or ``ref`` itself when it is a digest of 64 hex characters.

    Raises:
        NotFoundError: the market holds no such patch.
        TrustError: ``unsafe_name``, or its envelope cannot be read.
    """
    if len(ref) == 64 and all(c in "0123456789abcdef" for c in ref):
        return ref
    return hashlib.sha256(peek_payload(transport.read_manifest(ref))).hexdigest()


def _entry(envelope: bytes) -> LogEntry | None:
    try:
        return statement_entry(envelope)
    except TrustError:
        return None
