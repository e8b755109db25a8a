"""The votes on one patch: each rater's newest statement, opened, with its weight and why it has none.

Rules:
    1. A statement is read under the key that it states, found through the voucher trees; a key that stands nowhere is
       ``unknown_key``, and so are the publisher's own keys, those that they succeeded or that succeed them included.
    2. Of one key the newest statement on this payload stands; copies and older ones do not count.
    3. A vote passes if the patched model answered more rightly than the base and it disputes no claim.
    4. Text only, of weight 0: a suite that is not known here, or a model or a person as judge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.voucher_trees import VoucherTrees
from symbio_lab.records import PatchManifest
from symbio_lab.trust.claim_checks import ClaimVerdict, check_claims, verdict_of
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.evaluation_payload import is_repeatable, payload_to_evaluation
from symbio_lab.trust.evaluation_statement import (
    EvaluationStatement,
    is_newer,
    open_evaluation,
    own_evaluation,
    refuse_leaky,
)
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.policy import TrustPolicy


@dataclass(frozen=True, slots=True)
class Vote:
    """One rater's newest statement, counted or not."""

    keyid: str
    statement: EvaluationStatement
    passes: bool
    verdict: ClaimVerdict
    """What it says about the publisher's claims."""
    weight: float
    """0 for text only and for raters of the publisher's own trees."""
    voucher: str
    """Keyid of the organisation through which it counts; empty for weight 0."""
    note: str
    """Why it does not count; empty where it does."""


def stated_raters(envelopes: Iterable[bytes]) -> tuple[dict[str, list[bytes]], list[str]]:
    """Return the envelopes by the keyid that each states, unverified, and the codes of those that cannot be read."""
    stated: dict[str, list[bytes]] = {}
    refused = []
    for data in sorted(set(envelopes)):
        try:
            stated.setdefault(payload_to_evaluation(peek_payload(data)).keyid, []).append(data)
        except TrustError as error:
            refused.append(error.code)
    return stated, refused


def collect_votes(
    manifest: PatchManifest,
    digest: str,
    stated: Mapping[str, Iterable[bytes]],
    trees: VoucherTrees,
    policy: TrustPolicy,
    *,
    known_suites: Collection[str],
    judging_digests: Collection[str],
) -> tuple[tuple[Vote, ...], list[str]]:
    """Return the votes by keyid, and the trust codes of statements that are none.

    Args:
        manifest: verified manifest of the patch.
        digest: its payload digest.
        stated: keyid -> envelope files that state it.
        trees: who is vouched for by whom.
        policy: whose keys are enrolled, and which belong to one holder.
        known_suites: digests of suites that can be repeated here.
        judging_digests: splits that a statement must not have touched.
    """
    newest: dict[str, EvaluationStatement] = {}
    refused: list[str] = []
    publisher = keys_of_holder(policy, manifest.keyid)
    voters = {keyid: key for keyid, key in trees.keys.items() if keyid not in publisher}
    for keyid, files in stated.items():
        for data in files:
            try:
                statement = _open(data, keyid, manifest, digest, voters, judging_digests)
            except TrustError as error:
                refused.append(error.code)
                continue
            if keyid not in newest or is_newer(statement, newest[keyid]):
                newest[keyid] = statement
    own = _own(manifest, digest, stated, policy)
    counts = {k for k, said in newest.items() if said.suite_digest in known_suites and is_repeatable(said)}
    shares = trees.shares(counts, without=frozenset().union(*(trees.roots_of(keyid) for keyid in publisher)))
    votes = []
    for keyid, said in sorted(newest.items()):
        verdict, share = verdict_of(check_claims(said, manifest.claims, own)), shares.get(keyid)
        passes = said.after_ppm > said.before_ppm and verdict != "disputed"
        note = "" if share else _note(said, keyid in counts, known_suites)
        votes.append(
            Vote(keyid, said, passes, verdict, share.weight if share else 0.0, share.root if share else "", note)
        )
    return tuple(votes), refused


def keys_of_holder(policy: TrustPolicy, keyid: str) -> frozenset[str]:
    """Return a key and all enrolled keys that belong to the same holder."""
    return frozenset({keyid, *(other for other in policy.keys if policy.same_holder(other, keyid))})


def _open(
    data: bytes,
    keyid: str,
    manifest: PatchManifest,
    digest: str,
    voters: Mapping[str, PublicKey],
    judging_digests: Collection[str],
) -> EvaluationStatement:
    # Only the stated key is tried: a statement with many signatures must not cost one check for each of many keys.
    statement = open_evaluation(data, {keyid: voters[keyid]} if keyid in voters else {})
    refuse_leaky(statement, judging_digests)
    if statement.patch_digest != digest or statement.base_digest != manifest.base_digest:
        raise TrustError("wrong_patch", f"the evaluation is not about {manifest.patch_id}@{manifest.version}")
    return statement


def _own(
    manifest: PatchManifest, digest: str, stated: Mapping[str, Iterable[bytes]], policy: TrustPolicy
) -> EvaluationStatement | None:
    """Return what the publisher signed about the patch: a claim."""
    key = policy.public_keys.get(manifest.keyid)
    return own_evaluation(
        stated.get(manifest.keyid, ()),
        patch_digest=digest,
        base_digest=manifest.base_digest,
        publisher_hex=key.public_hex if key is not None else "",
    )


def _note(statement: EvaluationStatement, is_vote: bool, known_suites: Collection[str]) -> str:
    if is_vote:
        return "stands in the publisher's own voucher tree only"
    if statement.suite_digest not in known_suites:
        return "text only: its suite is not known here"
    return "text only: judged by a model or a person"
