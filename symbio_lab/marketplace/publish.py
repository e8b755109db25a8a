"""A patch of ours goes to a market: signed anew by a publisher's key, as the next version of its name.

Rules:
    1. The key of this process never publishes; a publisher's key does, on purpose.
    2. A name belongs to the key that published it first; another key is refused here, before any verifier must.
    3. The new version names the payload digest of the previous one, and a patch that came from a market stays in the
       lineage.
    4. Where the market's offers are commits (a Hub), its front matter stands before the card, and whoever may not
       write there proposes the patch to its owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.errors import ConfigError, NotFoundError, TrustError
from symbio_lab.marketplace.transport import CommitTransport, Offered, Transport
from symbio_lab.records import ClaimedMetric, Patch
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.manifest import as_ppm, payload_to_manifest
from symbio_lab.trust.policy import SELF_LEVEL
from symbio_lab.trust.sealing import process_key, reseal_patch


@dataclass(frozen=True, slots=True)
class Published:
    """What now stands in the market."""

    ref: str
    """``namespace/name@version``."""
    version: int
    digest: str
    """SHA-256 of the signed payload, 64 hex."""
    pull_request: str = ""
    """Address of the pull request that proposes it; empty when it stands in the market."""


def publish_patch(
    patch: Patch,
    transport: Transport,
    key: SigningKey,
    *,
    store: Path,
    issued: str,
    expires: str,
    patch_id: str | None = None,
    licence: str | None = None,
    claims: Iterable[ClaimedMetric] | None = None,
    pull_request: bool = False,
    predecessors: Collection[str] = (),
) -> Published:
    """Return what was published: ``patch`` signed by ``key``, as the next version under its name.

    Args:
        patch: verified or self-sealed patch; its files are hashed again.
        transport: market to publish to.
        key: publisher's key.
        store: folder of verified patches.
        issued: UTC time, ``2026-01-31T12:00:00Z``.
        expires: UTC time, later than ``issued``.
        patch_id: ``namespace/name``; None keeps the patch's own.
        licence: SPDX id; None keeps the patch's own.
        claims: claimed metrics, rounded to parts per million; None keeps the patch's own.
        pull_request: propose it to the owner of the name, even where we may write; only markets of commits have this.
        predecessors: keyids whose names have passed to ``key`` (``TrustPolicy.predecessors_of``).

    Raises:
        ConfigError: ``pull_request`` in a market that has none; on a Hub also a token that is missing.
        TrustError: ``level_too_low``: the process key cannot publish; ``name_taken``: the name belongs to another
            key; ``digest_mismatch``: the patch changed on disk; a code of the manifest if a field breaks the schema.
        DataError: another process published this version first.
        StorageError: the store or the market cannot be written.
    """
    commits = transport if isinstance(transport, CommitTransport) else None
    if pull_request and commits is None:
        raise ConfigError([f"the market {transport.uri} has no pull requests"], hint="leave it out, or give hf://OWNER")
    if key.keyid == process_key().keyid:
        raise TrustError("level_too_low", "the key of this process seals patches for use here; it cannot publish")
    name = patch_id or patch.patch_id
    version, previous = 1, None
    try:
        payload = peek_payload(transport.read_manifest(name))
    except NotFoundError:
        pass
    except TrustError as error:
        # A repository that was made but never filled holds no version yet; a folder of a version that lacks one does.
        if commits is None or error.code != "unsigned":
            raise
    else:
        newest = payload_to_manifest(payload)
        if newest.keyid != key.keyid and newest.keyid not in predecessors:
            raise TrustError("name_taken", f"{name} was published by another key")
        version, previous = newest.version + 1, hashlib.sha256(payload).hexdigest()
    changes: dict[str, Any] = {
        "patch_id": name,
        "version": version,
        "previous": previous,
        "issued": issued,
        "expires": expires,
        "lineage": patch.manifest.lineage + (() if patch.level == SELF_LEVEL else (patch.digest,)),
    }
    if licence is not None:
        changes["licence"] = licence
    if claims is not None:
        changes["claims"] = tuple(ClaimedMetric(claim.name, as_ppm(claim.value), claim.n) for claim in claims)
    sealed = reseal_patch(store, patch, key, front_matter=commits.front_matter if commits else None, **changes)
    ref = f"{name}@{version}"
    done = Offered()
    if commits is not None:
        done = commits.offer(sealed.root, ref, pull_request=pull_request)
    else:
        transport.publish(sealed.root, ref)
    return Published(ref, version, sealed.digest, done.pull_request)
