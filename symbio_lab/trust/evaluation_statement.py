"""A signed evaluation: what somebody measured about one exact version of a patch, and what several say together.

Rules:
    1. The figures and their schemas are in ``evaluation_payload``; here they are signed, opened and counted.
    2. An evaluation that touches a split by which healers are judged here is leaky and refused: it would tell a
       marketplace search the answers.
    3. It is a claim by its signer. It raises the trust level of a patch; it never replaces the gate.
    4. A key has one vote, its newest statement; the publisher's own key has none. What the publisher signed about
       his own patch is a claim, held against what the others measured (``claim_checks``).
    5. A statement disputes when a figure that the publisher claims lies on the bad side of its interval; it confirms
       when one is borne out and none is disputed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from symbio_lab.errors import TrustError
from symbio_lab.records import ClaimedMetric
from symbio_lab.trust.claim_checks import check_claims, verdict_of
from symbio_lab.trust.envelope import open_envelope, sign_envelope
from symbio_lab.trust.evaluation_payload import COUNTED_SCHEMA as COUNTED_SCHEMA
from symbio_lab.trust.evaluation_payload import EVALUATION_SCHEMA as EVALUATION_SCHEMA
from symbio_lab.trust.evaluation_payload import EVALUATION_TYPE as EVALUATION_TYPE
from symbio_lab.trust.evaluation_payload import PPM as PPM
from symbio_lab.trust.evaluation_payload import EvaluationStatement as EvaluationStatement
from symbio_lab.trust.evaluation_payload import MeasuredRate as MeasuredRate
from symbio_lab.trust.evaluation_payload import compose_evaluation, payload_to_evaluation
from symbio_lab.trust.evaluation_payload import evaluation_to_payload as evaluation_to_payload
from symbio_lab.trust.keys import PublicKey, SigningKey
from symbio_lab.trust.strict_fields import refuse


@dataclass(frozen=True, slots=True)
class EvaluationTally:
    """What a policy's evaluators say together about one patch; one vote a key."""

    num_improving: int = 0
    num_worsening: int = 0
    refused: tuple[str, ...] = ()
    """Trust codes of statements that were not counted, in the order given."""
    num_disputing: int = 0
    """Evaluators who measured clearly less than the publisher claims."""
    num_confirming: int = 0
    """Evaluators who bear out a claim and dispute none."""


def sign_evaluation(statement: EvaluationStatement, key: SigningKey) -> bytes:
    """Return the envelope file of ``statement``, signed by the evaluator that it names.

    Raises:
        TrustError: ``bad_manifest``: the statement names another evaluator, or breaks the schema.
    """
    if statement.keyid != key.keyid:
        raise refuse("evaluator.keyid", "the statement names another key than the one that signs")
    return sign_envelope(evaluation_to_payload(statement), key)


def open_evaluation(data: bytes, keys: Mapping[str, PublicKey]) -> EvaluationStatement:
    """Return the statement of an envelope whose signature is by the evaluator that it names.

    Raises:
        TrustError: every code of ``open_envelope`` and of ``payload_to_evaluation``; ``bad_signature`` also when
            another enrolled key signed than the one named.
    """
    opened = open_envelope(data, keys)
    statement = payload_to_evaluation(opened.payload)
    if statement.keyid not in opened.keyids:
        raise TrustError("bad_signature", "the evaluation names another evaluator than the key that signed it")
    return statement


def refuse_leaky(statement: EvaluationStatement, judging_digests: Collection[str]) -> None:
    """Return nothing if ``statement`` touches no judging split.

    Args:
        statement: evaluation to check.
        judging_digests: content digests of the suites and splits by which healers are judged here.

    Raises:
        TrustError: ``leaky_evaluation``.
    """
    touched = sorted(name for name, digest in statement.splits.items() if digest in judging_digests)
    if statement.suite_digest in judging_digests:
        touched.append("the suite itself")
    if touched:
        raise TrustError("leaky_evaluation", f"the evaluation of {statement.patch_id} read {', '.join(touched)}")


