r"""An envelope in about half its bytes, and back to exactly the same bytes.

A million envelopes of two kilobytes are most of what a catalogue stores. Base64 hides from a compressor what envelopes
share, so one in the form that ``sign_envelope`` writes is taken apart: its signatures raw, its payload compressed
against the words that every manifest has. Any other envelope is compressed as it is.

Rules:
    1. ``unpack_envelope(pack_envelope(data)) == data`` for every byte string; it is tried when packing.
    2. The first byte names the format; the dictionary of a format never changes.

Example:
    >>> unpack_envelope(pack_envelope(b"{not an envelope"))
    b'{not an envelope'
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib

from symbio_lab.codec import strict_loads
from symbio_lab.errors import DataError, StorageError
from symbio_lab.records import canonical_json
from symbio_lab.trust.envelope import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE

_WHOLE, _PARTS = 0, 1
_LEVEL = 6
_SIGNATURE_BYTES = 32 + 64
_KEYID = re.compile(r"[0-9a-f]{64}")
# Of format 1, frozen: what manifests share, the commonest last. A better one would be format 2.
_DICTIONARY = (
    b'"dtype":"BF16","F16""MIT","CC-BY-4.0""head_rows.safetensors""kind":"HEAD_ROWS","text_generation"'
    b'encoder.layer.5.output.dense"encoder.layer.4.intermediate.dense"model.layers.0.self_attn.q_proj","'
    b'model.layers.1.self_attn.v_proj","encoder.encoder.layer.3.attention.self.value","'
    b'encoder.encoder.layer.0.attention.output.dense","encoder.encoder.layer.1.attention.self.key","'
    b'encoder.encoder.layer.2.attention.self.query","bert.encoder.layer.'
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{"adapter":{"alpha":16,"dtype":"F32","headLabels":["'
    b'"],"kind":"LORA","numFeatures":384,"rank":8,"targetModules":["'
    b'"]},"base":{"digest":{"sha256":"'
    b'"},"id":"sentence-transformers/all-MiniLM-L6-v2"},"card":{"domain":"'
    b'","labels":["'
    b'"],"scope":"Requests about '
    b'","title":" intents","trainingData":"labelled samples of , replay of base training data"},"claims":[{"n":100,'
    b'"name":"fix_rate","ppm":'
    b'}],"expires":"2027-01-01T00:00:00Z","issued":"2026-01-01T00:00:00Z","lineage":[{"sha256":"'
    b'"}],"patch":{"id":"'
    b'/patch","version":1},"policy":{"licence":"Apache-2.0"},"publisher":{"keyid":"'
    b'"},"schema":1,"sizes":{"README.md":'
    b',"adapter_config.json":'
    b',"adapter_model.safetensors":'
    b'},"taskType":"text_classification"},"predicateType":"https://symbio-lab.dev/attestations/model-patch/v1",'
    b'"subject":[{"digest":{"sha256":"'
    b'"},"name":"README.md"},{"digest":{"sha256":"'
    b'"},"name":"adapter_config.json"},{"digest":{"sha256":"'
    b'"},"name":"adapter_model.safetensors"}]}'
)

Signatures = tuple[tuple[str, bytes], ...]
"""(keyid, signature) of each signer, in file order."""


def pack_envelope(envelope: bytes) -> bytes:
    """Return the packed form of an envelope file, whatever bytes it holds."""
    parts = _take_apart(envelope)
    if parts is None:
        return bytes([_WHOLE]) + zlib.compress(envelope, _LEVEL)
    payload, signatures = parts
    packer = zlib.compressobj(_LEVEL, zdict=_DICTIONARY)
    signed = b"".join(bytes.fromhex(keyid) + signature for keyid, signature in signatures)
    return bytes([_PARTS, len(signatures)]) + signed + packer.compress(payload) + packer.flush()


def unpack_envelope(packed: bytes) -> bytes:
    """Return the envelope file that was packed.

    Raises:
        StorageError: the packed form is damaged.
    """
    parts = unpack_parts(packed)
    return _put_together(*parts) if parts is not None else _inflate(packed[1:], b"")


def unpack_parts(packed: bytes) -> tuple[bytes, Signatures] | None:
    """Return payload and signatures without writing the envelope again; None where it is not kept in parts.

    Raises:
        StorageError: the packed form is damaged.
    """
    if len(packed) < 2 or packed[0] not in (_WHOLE, _PARTS):
        raise StorageError("a stored envelope is damaged", hint="delete the catalogue and sync again")
    if packed[0] == _WHOLE:
        return None
    end = 2 + packed[1] * _SIGNATURE_BYTES
    signed = [packed[i : i + _SIGNATURE_BYTES] for i in range(2, end, _SIGNATURE_BYTES)]
    return _inflate(packed[end:], _DICTIONARY), tuple((one[:32].hex(), one[32:]) for one in signed)


def _take_apart(envelope: bytes) -> tuple[bytes, Signatures] | None:
    if len(envelope) > MAX_ENVELOPE_BYTES:
        return None
    try:
        value = strict_loads(envelope)
        payload = base64.b64decode(value["payload"], validate=True)
        signatures = tuple((one["keyid"], base64.b64decode(one["sig"], validate=True)) for one in value["signatures"])
    except (DataError, KeyError, TypeError, ValueError, binascii.Error):
        return None
    fits = all(isinstance(k, str) and _KEYID.fullmatch(k) and len(sig) == 64 for k, sig in signatures)
    if not fits or not 1 <= len(signatures) <= 255 or _put_together(payload, signatures) != envelope:
        return None
    return payload, signatures


def _put_together(payload: bytes, signatures: Signatures) -> bytes:
    value = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": k, "sig": base64.b64encode(sig).decode("ascii")} for k, sig in signatures],
    }
    return canonical_json(value) + b"\n"


def _inflate(data: bytes, dictionary: bytes) -> bytes:
    reader = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
    try:
        plain = reader.decompress(data) + reader.flush()
    except zlib.error as error:
        raise StorageError("a stored envelope is damaged", hint="delete the catalogue and sync again") from error
    if not reader.eof:
        raise StorageError("a stored envelope is cut short", hint="delete the catalogue and sync again")
    return plain
