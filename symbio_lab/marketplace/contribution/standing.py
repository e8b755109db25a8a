"""What stands in a market under a name already: whether it is ours, and whether it is this contribution.

Rules:
    1. A name whose newest version our key did not sign is another publisher's (``name_taken``).
    2. A version is this contribution already if our key signed it, it has not expired, and it says and holds the same;
       version, times, and the bytes of card and config (functions of the rest) do not count. So a run after a kill
       finds what the killed one published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.transport import CommitTransport, Transport
from symbio_lab.records import PatchManifest
from symbio_lab.trust.adapter_files import CARD_NAME, CONFIG_NAME
from symbio_lab.trust.envelope import open_envelope, peek_payload
from symbio_lab.trust.evaluation_statement import EvaluationStatement, open_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.strict_fields import instant

MAX_OLDER = 16
"""Older versions that are looked at, at most: on a remote market each is a request."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A version in the market that our key signed."""

    manifest: PatchManifest
    digest: str
    """Payload digest, 64 hex."""


def newest_of_ours(
    transport: Transport, patch_id: str, key: SigningKey, predecessors: Collection[str] = ()
) -> Standing | None:
    """Return the newest version of a name, None where the name is free.

    Args:
        transport: market to publish to.
        patch_id: ``namespace/name``.
        key: publisher's key.
        predecessors: keyids whose names have passed to it; what they published is peeked, not verified: the verifier
            of each reader decides about a name, and this is asked so that we do not publish what it will refuse.

    Raises:
        TrustError: ``name_taken``: another key published it; ``unsigned``, ``bad_envelope``: it cannot be read.
        StorageError: the market cannot be read.
    """
    try:
        envelope = transport.read_manifest(patch_id)
        newest = _ours(envelope, key) or _inherited(envelope, predecessors)
    except NotFoundError:
        return None
    except TrustError as error:
        # A repository that was made but never filled; in a folder the envelope of a version is missing.
        if error.code == "unsigned" and isinstance(transport, CommitTransport):
            return None
        raise
    if newest is None:
        raise TrustError("name_taken", f"{patch_id} was published by another key")
    return newest


def find_standing(
    transport: Transport, newest: Standing | None, wanted: PatchManifest, key: SigningKey, *, digest: str, now: str
) -> Standing | None:
    """Return the version that is this contribution already, None if there is none.

    Args:
        transport: market to publish to.
        newest: newest version of the name.
        wanted: manifest of the contribution.
        key: publisher's key.
        digest: payload digest of the patch to contribute: it may be one of these versions itself.
        now: UTC time.
    """
    if newest is None:
        return None
    content = _content(wanted)
    for standing in (newest, *_older(transport, newest.manifest, key)):
        fresh = instant(now) < instant(standing.manifest.expires)
        if fresh and (standing.digest == digest or _content(standing.manifest) == content):
            return standing
    return None


def find_evaluation(transport: Transport, wanted: EvaluationStatement, key: SigningKey) -> EvaluationStatement | None:
    """Return our evaluation with the same figures that stands beside the patch, None if there is none."""
    for data in transport.read_evaluations(wanted.patch_digest):
        try:
            known = open_evaluation(data, {key.keyid: key.public_key})
        except TrustError:
            continue
        if replace(known, issued=wanted.issued) == wanted:
            return known
    return None


def _older(transport: Transport, newest: PatchManifest, key: SigningKey) -> Iterator[Standing]:
    for version in range(newest.version - 1, max(0, newest.version - 1 - MAX_OLDER), -1):
        try:
            found = _ours(transport.read_manifest(f"{newest.patch_id}@{version}"), key)
        except (NotFoundError, TrustError):
            continue
        if found is not None:
            yield found


def _ours(envelope: bytes, key: SigningKey) -> Standing | None:
    try:
        opened = open_envelope(envelope, {key.keyid: key.public_key})
        manifest = payload_to_manifest(opened.payload)
    except TrustError:
        return None
    return Standing(manifest, opened.digest) if manifest.keyid == key.keyid else None


def _inherited(envelope: bytes, predecessors: Collection[str]) -> Standing | None:
    if not predecessors:
        return None
    try:
        payload = peek_payload(envelope)
        manifest = payload_to_manifest(payload)
    except TrustError:
        return None
    return Standing(manifest, sha256(payload).hexdigest()) if manifest.keyid in predecessors else None


def _content(manifest: PatchManifest) -> PatchManifest:
    tensors = tuple(entry for entry in manifest.files if entry.name not in (CARD_NAME, CONFIG_NAME))
    return replace(manifest, version=1, previous=None, issued="", expires="", files=tensors)
