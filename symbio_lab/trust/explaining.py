"""Why a policy accepts or refuses a patch: every rule in its order, not only the first that is broken.

Rules:
    1. The rulings are those of ``trusted_set`` and ``verifying``: the same functions judge here and there. The first
       ruling that refuses names the code that fetching the patch would give.
    2. Without a valid signature the manifest is somebody's claim: rules about its publisher are not judged, and the
       others are judged on what it claims.
    3. Files are opened only when the manifest is signed, well-formed and small enough, as everywhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from symbio_lab.errors import TrustError
from symbio_lab.records import PatchManifest
from symbio_lab.trust.envelope import OpenedEnvelope, open_envelope, peek_payload
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.policy import LEVELS, TrustPolicy
from symbio_lab.trust.trusted_set import RULES, Case, TrustedState
from symbio_lab.trust.verifying import read_envelope, verify_patch

_OF_FILES = ("signature", "signer", "sizes", "file names")
"""Rules that must hold before a file is opened."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one rule says about one patch."""

    rule: str
    asks: str
    """What the rule asks, in words."""
    code: str = ""
    """Trust code of the refusal; empty when the rule is kept or was not judged."""
    detail: str = ""
    """Why it refuses, or why it was not judged."""
    judged: bool = True

    @property
    def refuses(self) -> bool:
        """Whether this rule refuses the patch."""
        return self.code != ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All rules about one patch, in the order in which they are judged."""

    rulings: tuple[Ruling, ...]
    manifest: PatchManifest | None
    """What is offered; unverified when the signature is refused; None when it cannot be read."""
    level: str = "unverified"
    """Trust level that the patch has under the policy."""

    @property
    def code(self) -> str:
        """Code with which the patch is refused; empty when it is accepted."""
        return next((ruling.code for ruling in self.rulings if ruling.refuses), "")


def explain_envelope(
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
) -> Explanation:
    """Return every ruling about a manifest; the arguments are those of ``trusted_set.check_envelope``.

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
        TrustError: ``bad_key``: the policy holds a key that is none.
    """
    signature = Ruling("signature", "an enrolled key signed the manifest")
    schema = Ruling("schema", "the statement is a patch manifest, read strictly")
    opened: OpenedEnvelope | None = None
    keys = policy.public_keys
    try:
        opened = open_envelope(envelope, keys)
    except TrustError as error:
        signature = replace(signature, code=error.code, detail=str(error))
    try:
        claimed = opened or OpenedEnvelope(peek_payload(envelope), ())
        manifest = payload_to_manifest(claimed.payload)
    except TrustError as error:
        schema = replace(schema, code=error.code, detail=str(error))
        return Explanation((signature, schema), None)
    case = Case(manifest, claimed, policy, state, now, expect_ref, base_digest, task_type, evaluations, judging_digests)
    has_publisher = opened is not None and manifest.keyid in policy.keys
    rulings = [signature, schema]
    for rule in RULES:
        ruling = Ruling(rule.name, rule.asks)
        if rule.of_publisher and not has_publisher and not (opened and rule.name == "signer"):
            rulings.append(replace(ruling, judged=False, detail="without a valid signature there is no publisher"))
            continue
        try:
            rule.check(case)
        except TrustError as error:
            ruling = replace(ruling, code=error.code, detail=str(error))
        rulings.append(ruling)
    return Explanation(tuple(rulings), manifest, case.level if has_publisher else LEVELS[0])


def explain_folder(
    folder: Path,
    policy: TrustPolicy,
    state: TrustedState,
    *,
    now: str,
    expect_ref: str | None = None,
    base_digest: str | None = None,
    task_type: str | None = None,
    evaluations: Sequence[bytes] = (),
    judging_digests: Collection[str] = (),
) -> Explanation:
    """Return every ruling about the patch in a folder: those about its manifest, then that about its files.

    Args:
        folder: the patch as it came from a market.
        policy: the tenant's rules.
        state: what was accepted before.
        now: UTC time, ISO-8601, ends in ``Z``.
        expect_ref: ``namespace/name`` (or ``@version``) that was asked for; None accepts any name.
        base_digest: digest of the model to heal; None accepts any base.
        task_type: task type of the failures; None accepts any.
        evaluations: unverified envelope files of signed evaluations of this patch.
        judging_digests: splits that an evaluation must not have touched.

    Raises:
        TrustError: ``bad_key``: the policy holds a key that is none.
        StorageError: the folder cannot be read.
    """
    files = Ruling("files", "the folder holds exactly the signed files, and they are what their signer says")
    try:
        envelope = read_envelope(folder)
    except TrustError as error:
        unread = Ruling("signature", "an enrolled key signed the manifest", error.code, str(error))
        found = _rule_on_files(folder, policy, files, now)
        if found.code != error.code:
            return Explanation((found, unread), None)  # what lies there is refused before a signature is missed
        return Explanation((unread, replace(files, judged=False, detail="nothing says which files it has")), None)
    explained = explain_envelope(
        envelope,
        policy,
        state,
        now=now,
        expect_ref=expect_ref,
        base_digest=base_digest,
        task_type=task_type,
        evaluations=evaluations,
        judging_digests=judging_digests,
    )
    broken = [ruling.rule for ruling in explained.rulings if ruling.refuses and ruling.rule in _OF_FILES]
    if explained.manifest is None or broken:
        why = f"not opened: the rule about {broken[0]} refuses" if broken else "not opened: there is no manifest"
        return replace(explained, rulings=(*explained.rulings, replace(files, judged=False, detail=why)))
    return replace(explained, rulings=(*explained.rulings, _rule_on_files(folder, policy, files, now)))


def _rule_on_files(folder: Path, policy: TrustPolicy, ruling: Ruling, now: str) -> Ruling:
    # Everything about the manifest was ruled on: only what opening the files shows is left to this policy.
    only_files = TrustPolicy(
        keys={keyid: replace(key, namespaces=()) for keyid, key in policy.keys.items()},
        max_file_bytes=policy.max_file_bytes,
        max_total_bytes=policy.max_total_bytes,
        max_rank=policy.max_rank,
        check_expiry=False,
    )
    with tempfile.TemporaryDirectory(prefix="symbio-explain-") as store:
        try:
            verify_patch(folder, only_files, TrustedState(), now=now, store=Path(store))
        except TrustError as error:
            return replace(ruling, code=error.code, detail=str(error))
    return ruling
