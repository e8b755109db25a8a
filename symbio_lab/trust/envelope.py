"""DSSE envelopes: one JSON file that carries a payload and signatures over its exact bytes.

Protocol:
    1. Signed are the bytes of ``pae(payload type, payload)``; no canonicalisation takes part.
    2. ``keyid`` is a hint. Every enrolled key is tried; a signature counts for the *key bytes* that verify it, so one
       key enrolled under two names counts once.
    3. The payload is decoded once; those same bytes are verified, hashed and parsed.
    4. Refusals are told apart: ``unsigned`` (no signature at all), ``bad_envelope`` (not a DSSE envelope),
       ``duplicate_key``, ``unknown_key`` (nobody whom we enrolled signed), ``bad_signature`` (an enrolled key is
       named, but its signature does not match, or too few keys signed).

Example:
    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'

References:
    Secure Systems Lab (2022), "DSSE: Dead Simple Signing Envelope", v1.0.2, protocol.md and envelope.md.
    Differs from the paper: a signature is required to be Ed25519; padding of base64 is required.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symbio_lab.codec import strict_loads
from symbio_lab.errors import DataError, TrustError
from symbio_lab.records import canonical_json
from symbio_lab.trust.keys import PublicKey, SigningKey

ENVELOPE_NAME = "symbio.patch.dsse.json"
"""File name of the envelope in a patch folder."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 4 << 20
MAX_SIGNATURES = 32
"""Every signature may be tried against every key; more is an attempt to keep us busy."""


@dataclass(frozen=True, slots=True)
class OpenedEnvelope:
    """A payload whose signatures verified."""

    payload: bytes
    """The signed bytes: parse these, never a second copy."""
    keyids: tuple[str, ...]
    """Keyids of the distinct keys that signed, sorted."""

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, 64 hex: the identity of what was signed."""
        return hashlib.sha256(self.payload).hexdigest()


@dataclass(frozen=True, slots=True)
class _Signature:
    keyid: str
    sig: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, key: SigningKey, *more_keys: SigningKey) -> bytes:
    """Return the envelope file: ``payload`` with one signature of each key."""
    signed = pae(PAYLOAD_TYPE, payload)
    signatures = [
        {"keyid": signer.keyid, "sig": base64.b64encode(signer.sign(signed)).decode("ascii")}
        for signer in (key, *more_keys)
    ]
    value = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": signatures,
    }
    return canonical_json(value) + b"\n"


def open_envelope(data: bytes, keys: Mapping[str, PublicKey], threshold: int = 1) -> OpenedEnvelope:
    """Return the payload of an envelope that at least ``threshold`` distinct enrolled keys signed.

    Args:
        data: bytes of the envelope file.
        keys: enrolled keys by keyid.
        threshold: number of distinct public keys that must have signed, at least 1.

    Raises:
        TrustError: ``unsigned``, ``bad_envelope``, ``duplicate_key``, ``unknown_key`` or ``bad_signature``.
        DataError: ``threshold`` is below 1.
    """
    if threshold < 1:
        raise DataError("an envelope needs a threshold of at least 1", hint="ask for one signature or more")
    payload, signatures = _parse(data)
    if not signatures:
        raise TrustError("unsigned", "the envelope carries no signature")
    signed = pae(PAYLOAD_TYPE, payload)
    verified: dict[str, str] = {}
    for signature in signatures:
        signer = _signer(signature, signed, keys)
        if signer is not None:
            verified[signer.public_hex] = signer.keyid
    if len(verified) >= threshold:
        return OpenedEnvelope(payload, tuple(sorted(verified.values())))
    stated = ", ".join(sorted({signature.keyid[:16] or "none" for signature in signatures}))
    if not verified and not any(signature.keyid in keys for signature in signatures):
        raise TrustError("unknown_key", f"no enrolled key signed this (stated keyid: {stated})")
    raise TrustError(
        "bad_signature", f"{len(verified)} of {threshold} needed signatures match (stated keyid: {stated})"
    )


def peek_payload(data: bytes) -> bytes:
    """Return the payload of an envelope **without any verification**, for listings only.

    Raises:
        TrustError: ``bad_envelope`` or ``duplicate_key``.
    """
    return _parse(data)[0]


def peek_keyids(data: bytes) -> tuple[str, ...]:
    """Return the keyids that an envelope states, unverified and in file order, to report who was refused.

    Raises:
        TrustError: ``bad_envelope`` or ``duplicate_key``.
    """
    return tuple(signature.keyid for signature in _parse(data)[1])


def _signer(signature: _Signature, signed: bytes, keys: Mapping[str, PublicKey]) -> PublicKey | None:
    hinted = keys.get(signature.keyid)
    # The hint only orders the trials: an honest envelope then costs one verification.
    ordered = ([hinted] if hinted else []) + [key for keyid, key in keys.items() if keyid != signature.keyid]
    return next((key for key in ordered if key.verifies(signed, signature.sig)), None)


def strict_json(data: bytes, code: str, what: str) -> Any:
    """Return parsed JSON, with refusals as trust errors.

    Args:
        data: UTF-8 JSON.
        code: trust code for JSON that is not well-formed.
        what: name of the document in messages.

    Raises:
        TrustError: ``duplicate_key``, or ``code``.
    """
    try:
        return strict_loads(data)
    except DataError as error:
        kind = "duplicate_key" if str(error).startswith("duplicate key") else code
        raise TrustError(kind, f"{what}: {error}") from error


def _parse(data: bytes) -> tuple[bytes, tuple[_Signature, ...]]:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise TrustError("bad_envelope", f"the envelope has {len(data)} bytes, more than {MAX_ENVELOPE_BYTES}")
    value = strict_json(data, "bad_envelope", "envelope")
    if not isinstance(value, dict) or value.get("payloadType") != PAYLOAD_TYPE:
        raise TrustError("bad_envelope", f"the envelope does not carry {PAYLOAD_TYPE}")
    listed = value.get("signatures", [])
    if not isinstance(listed, list) or len(listed) > MAX_SIGNATURES:
        raise TrustError("bad_envelope", f"signatures is not a list of at most {MAX_SIGNATURES}")
    signatures = []
    for item in listed:
        if not isinstance(item, dict) or not isinstance(item.get("keyid", ""), str):
            raise TrustError("bad_envelope", "a signature is not an object with a keyid")
        signatures.append(_Signature(item.get("keyid", ""), _decode(item.get("sig"), "signature")))
    return _decode(value.get("payload"), "payload"), tuple(signatures)


def _decode(text: object, what: str) -> bytes:
    """Decode either base64 alphabet; mixing both or adding other characters is refused."""
    if not isinstance(text, str) or (set("+/") & set(text) and set("-_") & set(text)):
        raise TrustError("bad_envelope", f"the {what} is not base64")
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError("bad_envelope", f"the {what} is not base64") from error
