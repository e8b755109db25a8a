"""What a market offers, as its keeper would register it, and as its registry describes it.

Rules:
    1. A registry vouches for names. A version is registered only if the keeper's own policy accepts its envelope under
       that name, so that whoever can write to the market cannot have a stranger's patch registered.
    2. Which keys count changes: what is registered stays, and a policy of the client decides again.
    3. Every version is looked at, older ones too: a client that pins a version is served as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.registry.layout import target_path
from symbio_lab.marketplace.registry.registered import Registry
from symbio_lab.marketplace.transport import Transport
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import split_ref
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.trusted_set import TrustedState, check_envelope

MAX_VERSIONS = 1_000
"""Newest versions of a patch that are asked for in a market that cannot list them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one version."""

    ref: str
    """``namespace/name@version``; without a version where none can be read."""
    code: str = ""
    """Trust code; empty when it is fine."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Offers:
    """What a keeper may register."""

    accepted: Mapping[str, bytes]
    """Path -> envelope."""
    refused: tuple[Verdict, ...]


def collect_offers(
    transport: Transport,
    policy: TrustPolicy,
    *,
    now: str,
    refs: tuple[str, ...] = (),
    known: Mapping[str, str] | None = None,
) -> Offers:
    """Return what the keeper's policy accepts of a market, and what it refuses.

    Args:
        transport: the market.
        policy: the keeper's rules.
        now: UTC time.
        refs: ``namespace/name`` or ``namespace/name@version`` to look at; empty looks at everything.
        known: registered path -> SHA-256; what is registered with the same bytes is neither judged nor returned.

    Raises:
        NotFoundError: a patch that was asked for is not there.
        TrustError: ``unsafe_name``: a reference is none.
        StorageError: the market cannot be read.
    """
    accepted: dict[str, bytes] = {}
    refused: list[Verdict] = []
    for ref, envelope in offered_versions(transport, refs):
        try:
            if isinstance(envelope, TrustError):
                raise envelope
            namespace, name, version = split_ref(ref)
            path = target_path(f"{namespace}/{name}", version or 0)
            if (known or {}).get(path) == hashlib.sha256(envelope).hexdigest():
                continue
            check_envelope(envelope, policy, TrustedState(), now=now, expect_ref=ref)
            accepted[path] = envelope
        except TrustError as error:
            refused.append(Verdict(ref, error.code, str(error)))
    return Offers(accepted, tuple(refused))


def compare_offers(transport: Transport, registry: Registry) -> list[Verdict]:
    """Return, for every version that a market or its registry names, whether the two agree.

    Codes: ``unregistered``, ``digest_mismatch``, ``mix_and_match`` (another registered version's bytes, or registered
    but not held), ``revoked_key``, or what reading reports.

    Raises:
        StorageError: the market cannot be read.
    """
    verdicts: list[Verdict] = []
    held: set[str] = set()
    for ref, envelope in offered_versions(transport):
        try:
            if isinstance(envelope, TrustError):
                raise envelope
            held.add(ref)
            registry.check(ref, envelope)
            verdicts.append(Verdict(ref))
        except TrustError as error:
            verdicts.append(Verdict(ref, error.code, str(error)))
    named = {f"{patch_id}@{version}" for patch_id, versions in registry.patches.items() for version in versions}
    missing = sorted(named - held - {verdict.ref for verdict in verdicts})
    verdicts += [Verdict(ref, "mix_and_match", "it is registered, but the market does not hold it") for ref in missing]
    return verdicts


def offered_versions(transport: Transport, refs: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes | TrustError]]:
    """Yield ``namespace/name@version`` and envelope of every version, or why it cannot be read.

    Args:
        transport: the market.
        refs: patches or versions to look at; empty looks at everything.

    Raises:
        NotFoundError: a patch that was asked for is not there.
        StorageError: the market cannot be read.
    """
    for ref in refs or transport.list_refs():
        namespace, name, version = split_ref(ref)
        patch_id = f"{namespace}/{name}"
        try:
            versions = [version] if version is not None else versions_of(transport, patch_id)
        except NotFoundError:
            if refs:
                raise
            continue  # withdrawn between listing and reading
        except TrustError as error:
            yield patch_id, error
            continue
        for number in versions:
            exact = f"{patch_id}@{number}"
            try:
                yield exact, transport.read_manifest(exact)
            except NotFoundError:
                if version is not None:
                    raise
            except TrustError as error:
                yield exact, error


def versions_of(transport: Transport, patch_id: str) -> list[int]:
    """Return the versions of a patch, oldest first; a market that cannot list them may lack some of those named.

    Raises:
        NotFoundError: there is no such patch.
        TrustError: its newest manifest cannot be read.
        StorageError: the market cannot be read.
    """
    list_versions = getattr(transport, "list_versions", None)
    if list_versions is not None:
        return list(list_versions(patch_id))
    newest = payload_to_manifest(peek_payload(transport.read_manifest(patch_id))).version
    # A version is whatever number its publisher wrote; it must not keep us busy.
    return list(range(max(1, newest - MAX_VERSIONS + 1), newest + 1))
