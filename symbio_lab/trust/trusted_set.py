"""The rules in their order, pure: bytes, policy, memory and time in; an accepted manifest or a refusal out.

Order (the first broken rule names the refusal; ``RULES`` has them with their questions):
    1. signature: an enrolled key signed these bytes
    2. schema: the statement is a patch manifest, read strictly; its publisher is the key that signed
    3. name: it is the patch asked for, in a namespace that the key may use, by the holder of the name, and it cannot
       be taken for another's (``name_holding``)
    4. base model, 5. task, 6. expiry and age, 7. revocation, 8. threshold of signatures
    9. rollback: not older than the newest version seen, and not another patch under the same version
    10. dispute, 11. level, also that which the licence asks for, 12. licence, 13. sizes and the set of files

No file is opened here and no clock is read; ``now`` is passed in.

References:
    Samuel, Mathewson, Cappos and Dingledine (2010), "Survivable Key Compromise in Software Update Systems"
    (TUF), section 4: arbitrary files, rollback, freeze and mix-and-match.
    Differs from the paper: one statement a patch instead of four metadata roles; freshness is the expiry of the
    statement plus the newest version seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from symbio_lab.errors import TrustError
from symbio_lab.records import PatchManifest
from symbio_lab.trust.adapter_files import expected_files
from symbio_lab.trust.envelope import OpenedEnvelope, open_envelope
from symbio_lab.trust.evaluation_statement import EvaluationTally, tally_evaluations
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.name_holding import check_asked, check_holder, check_looks, check_namespace
from symbio_lab.trust.naming import is_forbidden
from symbio_lab.trust.policy import TrustPolicy, is_disputed, level_of, reaches
from symbio_lab.trust.strict_fields import instant


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """The newest version of a patch that was ever accepted here."""

    version: int
    digest: str
    """Payload digest of that version."""
    keyid: str
    """Key that published it: the name belongs to this key from then on."""


@dataclass(frozen=True, slots=True)
class TrustedState:
    """Memory of what was accepted; without it, rollback cannot be told from news."""

    seen: Mapping[str, SeenVersion] = field(default_factory=dict)
    """Newest accepted version by ``patch_id``."""

    def with_seen(self, manifest: PatchManifest, digest: str) -> TrustedState:
        """Return the state after accepting ``manifest``; an older version changes nothing."""
        known = self.seen.get(manifest.patch_id)
        if known is not None and known.version >= manifest.version:
            return self
        newest = SeenVersion(manifest.version, digest, manifest.keyid)
        return TrustedState({**self.seen, manifest.patch_id: newest})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A manifest that passed every rule that needs no file."""

    manifest: PatchManifest
    digest: str
    """SHA-256 of the signed payload, 64 hex."""
    level: str
    tally: EvaluationTally


