"""Signed statements about keys: one key succeeds another, or a key is revoked.

Protocol:
    1. A *succession* is signed by the old key, which gives up its place, and by the new one, which proves that its
       holder has it. Both public keys stand in the statement, so it verifies by itself.
    2. A policy that has the old key enrolled, and is given the statement, gives the new key the same rights and the
       names of the old one. The old key keeps counting until it is revoked: rotate, hand out both statements.
    3. A *revocation* is signed by the key itself, by a successor of it, or by a key that the policy trusts.
    4. ``issued`` is for people to read. A signature has no trusted time: who stole a key can date what it signs before
       any revocation. So a revoked key does not count at all, for nothing that it ever signed but its own revocation,
       and a succession by a key that is already revoked is refused: it may be the thief's.
    5. Of two successions of one key the one accepted first counts; the second is refused.

Predicate types: ``https://symbio-lab.dev/attestations/key-succession/v1`` (subjects ``predecessor`` and
``successor``) and ``.../key-revocation/v1`` (subject ``key``). The digest of a subject is a keyid: it is the SHA-256 of
the key's canonical JSON, so any in-toto tool can match it.

Example:
    >>> old, new = SigningKey.from_seed(bytes([1]) * 32), SigningKey.from_seed(bytes([2]) * 32)
    >>> statement = read_key_statement(sign_succession(old, new, issued="2026-01-31T12:00:00Z"))
    >>> (statement.old, statement.new) == (old.keyid, new.keyid)
    True

References:
    Samuel, Mathewson, Cappos and Dingledine (2010), "Survivable Key Compromise in Software Update Systems" (TUF),
    section 4.3: implicit and explicit revocation of keys.
    Differs from the paper: there is no root role; each key names its own successor, and each policy decides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import open_envelope, peek_payload, sign_envelope, strict_json
from symbio_lab.trust.keys import PublicKey, SigningKey
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.statement import read_statement, write_statement
from symbio_lab.trust.strict_fields import hex_digest, integer, refuse, take, text, utc_time

SUCCESSION_TYPE = "https://symbio-lab.dev/attestations/key-succession/v1"
REVOCATION_TYPE = "https://symbio-lab.dev/attestations/key-revocation/v1"
SUCCESSION_SCHEMA = 1
REVOCATION_SCHEMA = 1
MAX_REASON = 1_000
MAX_STATEMENT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Succession:
    """One key takes the place of another; both signed."""

    old_hex: str
    """Public key that gives up its place, 64 hex."""
    new_hex: str
    """Public key that takes it, 64 hex."""
    issued: str
    """UTC time as stated."""

    @property
    def old(self) -> str:
        """Keyid of the old key."""
        return PublicKey(self.old_hex).keyid

    @property
    def new(self) -> str:
        """Keyid of the new key."""
        return PublicKey(self.new_hex).keyid


@dataclass(frozen=True, slots=True)
class Revocation:
    """A key does not count any more, as the holder of ``by`` says."""

    keyid: str
    """The key that is revoked, 64 hex."""
    by_hex: str
    """Public key that signed, 64 hex."""
    reason: str
    issued: str
    """UTC time as stated."""

    @property
    def by(self) -> str:
        """Keyid of the key that signed."""
        return PublicKey(self.by_hex).keyid


def sign_succession(old: SigningKey, new: SigningKey, *, issued: str) -> bytes:
    """Return the envelope file in which ``old`` names ``new`` as its successor.

    Args:
        old: the key that gives up its place.
        new: the key that takes it.
        issued: UTC time, ``2026-01-31T12:00:00Z``.

    Raises:
        TrustError: ``bad_manifest``: both are one key, or the time is none.
    """
    subjects = {"predecessor": old.keyid, "successor": new.keyid}
    predicate = {
        "schema": SUCCESSION_SCHEMA,
        "old": {"public": old.public_hex},
        "new": {"public": new.public_hex},
        "issued": issued,
    }
    return _checked(sign_envelope(write_statement(subjects, SUCCESSION_TYPE, predicate), old, new))


def sign_revocation(keyid: str, by: SigningKey, *, reason: str, issued: str) -> bytes:
    """Return the envelope file in which ``by`` revokes a key, its own or another.

    Args:
        keyid: the key that is revoked, 64 hex.
        by: the key itself, its successor, or a key that the readers trust.
        reason: for people to read, at most 1,000 characters.
        issued: UTC time, ``2026-01-31T12:00:00Z``.

    Raises:
        TrustError: ``bad_manifest``: no keyid, no time, or no proper text.
    """
    predicate = {
        "schema": REVOCATION_SCHEMA,
        "by": {"public": by.public_hex},
        "reason": reason,
        "issued": issued,
    }
    return _checked(sign_envelope(write_statement({"key": keyid}, REVOCATION_TYPE, predicate), by))


def read_key_statement(data: bytes) -> Succession | Revocation:
    """Return the statement in an envelope, its signatures verified with the keys that it names.

    That its signers may say this is not decided here: see ``accept_statement``.

    Raises:
        TrustError: ``unsigned``, ``bad_envelope``, ``duplicate_key``, ``bad_key``, ``bad_manifest``: another statement
            or not well-formed; ``unknown_key`` or ``bad_signature``: a signature is missing or does not match.
    """
    if len(data) > MAX_STATEMENT_BYTES:
        raise TrustError("bad_envelope", f"a statement about a key has at most {MAX_STATEMENT_BYTES} bytes")
    payload = peek_payload(data)
    value = strict_json(payload, "bad_manifest", "statement")
    kind = value.get("predicateType") if isinstance(value, dict) else None
    if kind == SUCCESSION_TYPE:
        succession = _read_succession(payload)
        _verify(data, succession.old_hex, succession.new_hex)
        return succession
    if kind == REVOCATION_TYPE:
        revocation = _read_revocation(payload)
        _verify(data, revocation.by_hex)
        return revocation
    raise refuse("statement", "neither a key succession nor a key revocation")


def accept_statement(data: bytes, policy: TrustPolicy, *, authorities: Collection[str] = ()) -> TrustPolicy:
    """Return ``policy`` as it is after a statement about a key.

    Args:
        data: envelope file.
        policy: says who is enrolled, trusted and revoked.
        authorities: further keyids whose revocations of others count, such as this installation's own.

    Raises:
        TrustError: every code of ``read_key_statement``; ``unknown_key``: the key that is succeeded is not enrolled,
            or the one that revokes has no right to; ``revoked_key``: a key that speaks or succeeds was revoked;
            ``name_taken``: another successor was accepted before.
    """
    statement = read_key_statement(data)
    if isinstance(statement, Succession):
        for keyid in (statement.old, statement.new):
            if keyid in policy.revoked:
                raise TrustError("revoked_key", f"the key {keyid[:16]}... was revoked; its succession does not count")
        return policy.succeed(statement.old, statement.new_hex)
    if statement.by == statement.keyid:
        return policy.revoke(statement.keyid)
    if statement.by in policy.revoked:
        raise TrustError("revoked_key", f"the key {statement.by[:16]}... was revoked; its word does not count")
    if not (
        statement.by in policy.trusted or statement.by in authorities or policy.descends(statement.keyid, statement.by)
    ):
        raise TrustError(
            "unknown_key",
            f"the key {statement.by[:16]}... may not revoke {statement.keyid[:16]}...: it is neither the key itself, "
            "nor its successor, nor trusted",
        )
    return policy.revoke(statement.keyid)


def _checked(envelope: bytes) -> bytes:
    read_key_statement(envelope)
    return envelope


def _verify(data: bytes, *public_hexes: str) -> None:
    keys = {key.keyid: key for key in map(PublicKey, public_hexes)}
    open_envelope(data, keys, threshold=len(keys))


def _read_succession(payload: bytes) -> Succession:
    subjects, predicate = read_statement(payload, SUCCESSION_TYPE)
    schema, old, new, issued = take(predicate, "predicate", "schema", "old", "new", "issued")
    integer(schema, "schema", SUCCESSION_SCHEMA, SUCCESSION_SCHEMA)
    found = Succession(_public(old, "old"), _public(new, "new"), utc_time(issued, "issued"))
    if subjects != {"predecessor": found.old, "successor": found.new} or found.old == found.new:
        raise refuse("subject", "the subjects are not the keyids of two different keys, old and new")
    return found


def _read_revocation(payload: bytes) -> Revocation:
    subjects, predicate = read_statement(payload, REVOCATION_TYPE)
    schema, by, reason, issued = take(predicate, "predicate", "schema", "by", "reason", "issued")
    integer(schema, "schema", REVOCATION_SCHEMA, REVOCATION_SCHEMA)
    if set(subjects) != {"key"}:
        raise refuse("subject", "a revocation is about exactly one key")
    return Revocation(
        hex_digest(subjects["key"], "subject.key"),
        _public(by, "by"),
        text(reason, "reason", MAX_REASON),
        utc_time(issued, "issued"),
    )


def _public(value: object, where: str) -> str:
    (public,) = take(value, where, "public")
    if not isinstance(public, str):
        raise refuse(where, "the public key is not text")
    return PublicKey(public).public_hex
