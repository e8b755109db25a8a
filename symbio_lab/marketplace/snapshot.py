"""The digest that names the state of a market: same offers, same name, on every machine."""

from __future__ import annotations

import hashlib

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.transport import Transport
from symbio_lab.records import content_id
from symbio_lab.trust.envelope import peek_payload


def snapshot_digest(transport: Transport) -> str:
    """Return the content digest (64 hex) of what a market offers now.

    It covers reference and payload digest of the newest version of every patch, and the evaluations of those
    payloads, for they can raise a trust level. A manifest that cannot be read counts by the bytes of its envelope.

    Raises:
        StorageError: the market cannot be read.
    """
    state: list[tuple[str, str, list[str]]] = []
    for ref in transport.list_refs():
        try:
            envelope = transport.read_manifest(ref)
        except NotFoundError:
            continue
        except TrustError as error:
            state.append((ref, error.code, []))
            continue
        try:
            digest = hashlib.sha256(peek_payload(envelope)).hexdigest()
        except TrustError:
            state.append((ref, "unreadable:" + hashlib.sha256(envelope).hexdigest(), []))
            continue
        evaluations = sorted(hashlib.sha256(data).hexdigest() for data in transport.read_evaluations(digest))
        state.append((ref, digest, evaluations))
    return content_id(sorted(state))