@dataclass(frozen=True)
class Case:
    """One manifest before the rules, with everything that they may ask about."""

    manifest: PatchManifest
    opened: OpenedEnvelope
    policy: TrustPolicy
    state: TrustedState
    now: str
    """UTC time, ISO-8601, ends in ``Z``."""
    expect_ref: str | None = None
    base_digest: str | None = None
    task_type: str | None = None
    evaluations: Sequence[bytes] = ()
    judging_digests: Collection[str] = ()

    @cached_property
    def tally(self) -> EvaluationTally:
        """What the policy's evaluators say."""
        manifest = self.manifest
        return tally_evaluations(
            self.evaluations,
            self.policy.evaluators_of(manifest.keyid),
            patch_digest=self.opened.digest,
            base_digest=manifest.base_digest,
            publisher_hex=self.policy.keys[manifest.keyid].public_hex,
            judging_digests=self.judging_digests,
            claims=manifest.claims,
        )

    @cached_property
    def level(self) -> str:
        """Trust level."""
        return level_of(self.manifest.keyid, self.policy, self.tally)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the order."""

    name: str
    asks: str
    """What it asks, in words."""
    check: Callable[[Case], None]
    """Raises ``TrustError`` when the rule is broken."""
    of_publisher: bool = False
    """Whether it asks about the publisher: without a valid signature there is none."""


def check_envelope(
    envelope: bytes,
    policy: TrustPolicy,
    state: TrustedState,
    *,
    now: str,
    expect_ref: str | None = None,
    base_digest: str | None = None,
    task_type: str | None = None,
    evaluations: Sequence[bytes] = (),
    judging_digests: Collection[str] = (),
) -> Accepted:
    """Return the manifest in ``envelope`` if every rule accepts it.

    Args:
        envelope: bytes of ``symbio.patch.dsse.json``.
        policy: the tenant's rules.
        state: what was accepted before.
        now: UTC time, ISO-8601, ends in ``Z``.
        expect_ref: ``namespace/name`` (or ``@version``) that was asked for; None accepts any name.
        base_digest: digest of the model to heal; None accepts any base.
        task_type: task type of the failures; None accepts any.
        evaluations: unverified envelope files of signed evaluations of this patch.
        judging_digests: splits that an evaluation must not have touched.

    Raises:
        TrustError: ``unsigned``, ``bad_envelope``, ``duplicate_key``, ``unknown_key``, ``bad_signature``,
            ``bad_key``, ``bad_manifest``, ``unsafe_name``, ``wrong_patch``, ``name_taken``, ``lookalike``,
            ``wrong_base``, ``wrong_task``, ``expired``, ``revoked_key``, ``threshold``, ``rollback``, ``disputed``,
            ``level_too_low``, ``licence``, ``too_large``, ``forbidden_file``.
    """
    opened = open_envelope(envelope, policy.public_keys)
    manifest = payload_to_manifest(opened.payload)
    case = Case(manifest, opened, policy, state, now, expect_ref, base_digest, task_type, evaluations, judging_digests)
    for rule in RULES:
        rule.check(case)
    return Accepted(manifest, opened.digest, case.level, case.tally)


def check_sizes(manifest: PatchManifest, policy: TrustPolicy) -> None:
    """Return nothing if the *signed* sizes and rank are within the policy.

    Raises:
        TrustError: ``too_large``.
    """
    largest = max((entry.size_bytes for entry in manifest.files), default=0)
    total = sum(entry.size_bytes for entry in manifest.files)
    if largest > policy.max_file_bytes or total > policy.max_total_bytes:
        raise TrustError("too_large", f"{manifest.patch_id} has {total} bytes, {largest} in one file")
    if manifest.adapter.rank > policy.max_rank:
        raise TrustError("too_large", f"{manifest.patch_id} has rank {manifest.adapter.rank}")


def check_signed_names(manifest: PatchManifest) -> None:
    """Return nothing if the signed files are exactly those of the adapter's kind.

    Raises:
        TrustError: ``forbidden_file``: a pickle, code or an archive is signed; ``bad_manifest``: another file is
            signed, or one is lacking.
    """
    names = {entry.name for entry in manifest.files}
    forbidden = sorted(name for name in names if is_forbidden(name))
    if forbidden:
        raise TrustError("forbidden_file", f"{manifest.patch_id} signs {forbidden[0]}")
    expected = set(expected_files(manifest.adapter))
    if names != expected:
        raise TrustError("bad_manifest", f"{manifest.patch_id} signs {sorted(names)}, its kind has {sorted(expected)}")


def _check_signer(case: Case) -> None:
    if case.manifest.keyid not in case.opened.keyids:
        raise TrustError(
            "bad_signature", f"{case.manifest.patch_id} names another publisher than the key that signed it"
        )


def _check_base(case: Case) -> None:
    manifest = case.manifest
    if case.base_digest is not None and manifest.base_digest != case.base_digest:
        raise TrustError("wrong_base", f"{manifest.patch_id} fits base {manifest.base_digest[:16]}..., not this model")


def _check_task(case: Case) -> None:
    manifest = case.manifest
    if case.task_type is not None and manifest.task_type != case.task_type:
        raise TrustError("wrong_task", f"{manifest.patch_id} serves {manifest.task_type}, not {case.task_type}")


def _check_expiry(case: Case) -> None:
    manifest = case.manifest
    if case.policy.check_expiry and instant(case.now, "now") >= instant(manifest.expires):
        raise TrustError("expired", f"{manifest.patch_id} expired at {manifest.expires}")


def _check_age(case: Case) -> None:
    days, manifest = case.policy.max_age_days, case.manifest
    if days is not None and instant(case.now, "now") - instant(manifest.issued) > timedelta(days=days):
        raise TrustError(
            "expired", f"{manifest.patch_id} was issued at {manifest.issued}; the policy allows {days} days"
        )


def _check_revocation(case: Case) -> None:
    if case.manifest.keyid in case.policy.revoked:
        raise TrustError("revoked_key", f"the key of {case.manifest.patch_id} was revoked")


def _check_threshold(case: Case) -> None:
    needed = case.policy.min_signatures
    # The publisher's own signature was checked, so a threshold of one is met.
    if needed > 1 and (signed := case.policy.num_holders(case.opened.keyids)) < needed:
        raise TrustError(
            "threshold", f"{signed} enrolled publisher(s) signed {case.manifest.patch_id}; the policy asks for {needed}"
        )


def _check_rollback(case: Case) -> None:
    manifest, known = case.manifest, case.state.seen.get(case.manifest.patch_id)
    if known is None:
        return
    if manifest.version < known.version:
        raise TrustError(
            "rollback", f"{manifest.patch_id}@{manifest.version} is offered, @{known.version} was seen before"
        )
    if manifest.version == known.version and case.opened.digest != known.digest:
        raise TrustError("rollback", f"{manifest.patch_id}@{manifest.version} is not the patch seen under this version")


def _check_dispute(case: Case) -> None:
    if case.policy.refuse_disputed and is_disputed(case.tally):
        raise TrustError(
            "disputed",
            f"{case.tally.num_disputing} evaluator(s) dispute the claims of {case.manifest.patch_id}, "
            f"{case.tally.num_confirming} bear them out",
        )


def _check_level(case: Case) -> None:
    manifest, asked = case.manifest, case.policy.level_asked(case.manifest.licence)
    if not reaches(case.level, asked):
        why = "" if asked == case.policy.min_level else f" for licence {manifest.licence!r}"
        raise TrustError("level_too_low", f"{manifest.patch_id} is {case.level}; the policy asks for {asked}{why}")


def _check_licence(case: Case) -> None:
    if case.policy.licences and case.manifest.licence not in case.policy.licences:
        raise TrustError("licence", f"{case.manifest.patch_id} has licence {case.manifest.licence!r}")


RULES: tuple[Rule, ...] = (
    Rule("signer", "the publisher it names is the key that signed", _check_signer, of_publisher=True),
    Rule("asked for", "it is the patch that was asked for", lambda c: check_asked(c.manifest, c.expect_ref)),
    Rule("namespace", "its key may publish in this namespace", lambda c: check_namespace(c.manifest, c.policy), True),
    Rule(
        "name",
        "its name is new, or its own",
        lambda c: check_holder(c.manifest, c.policy, c.state.seen.get(c.manifest.patch_id)),
        of_publisher=True,
    ),
    Rule(
        "look-alike",
        "its name cannot be taken for another's",
        lambda c: check_looks(c.manifest, c.policy, c.state.seen),
        of_publisher=True,
    ),
    Rule("base", "it was made for this base model", _check_base),
    Rule("task", "it serves this task", _check_task),
    Rule("expiry", "it has not expired", _check_expiry),
    Rule("age", "it is not older than the policy allows", _check_age),
    Rule("revocation", "its key was not revoked", _check_revocation, of_publisher=True),
    Rule("threshold", "enough distinct publishers signed it", _check_threshold, of_publisher=True),
    Rule("rollback", "it is not older than what was seen, nor another patch under its version", _check_rollback),
    Rule("dispute", "evaluators do not dispute what it claims", _check_dispute, of_publisher=True),
    Rule("level", "its trust level is high enough", _check_level, of_publisher=True),
    Rule("licence", "its licence is allowed", _check_licence),
    Rule("sizes", "its files and its rank are small enough", lambda c: check_sizes(c.manifest, c.policy)),
    Rule("file names", "it signs the files of its kind and no other", lambda c: check_signed_names(c.manifest)),
)
"""All rules after signature and schema, in the order in which they are judged."""
