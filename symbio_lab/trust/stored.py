"""A patch that was verified or sealed before, opened again from the store by its digest.

The digest comes from the hash-chained ledger or from a result row, so it pins payload, files and publisher; the
signature was checked when the patch was stored.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.records import Patch
from symbio_lab.trust.envelope import ENVELOPE_NAME, MAX_ENVELOPE_BYTES, peek_payload
from symbio_lab.trust.folder_reading import read_file
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.verifying import reopen


def open_stored(store: Path, digest: str, *, level: str = "signed") -> Patch:
    """Return the patch whose payload has this digest; all its files are hashed again.

    Args:
        store: folder of verified patches.
        digest: SHA-256 of the signed payload, 64 hex.
        level: trust level that it was accepted with.

    Raises:
        NotFoundError: the store holds no such patch.
        TrustError: ``digest_mismatch`` or ``missing_file``: it changed on disk.
    """
    folder = store / digest
    if not folder.is_dir():
        raise NotFoundError(f"the store holds no patch {digest[:12]}", hint="fetch it from its market again")
    payload = peek_payload(read_file(folder, ENVELOPE_NAME, MAX_ENVELOPE_BYTES))
    if hashlib.sha256(payload).hexdigest() != digest:
        raise TrustError("digest_mismatch", f"the manifest of {digest[:12]} changed after it was stored")
    patch = Patch(payload_to_manifest(payload), folder, digest, level)
    reopen(patch)
    return patch
