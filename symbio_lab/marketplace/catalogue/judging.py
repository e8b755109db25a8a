"""An offered envelope becomes a row of the catalogue: accepted by the trust rules, or refused with their code.

Rules:
    1. The verdict is that of ``trust/trusted_set.check_envelope``; nothing is judged here a second time.
    2. What is refused is kept with what can be read of it, its code and its message: it is shown, never mixed in.
    3. ``valid_until`` is when an accepted row stops being acceptable although nothing changed: its expiry, or the age
       that the policy allows. A search compares it with its own time.
    4. A verdict holds under one set of rules, named by a digest over the policy and over everything else that went in
       but the envelope, the clock and the versions seen; the latter stand in the row (``seen``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.records import PatchManifest, content_id
from symbio_lab.trust.envelope import peek_keyids, peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.strict_fields import instant
from symbio_lab.trust.trusted_set import TrustedState, check_envelope

FOREVER = "9999-12-31T23:59:59Z"


@dataclass(frozen=True)
class MarketRules:
    """Everything that a verdict on one market's offers depends on, but the offers."""

    policy: TrustPolicy
    now: str
    """UTC time, ISO-8601, ends in ``Z``."""
    state: TrustedState = field(default_factory=TrustedState)
    """Versions accepted before."""
    judging_digests: frozenset[str] = frozenset()
    """Splits that a counted evaluation must not have touched."""

    @cached_property
    def digest(self) -> str:
        """Digest of the rules, 64 hex: equal digest, equal verdict on equal envelopes at equal times."""
        # Look-alikes are judged against every name seen, so all of them belong to the rules then.
        names = sorted(self.state.seen) if self.policy.check_lookalikes else []
        return content_id([_plain(self.policy), sorted(self.judging_digests), names])

    def seen(self, ref: str) -> str:
        """Return what the memory of accepted versions holds of one patch, as a short text; empty for nothing."""
        known = self.state.seen.get(ref)
        return "" if known is None else f"{known.version}~{known.digest}~{known.keyid}"


@dataclass(frozen=True, slots=True)
class JudgedOffer:
    """One offer with its verdict, ready to be stored."""

    entry: IndexEntry
    """As the in-memory index has it."""
    envelope: bytes
    """The envelope file; empty where the market could not give one."""
    level: str = ""
    """Trust level of an accepted offer; empty when refused."""
    valid_until: str = FOREVER
    """UTC time at which an accepted offer stops being acceptable."""
    token: str = ""
    """What told this offer from its earlier state."""
    seen: str = ""
    """What was remembered of the patch when it was judged."""

    @property
    def accepted(self) -> bool:
        """Whether every rule that needs no file passed."""
        return self.entry.problem is None

    @property
    def size_bytes(self) -> int:
        """Sum of the signed sizes; 0 where the manifest cannot be read."""
        return 0 if self.entry.manifest is None else sum(item.size_bytes for item in self.entry.manifest.files)


def judge_offer(
    ref: str, market: str, envelope: bytes, rules: MarketRules, *, token: str = "", evaluations: Sequence[bytes] = ()
) -> JudgedOffer:
    """Return the offer with the verdict of the trust rules.

    Args:
        ref: ``namespace/name`` under which the market lists it.
        market: URI of the market.
        envelope: bytes of ``symbio.patch.dsse.json``, unverified.
        rules: policy, memory and time.
        token: what told this state of the offer from an earlier one.
        evaluations: unverified envelope files of signed evaluations of this patch.
    """
    seen = rules.seen(ref)
    try:
        accepted = check_envelope(
            envelope,
            rules.policy,
            rules.state,
            now=rules.now,
            expect_ref=ref,
            evaluations=evaluations,
            judging_digests=rules.judging_digests,
        )
    except TrustError as error:
        return JudgedOffer(_refused(ref, market, envelope, error), envelope, token=token, seen=seen)
    manifest = accepted.manifest
    entry = IndexEntry(ref, market, manifest, accepted.digest, manifest.keyid)
    return JudgedOffer(entry, envelope, accepted.level, _valid_until(manifest, rules.policy), token, seen)


def refuse_unread(ref: str, market: str, error: TrustError, rules: MarketRules, *, token: str = "") -> JudgedOffer:
    """Return the offer whose envelope the market could not give."""
    entry = IndexEntry(ref, market, None, problem=error.code, detail=str(error))
    return JudgedOffer(entry, b"", token=token, seen=rules.seen(ref))


def stated_digest(envelope: bytes) -> str:
    """Return the digest of the payload as offered, unverified; empty where there is none."""
    try:
        return hashlib.sha256(peek_payload(envelope)).hexdigest()
    except TrustError:
        return ""


def _refused(ref: str, market: str, envelope: bytes, error: TrustError) -> IndexEntry:
    """Read what can be read without trust; what cannot stays empty."""
    digest, keyid, manifest = "", "", None
    try:
        payload = peek_payload(envelope)
        digest = hashlib.sha256(payload).hexdigest()
        keyid = next(iter(peek_keyids(envelope)), "")
        manifest = payload_to_manifest(payload)
    except TrustError:
        pass
    return IndexEntry(ref, market, manifest, digest, keyid, error.code, str(error))


def _valid_until(manifest: PatchManifest, policy: TrustPolicy) -> str:
    ends = [manifest.expires] if policy.check_expiry else []
    if policy.max_age_days is not None:
        try:
            # The rule refuses what is *more* than so many days old, and times are whole seconds.
            last = instant(manifest.issued) + timedelta(days=policy.max_age_days, seconds=1)
        except OverflowError:
            return min(ends, default=FOREVER)
        ends.append(last.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return min(ends, default=FOREVER)


def _plain(value: Any) -> Any:
    """Return a policy as JSON values in one fixed order, whatever fields it has."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, Collection) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
