"""What signed evaluations by others say of a candidate, as evidence for advice.

A statement of schema 2 names what it fixed (``fix_rate``) and what it broke elsewhere (``negative_flip_rate``); those
counts are taken as they are. Otherwise only the accuracy of base and patched model on n samples is known. Samples that
the base got wrong were tried; of these, as many count as fixed as the accuracy rose, so what the patch broke in the
same samples is taken off. Where the accuracy fell, nothing counts as fixed and as many of the samples that the base got
right as it fell by count as broken. Either way the samples need not be of the pattern at hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from symbio_lab.advice.recommending import FixEvidence
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.records import Candidate
from symbio_lab.trust.evaluation_payload import EvaluationStatement, right_answers


def signed_evidence(client: MarketplaceClient, candidates: Iterable[Candidate]) -> tuple[FixEvidence, ...]:
    """Return one entry for each evaluator and candidate.

    Args:
        client: the tenant's view of the market; its policy says whose evaluations count.
        candidates: search hits.

    Raises:
        StorageError: a market cannot be read.
    """
    return tuple(
        evidence_of(candidate.ref, statement) for candidate in candidates for statement in client.evaluations(candidate)
    )


def evidence_of(ref: str, statement: EvaluationStatement) -> FixEvidence:
    """Return an evaluation as counts.

    >>> said = EvaluationStatement("a/b", "0" * 64, "1" * 64, "2" * 64, "3" * 64, 200, 400_000, 900_000, "")
    >>> evidence = evidence_of("a/b", said)
    >>> evidence.num_fixed, evidence.num_failures
    (100, 120)
    >>> harmful = EvaluationStatement("a/b", "0" * 64, "1" * 64, "2" * 64, "3" * 64, 200, 900_000, 400_000, "")
    >>> harm = evidence_of("a/b", harmful)
    >>> harm.num_fixed, harm.num_broken, harm.num_controls
    (0, 100, 180)
    >>> from dataclasses import replace
    >>> from symbio_lab.trust.evaluation_payload import MeasuredRate
    >>> rates = (MeasuredRate("fix_rate", 40, 50), MeasuredRate("negative_flip_rate", 3, 150))
    >>> evidence_of("a/b", replace(said, schema=2, measures=rates)).num_broken
    3
    """
    rates = {rate.name: rate for rate in statement.measures}
    if (fixed := rates.get("fix_rate")) is not None:
        broken = rates.get("negative_flip_rate")
        harm = (broken.hits, broken.n) if broken is not None else (0, 0)
        return FixEvidence(ref, fixed.hits, fixed.n, *harm, by=statement.keyid)
    before, after = right_answers(statement)
    if after < before:
        return FixEvidence(ref, 0, statement.n - before, before - after, before, by=statement.keyid)
    return FixEvidence(ref, after - before, statement.n - before, by=statement.keyid)
