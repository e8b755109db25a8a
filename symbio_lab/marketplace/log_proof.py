"""A proof that an entry is in a log, as text that verifies by itself; and the check that a client can demand.

The text names the index of the entry, the hashes up to the root, and the signed checkpoint. Whoever has the log's key
can verify it without a network, today or in ten years.

Example:
    c2sp.org/tlog-proof@v1
    extra eyJkaWdlc3QiOi...
    index 42
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=

    example.org/market
    109
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    <em dash> example.org/market hI2DJw...1roloI=

References:
    C2SP (2025), "tlog-proof".
    Differs from the paper: witnesses are not asked for; ``extra`` holds the entry itself, which the hash binds.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.log_entries import LogEntry, read_entry
from symbio_lab.marketplace.log_reading import LogReader
from symbio_lab.marketplace.log_tiles import MAX_ENTRY_BYTES
from symbio_lab.trust.checkpoint import MAX_NOTE_BYTES, Checkpoint, LogKey, open_checkpoint
from symbio_lab.trust.merkle import leaf_hash, verify_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_ENTRY_BYTES
_MAX_HASHES = 64
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """An entry that a log was shown to hold."""

    entry: LogEntry
    index: int
    checkpoint: Checkpoint
    """The state of the log that holds it."""


def prove_entry(reader: LogReader, entry: LogEntry) -> str:
    """Return the proof that a log holds ``entry``, as text.

    Raises:
        TrustError: ``bad_proof``: the log does not hold it, or does not verify.
        NotFoundError: there is no log.
        StorageError: it cannot be read.
    """
    data = entry.to_bytes()
    index = reader.place_of(data)
    if index is None:
        raise TrustError("bad_proof", f"{reader.files.uri} holds no {entry.kind} {entry.digest[:16]}...")
    hashes = reader.prove_inclusion(data, index)
    lines = [HEADER, f"extra {_encode(data)}", f"index {index}", *map(_encode, hashes), ""]
    return "\n".join(lines) + "\n" + reader.note.decode("utf-8")


def verify_proof(text: str, key: LogKey, expected: LogEntry | None = None, origin: str | None = None) -> ProvedEntry:
    """Return the entry that a proof shows to be in the log of ``key``.

    Args:
        text: the proof.
        key: the log's key, known from elsewhere.
        expected: entry that it must prove; None takes the one that the proof carries.
        origin: origin of the log's checkpoints; None takes the key's name.

    Raises:
        TrustError: ``bad_proof``.
    """
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > MAX_PROOF_BYTES or not blank or lines[0] != HEADER:
        raise TrustError("bad_proof", "this is not a proof of a log entry")
    extra = lines.pop(1) if len(lines) > 1 and lines[1].startswith("extra ") else ""
    match = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if match is None or len(lines) > _MAX_HASHES + 2:
        raise TrustError("bad_proof", "the proof names no index, or too many hashes")
    carried = read_entry(_decode(extra.removeprefix("extra "))) if extra else None
    if carried is None and expected is None:
        raise TrustError("bad_proof", "the proof does not carry its entry, and none is expected")
    if carried is not None and expected not in (None, carried):
        raise TrustError("bad_proof", f"the proof is about the {carried.kind} {carried.digest[:16]}..., not this one")
    entry = expected or carried
    assert entry is not None
    checkpoint = open_checkpoint(note.encode("utf-8"), key, origin)
    proof = [_decode(line) for line in lines[2:]]
    verify_inclusion(leaf_hash(entry.to_bytes()), int(match[1]), checkpoint.size, proof, checkpoint.root)
    return ProvedEntry(entry, int(match[1]), checkpoint)


def check_inclusion(
    digest: str, log: LogReader | str, *, kind: str = "patch", key: LogKey | None = None
) -> ProvedEntry:
    """Return where a log holds the statement with this payload digest; what a policy that demands logging calls.

    Args:
        digest: SHA-256 of the statement's payload, 64 hex.
        log: the log itself, or a proof as text.
        kind: kind of the statement.
        key: the log's key, where ``log`` is a proof.

    Raises:
        TrustError: ``bad_proof``: it is not in the log, or the log or the proof does not verify.
        NotFoundError: there is no log.
        StorageError: it cannot be read.
    """
    entry = LogEntry(digest, kind)
    if isinstance(log, str):
        if key is None:
            raise TrustError("bad_proof", "a proof says nothing without the key of its log")
        return verify_proof(log, key, entry)
    return verify_proof(prove_entry(log, entry), log.key, entry, log.origin)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError("bad_proof", f"{text!r:.60} in the proof is not base64") from error
    if _encode(data) != text:
        raise TrustError("bad_proof", f"{text!r:.60} in the proof is not canonical base64")
    return data
