"""Checkpoints: the size and root of a log, signed, as a note of plain text.

A note is text, a blank line, and signature lines ``— <key name> <base64 of key id and signature>``. The text of a
checkpoint is the log's origin, its number of entries, and its root hash, one a line.

Rules:
    1. A signature counts only if name *and* key id are those of the key that the reader was given; signatures by
       others (witnesses, keys of tomorrow) are ignored.
    2. A signature that claims to be by that key and does not match spoils the whole note.
    3. The origin must be the one that the reader expects: a good checkpoint of another log is no checkpoint.
    4. One text, one meaning: decimal sizes without leading zeroes, canonical base64, no control characters.

Example:
    >>> key = LogKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    >>> key.name
    'example.com/foo'

References:
    C2SP (2024), "signed-note" v1.0.0 and "tlog-checkpoint" v1.0.0.
    Differs from the paper: only Ed25519 signatures (type 0x01) are verified; extension lines are refused, as monitors
    cannot audit them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from symbio_lab.errors import DataError, TrustError
from symbio_lab.trust.keys import PublicKey, SigningKey
from symbio_lab.trust.merkle import HASH_BYTES, MAX_SIZE

MAX_NOTE_BYTES = 64 << 10
MAX_SIGNATURES = 32
_ED25519 = b"\x01"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_DASH = "\u2014 "


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key under the name that it signs with: what a reader must be given from outside the log."""

    name: str
    """Key name; by custom the origin of the log."""
    public: PublicKey

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            DataError: it is empty, or holds spaces, a plus or control characters.
        """
        if not self.name or len(self.name) > 200 or any(not _is_name_character(c) for c in self.name):
            raise DataError(
                f"{self.name!r:.80} cannot name a log key", hint="write it like example.org/market, without spaces or +"
            )

    @property
    def key_id(self) -> bytes:
        """First four bytes of the hash of name and key: a hint for readers, not a secret."""
        raw = bytes.fromhex(self.public.public_hex)
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + raw).digest()[:4]

    @property
    def text(self) -> str:
        """``<name>+<key id>+<base64>``, the form in which keys of logs are handed on."""
        raw = _ED25519 + bytes.fromhex(self.public.public_hex)
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(raw).decode('ascii')}"

    @classmethod
    def parse(cls, text: str) -> LogKey:
        """Return the key written as ``<name>+<key id>+<base64>``.

        Raises:
            DataError: it is not written so, or the key id belongs to another key.
            TrustError: ``bad_key``: not a valid Ed25519 point.
        """
        hint = "copy the whole line: name, key id and key, with + between them"
        name, _, rest = text.strip().partition("+")
        stated, _, encoded = rest.partition("+")
        try:
            raw = _decode(encoded)
        except TrustError as error:
            raise DataError(f"{text!r:.80} is not the key of a log", hint=hint) from error
        if len(raw) != 33 or raw[:1] != _ED25519:
            raise DataError(f"{text!r:.80} is not an Ed25519 key of a log", hint=hint)
        key = cls(name, PublicKey(raw[1:].hex()))
        if key.key_id.hex() != stated:
            raise DataError(f"the key id in {text!r:.80} belongs to another key", hint=hint)
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says about itself at one time."""

    origin: str
    """Name of the log, unique in the world."""
    size: int
    """Number of entries."""
    root: bytes
    """Merkle root over them, 32 bytes."""


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """Return the text that is signed.

    Raises:
        DataError: the origin is not one line of text, or size or root are impossible.
    """
    origin = checkpoint.origin
    if not origin or len(origin) > 200 or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in origin):
        raise DataError(f"{origin!r:.80} cannot be the origin of a log", hint="write it like example.org/market")
    if not 0 <= checkpoint.size <= MAX_SIZE or len(checkpoint.root) != HASH_BYTES:
        raise DataError(f"a checkpoint has 0 to {MAX_SIZE} entries and a root of {HASH_BYTES} bytes")
    return f"{origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode('ascii')}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey, name: str | None = None) -> bytes:
    """Return the signed note of a checkpoint.

    Args:
        checkpoint: what to sign; whoever signs must know that it continues the last one.
        key: key of the log.
        name: key name; None takes the origin.

    Raises:
        DataError: the checkpoint or the name cannot be written.
    """
    return sign_note(checkpoint_text(checkpoint), key, name or checkpoint.origin)


