"""What a signed evaluation says, and its payload bytes: schemas 1 and 2, read strictly.

Rules:
    1. The subject is the digest of the patch's *payload*, so an evaluation cannot move to another version.
    2. Rates are integers in parts per million, with n; the digests of the data splits used are named.
    3. Schema 1 is frozen: accuracy before and after on n samples. Schema 2 adds what a repetition needs and what can
       be compared: the seeds and number of runs, a digest of the environment, the kind of judge, the answers that
       passed before and after as whole numbers over all runs, and the named rates that were measured
       (``MeasuredRate``: hits of n), because accuracy alone says neither what was fixed nor what was broken.
    4. What is said twice must agree: the parts per million of schema 2 follow from its whole numbers.

Predicate type: ``https://symbio-lab.dev/attestations/evaluation/v1``.

Example:
    >>> ppm_of(2, 3)
    666667
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from symbio_lab.trust.naming import check_patch_id
from symbio_lab.trust.statement import read_statement, write_statement
from symbio_lab.trust.strict_fields import array, digest_set, hex_digest, integer, refuse, take, text, utc_time

EVALUATION_TYPE = "https://symbio-lab.dev/attestations/evaluation/v1"
EVALUATION_SCHEMA = 1
"""Frozen."""
COUNTED_SCHEMA = 2
"""With whole numbers, seeds, environment and judge."""
PPM = 1_000_000
REPEATABLE_JUDGES = ("label", "exact_match", "slots")
"""Judges that give everybody the same verdict: gold label, gold output up to white space, slots of a gold reply."""
JUDGES = (*REPEATABLE_JUDGES, "model", "person")
MAX_RUNS = 1_000
MAX_MEASURES = 16
_MOST = 1 << 50


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """A named rate as whole numbers."""

    name: str
    """Metric: ``fix_rate`` (wrong before, right after) or ``negative_flip_rate`` (right before, wrong after) ..."""
    hits: int
    n: int
    """Samples that the rate is about, e.g. those that the base answered wrongly; at least 1."""


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
    """Number of distinct samples."""
    before_ppm: int
    """Accuracy of the base, in parts per million."""
    after_ppm: int
    """Accuracy of the patched model, in parts per million."""
    issued: str
    splits: Mapping[str, str] = field(default_factory=dict)
    """Split name -> content digest of its samples, for every split that was read."""
    schema: int = EVALUATION_SCHEMA
    """What follows is empty in schema 1."""
    runs: int = 1
    """How often every sample was answered."""
    seeds: tuple[int, ...] = ()
    """One for each run; empty where nothing was drawn."""
    passed_before: int = 0
    """Right answers of the base over all runs, at most ``n * runs``."""
    passed_after: int = 0
    """Right answers of the patched model over all runs."""
    environment: str = ""
    """Content digest of versions, device and precision, 64 hex."""
    judge: str = ""
    """One of ``JUDGES``."""
    measures: tuple[MeasuredRate, ...] = ()
    """Named rates, sorted by name."""


def ppm_of(hits: int, n: int) -> int:
    """Return ``hits`` of ``n`` in whole parts per million, halves upwards, by integers alone."""
    return (2 * PPM * hits + n) // (2 * n)


def evaluation_to_payload(statement: EvaluationStatement) -> bytes:
    """Return the payload bytes that are signed for ``statement``.

    Raises:
        TrustError: ``bad_manifest`` or ``unsafe_name``: the statement does not follow its schema.
    """
    payload = compose_evaluation(statement)
    if payload_to_evaluation(payload) != statement:
        raise refuse("statement", f"it holds fields that schema {statement.schema} does not have")
    return payload


def payload_to_evaluation(payload: bytes) -> EvaluationStatement:
    """Return the statement in ``payload``, read strictly, whichever schema it follows.

    Raises:
        TrustError: ``bad_manifest``, ``duplicate_key`` or ``unsafe_name``.
    """
    subjects, predicate = read_statement(payload, EVALUATION_TYPE)
    if len(subjects) != 1:
        raise refuse("subject", "an evaluation is about exactly one patch")
    names = ["schema", "evaluator", "base", "suite", "n", "beforePpm", "afterPpm", "splits", "issued"]
    stated = predicate.get("schema") if isinstance(predicate, dict) else None
    counted = isinstance(stated, int) and stated == COUNTED_SCHEMA
    if counted:
        names += ["runs", "seeds", "passedBefore", "passedAfter", "environment", "judge", "measures"]
    schema, evaluator, base, suite, n, before, after, splits, issued, *more = take(predicate, "predicate", *names)
    integer(schema, "schema", EVALUATION_SCHEMA, COUNTED_SCHEMA)
    (keyid,) = take(evaluator, "evaluator", "keyid")
    if not isinstance(splits, dict) or not 1 <= len(splits) <= 64:
        raise refuse("splits", "the data splits that were read must be named")
    ((patch_id, digest),) = subjects.items()
    statement = EvaluationStatement(
        patch_id=check_patch_id(patch_id),
        patch_digest=digest,
        keyid=hex_digest(keyid, "evaluator.keyid"),
        base_digest=digest_set(base, "base"),
        suite_digest=digest_set(suite, "suite"),
        n=integer(n, "n", 1, _MOST),
        before_ppm=integer(before, "beforePpm", 0, PPM),
        after_ppm=integer(after, "afterPpm", 0, PPM),
        issued=utc_time(issued, "issued"),
        splits={text(name, "splits"): digest_set(value, f"splits.{name}") for name, value in splits.items()},
        schema=schema,
        **(_counts(n, *more) if counted else {}),
    )
    if counted:
        judged = statement.n * statement.runs
        passed = (ppm_of(statement.passed_before, judged), ppm_of(statement.passed_after, judged))
        if passed != (statement.before_ppm, statement.after_ppm):
            raise refuse("beforePpm, afterPpm", "not the rates of the answers that passed")
    return statement


def _counts(
    n: int, runs: Any, seeds: Any, before: Any, after: Any, environment: Any, judge: Any, measures: Any
) -> dict[str, Any]:
    runs = integer(runs, "runs", 1, MAX_RUNS)
    drawn = tuple(integer(seed, f"seeds[{i}]", 0, _MOST) for i, seed in enumerate(array(seeds, "seeds", MAX_RUNS)))
    if len(drawn) not in (0, runs) or len(set(drawn)) != len(drawn):
        raise refuse("seeds", "neither empty nor one for each run, all different")
    if judge not in JUDGES:
        raise refuse("judge", f"not one of {', '.join(JUDGES)}")
    rates = tuple(_measure(item, f"measures[{i}]") for i, item in enumerate(array(measures, "measures", MAX_MEASURES)))
    names = [rate.name for rate in rates]
    if names != sorted(set(names)):
        raise refuse("measures", "not sorted by name, or a name repeats")
    return {
        "runs": runs,
        "seeds": drawn,
        "passed_before": integer(before, "passedBefore", 0, n * runs),
        "passed_after": integer(after, "passedAfter", 0, n * runs),
        "environment": digest_set(environment, "environment"),
        "judge": judge,
        "measures": rates,
    }


def _measure(value: Any, where: str) -> MeasuredRate:
    name, hits, n = take(value, where, "name", "hits", "n")
    n = integer(n, f"{where}.n", 1, _MOST)
    return MeasuredRate(text(name, f"{where}.name", 100), integer(hits, f"{where}.hits", 0, n), n)


def compose_evaluation(statement: EvaluationStatement) -> bytes:
    """Return the canonical bytes of ``statement`` without checking them; they also order statements of one age.

    Raises:
        TrustError: ``bad_manifest``: a float, or text that UTF-8 cannot carry.
    """
    predicate: dict[str, Any] = {
        "schema": statement.schema,
        "evaluator": {"keyid": statement.keyid},
        "base": {"sha256": statement.base_digest},
        "suite": {"sha256": statement.suite_digest},
        "n": statement.n,
        "beforePpm": statement.before_ppm,
        "afterPpm": statement.after_ppm,
        "splits": {name: {"sha256": digest} for name, digest in statement.splits.items()},
        "issued": statement.issued,
    }
    if statement.schema == COUNTED_SCHEMA:
        predicate |= {
            "runs": statement.runs,
            "seeds": list(statement.seeds),
            "passedBefore": statement.passed_before,
            "passedAfter": statement.passed_after,
            "environment": {"sha256": statement.environment},
            "judge": statement.judge,
            "measures": [{"name": rate.name, "hits": rate.hits, "n": rate.n} for rate in statement.measures],
        }
    return write_statement({statement.patch_id: statement.patch_digest}, EVALUATION_TYPE, predicate)


def right_answers(statement: EvaluationStatement) -> tuple[int, int]:
    """Return the right answers before and after, of ``n`` samples: of several runs their mean, rounded.

    >>> said = EvaluationStatement("a/b", "0" * 64, "1" * 64, "2" * 64, "3" * 64, 200, 400_000, 900_000, "")
    >>> right_answers(said)
    (80, 180)
    """
    before, after = (round(statement.n * ppm / PPM) for ppm in (statement.before_ppm, statement.after_ppm))
    return before, after


def is_repeatable(statement: EvaluationStatement) -> bool:
    """Return whether everybody who has the suite must get these figures: no model and no person judged them.

    Schema 1 does not name its judge; it was only ever written for gold labels and outputs.
    """
    return statement.schema == EVALUATION_SCHEMA or statement.judge in REPEATABLE_JUDGES
