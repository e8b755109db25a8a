"""What a market offers, as text to search: every manifest peeked, and whether it would be refused.

An entry is **unverified**: its text is the publisher's, and only ``problem is None`` says that signature, expiry,
revocation, rollback, level, licence and sizes passed when the index was built. Files are checked after fetching.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.transport import Transport
from symbio_lab.records import PatchManifest
from symbio_lab.trust.envelope import peek_keyids, peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.trusted_set import TrustedState, check_envelope


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One offered patch."""

    ref: str
    market: str
    manifest: PatchManifest | None
    """As offered; None when it could not be read."""
    digest: str = ""
    """SHA-256 of the payload as offered; empty when there is none."""
    keyid: str = ""
    """Stated keyid."""
    problem: str | None = None
    """Trust code of the first rule that it breaks."""
    detail: str = ""
    """Message of that refusal."""

    @property
    def card_text(self) -> str:
        """Text that is searched: title, scope, domain and labels."""
        if self.manifest is None:
            return ""
        labels = ", ".join(label.replace("_", " ") for label in self.manifest.labels)
        parts = (self.manifest.title, self.manifest.scope, self.manifest.domain, labels)
        return "\n".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class MarketIndex:
    """All entries of one market at one time."""

    market: str
    entries: tuple[IndexEntry, ...] = ()
    """Sorted by reference."""
    num_bytes: int = field(default=0, compare=False)
    """Bytes read from the market to build it."""


def build_index(
    transport: Transport,
    policy: TrustPolicy,
    *,
    now: str,
    state: TrustedState | None = None,
    judging_digests: Collection[str] = (),
) -> MarketIndex:
    """Return the index of what ``transport`` offers now.

    Args:
        transport: market to read.
        policy: rules that decide ``problem``.
        now: UTC time, ISO-8601, ends in ``Z``.
        state: versions accepted before.
        judging_digests: splits that a counted evaluation must not have touched.

    Raises:
        StorageError: the market cannot be read.
    """
    entries: list[IndexEntry] = []
    num_bytes = 0
    for ref in transport.list_refs():
        try:
            envelope = transport.read_manifest(ref)
        except NotFoundError:
            continue  # withdrawn between listing and reading
        except TrustError as error:
            entries.append(IndexEntry(ref, transport.uri, None, problem=error.code, detail=str(error)))
            continue
        num_bytes += len(envelope)
        entry = _peek(ref, transport.uri, envelope)
        evaluations: list[bytes] = []
        if policy.needs_evaluations and entry.digest:
            evaluations = transport.read_evaluations(entry.digest)
            num_bytes += sum(map(len, evaluations))
        try:
            check_envelope(
                envelope,
                policy,
                state or TrustedState(),
                now=now,
                expect_ref=ref,
                evaluations=evaluations,
                judging_digests=judging_digests,
            )
        except TrustError as error:
            entry = IndexEntry(ref, transport.uri, entry.manifest, entry.digest, entry.keyid, error.code, str(error))
        entries.append(entry)
    return MarketIndex(transport.uri, tuple(sorted(entries, key=lambda e: e.ref)), num_bytes)


def _peek(ref: str, market: str, envelope: bytes) -> IndexEntry:
    """Read what can be read without trust; what cannot stays empty and is refused later."""
    digest, keyid = "", ""
    try:
        payload = peek_payload(envelope)
        digest = hashlib.sha256(payload).hexdigest()
        keyid = next(iter(peek_keyids(envelope)), "")
        return IndexEntry(ref, market, payload_to_manifest(payload), digest, keyid)
    except TrustError:
        return IndexEntry(ref, market, None, digest, keyid)