def sign_note(text: str, key: SigningKey, name: str) -> bytes:
    """Return a note: ``text``, which ends in a newline, and one signature by ``key`` under ``name``.

    Raises:
        DataError: the text does not end in a newline or holds control characters.
    """
    if not text.endswith("\n") or _has_controls(text):
        raise DataError("the text of a note ends in a newline and holds no control characters")
    known = LogKey(name, key.public_key)
    signature = base64.b64encode(known.key_id + key.sign(text.encode("utf-8"))).decode("ascii")
    return f"{text}\n{_DASH}{name} {signature}\n".encode()


def open_note(data: bytes, keys: Iterable[LogKey]) -> str:
    """Return the text of a note that at least one of ``keys`` signed.

    Raises:
        TrustError: ``bad_proof``: not a note, nobody known signed it, or a signature in a known key's name is false.
    """
    text, lines = _split_note(data)
    known = {(key.name, key.key_id): key for key in keys}
    num_verified = 0
    for line in lines:
        name, key_id, signature = _signature(line)
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.public.verifies(text.encode("utf-8"), signature):
            raise TrustError("bad_proof", f"the signature of {name} does not match the note")
        num_verified += 1
    if not num_verified:
        raise TrustError("bad_proof", f"no known key signed the note ({len(lines)} others did)")
    return text


def open_checkpoint(data: bytes, key: LogKey, origin: str | None = None) -> Checkpoint:
    """Return the checkpoint in a signed note.

    Args:
        data: bytes of the note.
        key: key of the log.
        origin: origin that it must have; None takes the key's name.

    Raises:
        TrustError: ``bad_proof``: as ``open_note``, or it is no checkpoint of this log.
    """
    checkpoint = _parse_text(open_note(data, (key,)))
    if checkpoint.origin != (origin or key.name):
        raise TrustError("bad_proof", f"the checkpoint is of the log {checkpoint.origin!r:.80}, not of this one")
    return checkpoint


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or not lines[0] or not _SIZE.fullmatch(lines[1]) or int(lines[1]) > MAX_SIZE:
        raise TrustError("bad_proof", "the note is not a checkpoint: origin, size and root, one a line")
    root = _decode(lines[2])
    if len(root) != HASH_BYTES:
        raise TrustError("bad_proof", f"the root of the checkpoint has {len(root)} bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def _split_note(data: bytes) -> tuple[str, list[str]]:
    if len(data) > MAX_NOTE_BYTES:
        raise TrustError("bad_proof", f"the note has {len(data)} bytes, more than {MAX_NOTE_BYTES}")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrustError("bad_proof", "the note is not UTF-8") from error
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n") or _has_controls(note):
        raise TrustError("bad_proof", "the note is not text, a blank line and signatures")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise TrustError("bad_proof", f"the note carries more than {MAX_SIGNATURES} signatures")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name or not space or any(not _is_name_character(c) for c in name):
        raise TrustError("bad_proof", f"{line!r:.80} is not a signature line")
    raw = _decode(encoded)
    if len(raw) < 5:
        raise TrustError("bad_proof", f"{line!r:.80} holds no signature")
    return name, raw[:4], raw[4:]


def _decode(text: str) -> bytes:
    """Decode canonical base64: of several texts for the same bytes only one is accepted."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError("bad_proof", f"{text!r:.80} is not base64") from error
    if base64.b64encode(raw).decode("ascii") != text:
        raise TrustError("bad_proof", f"{text!r:.80} is not canonical base64")
    return raw


def _is_name_character(character: str) -> bool:
    return not character.isspace() and character != "+" and unicodedata.category(character) not in ("Cc", "Cs")


def _has_controls(text: str) -> bool:
    return any((ord(c) < 0x20 and c != "\n") or unicodedata.category(c) == "Cs" for c in text)
