"""The rules in their order, pure: bytes, policy, memory and time in; an accepted manifest or a refusal out.

Order (the first broken rule names the refusal):
    1. signature: an enrolled key signed these bytes, and it is the key that the statement names
    2. schema: the statement is a patch manifest, read strictly
    3. name: it is the patch asked for, in a namespace that the key may use, by the key that held the name before
    4. base model, 5. task, 6. expiry, 7. revocation
    8. rollback: not older than the newest version seen, and not another patch under the same version
    9. level, 10. licence, 11. sizes and the set of files

No file is opened here and no clock is read; ``now`` is passed in.

References:
    Samuel, Mathewson, Cappos and Dingledine (2010), "Survivable Key Compromise in Software Update Systems"
    (TUF), section 4: arbitrary files, rollback, freeze and mix-and-match.
    Differs from the paper: one statement a patch instead of four metadata roles; freshness is the expiry of the
    statement plus the newest version seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from symbio_lab.errors import TrustError
from symbio_lab.records import PatchManifest
from symbio_lab.trust.adapter_files import expected_files
from symbio_lab.trust.envelope import OpenedEnvelope, open_envelope
from symbio_lab.trust.evaluation_statement import EvaluationTally, tally_evaluations
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.naming import is_forbidden, split_ref
from symbio_lab.trust.policy import TrustPolicy, level_of, reaches
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
            ``bad_key``, ``bad_manifest``, ``unsafe_name``, ``wrong_patch``, ``wrong_base``, ``wrong_task``,
            ``expired``, ``revoked_key``, ``rollback``, ``level_too_low``, ``licence``, ``too_large``,
            ``forbidden_file``.
    """
    opened = open_envelope(envelope, policy.public_keys)
    manifest = payload_to_manifest(opened.payload)
    if manifest.keyid not in opened.keyids:
        raise TrustError("bad_signature", f"{manifest.patch_id} names another publisher than the key that signed it")
    _check_name(manifest, policy, state, expect_ref)
    if base_digest is not None and manifest.base_digest != base_digest:
        raise TrustError("wrong_base", f"{manifest.patch_id} fits base {manifest.base_digest[:16]}..., not this model")
    if task_type is not None and manifest.task_type != task_type:
        raise TrustError("wrong_task", f"{manifest.patch_id} serves {manifest.task_type}, not {task_type}")
    if policy.check_expiry and instant(now, "now") >= instant(manifest.expires):
        raise TrustError("expired", f"{manifest.patch_id} expired at {manifest.expires}")
    if manifest.keyid in policy.revoked:
        raise TrustError("revoked_key", f"the key of {manifest.patch_id} was revoked")
    _check_rollback(manifest, opened, state)
    tally = tally_evaluations(
        evaluations,
        policy.evaluators,
        patch_digest=opened.digest,
        base_digest=manifest.base_digest,
        publisher_hex=policy.keys[manifest.keyid].public_hex,
        judging_digests=judging_digests,
    )
    level = level_of(manifest.keyid, policy, tally)
    if not reaches(level, policy.min_level):
        raise TrustError("level_too_low", f"{manifest.patch_id} is {level}; the policy asks for {policy.min_level}")
    if policy.licences and manifest.licence not in policy.licences:
        raise TrustError("licence", f"{manifest.patch_id} has licence {manifest.licence!r}")
    check_sizes(manifest, policy)
    check_signed_names(manifest)
    return Accepted(manifest, opened.digest, level, tally)


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


def _check_name(manifest: PatchManifest, policy: TrustPolicy, state: TrustedState, expect_ref: str | None) -> None:
    if expect_ref is not None:
        namespace, name, version = split_ref(expect_ref)
        if manifest.patch_id != f"{namespace}/{name}" or version not in (None, manifest.version):
            raise TrustError("wrong_patch", f"asked for {expect_ref}, offered {manifest.patch_id}@{manifest.version}")
    namespace = manifest.patch_id.split("/")[0]
    allowed = policy.keys[manifest.keyid].namespaces
    others = set(policy.keys) - set(policy.revoked) - {manifest.keyid}
    held_by_others = any(namespace in policy.keys[keyid].namespaces for keyid in others)
    if namespace not in allowed and (allowed or held_by_others):
        raise TrustError("wrong_patch", f"the key of {manifest.patch_id} may not publish in {namespace!r}")
    known = state.seen.get(manifest.patch_id)
    # A revoked key gives its names free: its publisher must be able to come back under a new one.
    if known is not None and known.keyid != manifest.keyid and known.keyid not in policy.revoked:
        raise TrustError("wrong_patch", f"{manifest.patch_id} was published by another key before")


def _check_rollback(manifest: PatchManifest, opened: OpenedEnvelope, state: TrustedState) -> None:
    known = state.seen.get(manifest.patch_id)
    if known is None:
        return
    if manifest.version < known.version:
        raise TrustError(
            "rollback", f"{manifest.patch_id}@{manifest.version} is offered, @{known.version} was seen before"
        )
    if manifest.version == known.version and opened.digest != known.digest:
        raise TrustError("rollback", f"{manifest.patch_id}@{manifest.version} is not the patch seen under this version")
