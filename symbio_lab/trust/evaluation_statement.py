"""A signed evaluation: what somebody measured about one exact version of a patch.

Rules:
    1. The subject is the digest of the patch's *payload*, so an evaluation cannot move to another version.
    2. Rates are integers in parts per million, with n; the digests of the data splits used are named.
    3. An evaluation that touches a split by which healers are judged here is leaky and refused: it would tell a
       marketplace search the answers.
    4. It is a claim by its signer. It raises the trust level of a patch; it never replaces the gate.

Predicate type: ``https://symbio-lab.dev/attestations/evaluation/v1``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import open_envelope, sign_envelope
from symbio_lab.trust.keys import PublicKey, SigningKey
from symbio_lab.trust.naming import check_patch_id
from symbio_lab.trust.statement import read_statement, write_statement
from symbio_lab.trust.strict_fields import digest_set, hex_digest, integer, refuse, take, text, utc_time

EVALUATION_TYPE = "https://symbio-lab.dev/attestations/evaluation/v1"
EVALUATION_SCHEMA = 1
PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class EvaluationStatement:
    """One evaluator's figures for one version of a patch."""

    patch_id: str
    patch_digest: str
    """SHA-256 of the patch's payload, 64 hex."""
    keyid: str
    """Evaluator, 64 hex."""
    base_digest: str
    suite_digest: str
    """Content digest of the failure suite, 64 hex."""
    n: int
    """Number of samples."""
    before_ppm: int
    """Accuracy of the base, in parts per million."""
    after_ppm: int
    """Accuracy of the patched model, in parts per million."""
    issued: str
    splits: Mapping[str, str] = field(default_factory=dict)
    """Split name -> content digest of its samples, for every split that was read."""


@dataclass(frozen=True, slots=True)
class EvaluationTally:
    """What a policy's evaluators say together about one patch; one vote a key."""

    num_improving: int = 0
    num_worsening: int = 0
    refused: tuple[str, ...] = ()
    """Trust codes of statements that were not counted, in the order given."""


def evaluation_to_payload(statement: EvaluationStatement) -> bytes:
    """Return the payload bytes that are signed for ``statement``.

    Raises:
        TrustError: ``bad_manifest`` or ``unsafe_name``: the statement does not follow the schema.
    """
    payload = _compose(statement)
    payload_to_evaluation(payload)
    return payload


def payload_to_evaluation(payload: bytes) -> EvaluationStatement:
    """Return the statement in ``payload``, read strictly.

    Raises:
        TrustError: ``bad_manifest``, ``duplicate_key`` or ``unsafe_name``.
    """
    subjects, predicate = read_statement(payload, EVALUATION_TYPE)
    if len(subjects) != 1:
        raise refuse("subject", "an evaluation is about exactly one patch")
    schema, evaluator, base, suite, n, before, after, splits, issued = take(
        predicate, "predicate", "schema", "evaluator", "base", "suite", "n", "beforePpm", "afterPpm", "splits", "issued"
    )
    integer(schema, "schema", EVALUATION_SCHEMA, EVALUATION_SCHEMA)
    (keyid,) = take(evaluator, "evaluator", "keyid")
    if not isinstance(splits, dict) or not 1 <= len(splits) <= 64:
        raise refuse("splits", "the data splits that were read must be named")
    ((patch_id, digest),) = subjects.items()
    return EvaluationStatement(
        patch_id=check_patch_id(patch_id),
        patch_digest=digest,
        keyid=hex_digest(keyid, "evaluator.keyid"),
        base_digest=digest_set(base, "base"),
        suite_digest=digest_set(suite, "suite"),
        n=integer(n, "n", 1, 1 << 50),
        before_ppm=integer(before, "beforePpm", 0, PPM),
        after_ppm=integer(after, "afterPpm", 0, PPM),
        issued=utc_time(issued, "issued"),
        splits={text(name, "splits"): digest_set(value, f"splits.{name}") for name, value in splits.items()},
    )


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
) -> EvaluationTally:
    """Return how many distinct evaluators saw the patch improve or worsen its base.

    Args:
        evaluations: envelope files, unverified.
        evaluators: keys whose evaluations count, by keyid.
        patch_digest: payload digest that the statements must be about.
        base_digest: base model that they must have used.
        publisher_hex: public key of the patch's publisher.
        judging_digests: see ``refuse_leaky``.
    """
    counted, refused = counted_evaluations(
        evaluations,
        evaluators,
        patch_digest=patch_digest,
        base_digest=base_digest,
        publisher_hex=publisher_hex,
        judging_digests=judging_digests,
    )
    votes = [statement.after_ppm - statement.before_ppm for statement in counted]
    return EvaluationTally(sum(v > 0 for v in votes), sum(v < 0 for v in votes), refused)


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
        elif public_hex not in newest or _age(statement) > _age(newest[public_hex]):
            newest[public_hex] = statement
    return tuple(newest.values()), tuple(refused)


def _age(statement: EvaluationStatement) -> tuple[str, bytes]:
    # Equal times fall back to the bytes, so that the order of files on disk never decides.
    return statement.issued, _compose(statement)


def _compose(statement: EvaluationStatement) -> bytes:
    predicate = {
        "schema": EVALUATION_SCHEMA,
        "evaluator": {"keyid": statement.keyid},
        "base": {"sha256": statement.base_digest},
        "suite": {"sha256": statement.suite_digest},
        "n": statement.n,
        "beforePpm": statement.before_ppm,
        "afterPpm": statement.after_ppm,
        "splits": {name: {"sha256": digest} for name, digest in statement.splits.items()},
        "issued": statement.issued,
    }
    return write_statement({statement.patch_id: statement.patch_digest}, EVALUATION_TYPE, predicate)