def tally_evaluations(
    evaluations: Sequence[bytes],
    evaluators: Mapping[str, PublicKey],
    *,
    patch_digest: str,
    base_digest: str,
    publisher_hex: str,
    judging_digests: Collection[str] = (),
    claims: Iterable[ClaimedMetric] = (),
) -> EvaluationTally:
    """Return how many distinct evaluators saw the patch improve or worsen its base, and bear out or dispute its claims.

    Args:
        evaluations: envelope files, unverified.
        evaluators: keys whose evaluations count, by keyid.
        patch_digest: payload digest that the statements must be about.
        base_digest: base model that they must have used.
        publisher_hex: public key of the patch's publisher.
        judging_digests: see ``refuse_leaky``.
        claims: what the publisher's manifest claims; his own signed evaluations are claims without being named.
    """
    counted, refused = counted_evaluations(
        evaluations,
        evaluators,
        patch_digest=patch_digest,
        base_digest=base_digest,
        publisher_hex=publisher_hex,
        judging_digests=judging_digests,
    )
    own = own_evaluation(evaluations, patch_digest=patch_digest, base_digest=base_digest, publisher_hex=publisher_hex)
    claimed = tuple(claims)
    votes = [statement.after_ppm - statement.before_ppm for statement in counted]
    verdicts = [verdict_of(check_claims(statement, claimed, own)) for statement in counted]
    return EvaluationTally(
        sum(v > 0 for v in votes),
        sum(v < 0 for v in votes),
        refused,
        num_disputing=verdicts.count("disputed"),
        num_confirming=verdicts.count("confirmed"),
    )


def own_evaluation(
    evaluations: Iterable[bytes], *, patch_digest: str, base_digest: str, publisher_hex: str
) -> EvaluationStatement | None:
    """Return the newest evaluation that the publisher signed about his own patch: a claim, never a vote; None if none.

    Args:
        evaluations: envelope files, unverified.
        patch_digest: payload digest that the statement must be about.
        base_digest: base model that it must have used.
        publisher_hex: public key of the patch's publisher; empty finds nothing.
    """
    if not publisher_hex:
        return None
    key = PublicKey(publisher_hex)
    newest: EvaluationStatement | None = None
    for data in evaluations:
        try:
            statement = open_evaluation(data, {key.keyid: key})
        except TrustError:
            continue
        is_it = statement.patch_digest == patch_digest and statement.base_digest == base_digest
        if is_it and (newest is None or is_newer(statement, newest)):
            newest = statement
    return newest


def counted_evaluations(
    evaluations: Sequence[bytes],
    evaluators: Mapping[str, PublicKey],
    *,
    patch_digest: str,
    base_digest: str,
    publisher_hex: str,
    judging_digests: Collection[str] = (),
) -> tuple[tuple[EvaluationStatement, ...], tuple[str, ...]]:
    """Return the statements that count, one a key, and the trust codes of those that do not.

    A key has one vote, its newest statement; the publisher's own key has none. What cannot be counted is named by
    its trust code and never raises: a stranger's bad evaluation must not take a patch off the market.

    Args:
        evaluations: envelope files, unverified.
        evaluators: keys whose evaluations count, by keyid.
        patch_digest: payload digest that the statements must be about.
        base_digest: base model that they must have used.
        publisher_hex: public key of the patch's publisher.
        judging_digests: see ``refuse_leaky``.
    """
    newest: dict[str, EvaluationStatement] = {}
    refused: list[str] = []
    for data in evaluations:
        try:
            statement = open_evaluation(data, evaluators)
            refuse_leaky(statement, judging_digests)
        except TrustError as error:
            refused.append(error.code)
            continue
        public_hex = evaluators[statement.keyid].public_hex
        if statement.patch_digest != patch_digest or statement.base_digest != base_digest:
            refused.append("wrong_patch")
        elif public_hex == publisher_hex:
            refused.append("unknown_key")
        elif public_hex not in newest or is_newer(statement, newest[public_hex]):
            newest[public_hex] = statement
    return tuple(newest.values()), tuple(refused)


def is_newer(statement: EvaluationStatement, known: EvaluationStatement) -> bool:
    """Return whether ``statement`` replaces ``known``; of equal times the greater bytes do, wherever they were read."""
    return (statement.issued, compose_evaluation(statement)) > (known.issued, compose_evaluation(known))
