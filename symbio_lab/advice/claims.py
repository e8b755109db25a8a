"""Running somebody's claim again: the real model, base and patched, on data that nobody judges by.

Rules:
    1. What is run is an ``EvaluationSuite``: unfiltered traffic of the slice that the patch is for, and unfiltered
       traffic outside it. Whoever builds one chooses splits that no judge reads, so that the signed result is no
       ``leaky_evaluation`` (``scenarios/evaluation_suites.py`` says which).
    2. Digests name samples whatever their order, so everybody who has the data has the same suite.
    3. Two rates are measured under the names that publishers claim: ``fix_rate`` of the base's failures in the slice
       whose gold label the patch names (all of them where it names none), and ``negative_flip_rate`` of what the base
       gets right outside. Where the slice holds nothing that the patch says it is for, no fix rate is measured: it
       would be a figure of the same name about something else.
    4. Every claim is confirmed, disputed or undecided by intervals (``trust/claim_checks.py``): the manifest's, the
       publisher's own signed evaluation, and those of other evaluators.

Example:
    >>> suite = EvaluationSuite("mine", (Sample("a", "x", "g"), Sample("b", "x", "h")), (Sample("c", "y", "i"),))
    >>> turned = EvaluationSuite("yours", suite.slice[::-1], suite.control)
    >>> suite.digest == turned.digest, sorted(suite.splits)
    (True, ['control', 'slice'])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from symbio_lab.errors import EmptySliceError
from symbio_lab.evaluation.evaluate import BasePredictions, Outcomes, run_outcomes
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Patch, PatchManifest, Sample, content_id
from symbio_lab.trust.claim_checks import ClaimCheck, ClaimVerdict, check_claims, incomparable, verdict_of
from symbio_lab.trust.evaluation_payload import (
    COUNTED_SCHEMA,
    EvaluationStatement,
    MeasuredRate,
    compose_evaluation,
    ppm_of,
)

SLICE, CONTROL = "slice", "control"
"""Names of the two splits in signed evaluations."""


@dataclass(frozen=True, slots=True)
class EvaluationSuite:
    """What an evaluation reads."""

    name: str
    """For people: a scenario, or a table and its slice."""
    slice: tuple[Sample, ...]
    """Traffic of the slice, what the base gets right included."""
    control: tuple[Sample, ...]
    """Traffic outside it."""
    seeds: tuple[int, ...] = ()
    """Seed that drew the samples; empty where all were taken."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how it came about, in sentences."""

    @property
    def splits(self) -> dict[str, str]:
        """Split name -> content digest of its samples; empty splits are left out."""
        parts = {SLICE: self.slice, CONTROL: self.control}
        return {name: split_digest(samples) for name, samples in parts.items() if samples}

    @property
    def digest(self) -> str:
        """Content digest of the whole suite, 64 hex: equal data, equal digest, whatever the name."""
        return content_id(sorted(self.splits.items()))


@dataclass(frozen=True, slots=True)
class Rerun:
    """Base and patched model on one suite."""

    suite: EvaluationSuite
    on_slice: Outcomes
    on_control: Outcomes
    judge: str
    """``label``, ``exact_match`` or ``slots``."""
    num_meant: int
    """Samples of the slice that the patch says it is for."""
    measures: tuple[MeasuredRate, ...]
    """Rates under the names that publishers claim, sorted by name."""

    def passed(self) -> tuple[int, int]:
        """Return the right answers before and after, of the whole suite."""
        parts = (self.on_slice, self.on_control)
        return sum(sum(o.right_before) for o in parts), sum(sum(o.right_after) for o in parts)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.on_slice) + len(self.on_control)


@dataclass(frozen=True, slots=True)
class ClaimReport:
    """What a repetition says about one claimant."""

    by: str
    """Keyid of whoever claims."""
    source: str
    """``manifest``, ``publisher's evaluation`` or ``evaluation``."""
    verdict: ClaimVerdict
    checks: tuple[ClaimCheck, ...]
    incomparable: tuple[str, ...] = ()
    """Claims that cannot be compared, and why."""


def split_digest(samples: Iterable[Sample]) -> str:
    """Return the content digest of a split, whatever the order of its samples."""
    return content_id(sorted(sample.sample_id for sample in samples))


def rerun(model: PatchableModel, patch: Patch, suite: EvaluationSuite) -> Rerun:
    """Return what base and patched model answer on ``suite``.

    Args:
        model: the base that the patch was made for.
        patch: a verified patch.
        suite: what to run.

    Raises:
        EmptySliceError: the suite has no sample.
        BaseMismatchError: the patch was made for another base.
        PatchApplyError: it does not fit the model's modules.
    """
    if not (suite.slice or suite.control):
        raise EmptySliceError(f"the suite {suite.name} has no sample")
    base = BasePredictions(model)
    on_slice = run_outcomes(model, patch, suite.slice, base)
    on_control = run_outcomes(model, patch, suite.control, base)
    meant = [_is_meant(sample, patch.manifest) for sample in suite.slice]
    return Rerun(suite, on_slice, on_control, judge_of(model), sum(meant), _measures(on_slice, on_control, meant))


def judge_of(model: PatchableModel) -> str:
    """Return the kind of judge by which the lab tells right answers of ``model`` from wrong ones."""
    if model.task_type == "text_classification":
        return "label"
    return "slots" if getattr(model, "match", "exact") == "slots" else "exact_match"


def state_evaluation(run: Rerun, patch: Patch, *, keyid: str, issued: str, environment: str) -> EvaluationStatement:
    """Return the statement of a repetition, ready to be signed.

    Args:
        run: what was answered.
        patch: which patch was run.
        keyid: evaluator, 64 hex.
        issued: UTC time, ``2026-01-31T12:00:00Z``.
        environment: digest of what it was computed with, 64 hex.
    """
    before, after = run.passed()
    return EvaluationStatement(
        patch_id=patch.patch_id,
        patch_digest=patch.digest,
        keyid=keyid,
        base_digest=patch.manifest.base_digest,
        suite_digest=run.suite.digest,
        n=len(run),
        before_ppm=ppm_of(before, len(run)),
        after_ppm=ppm_of(after, len(run)),
        issued=issued,
        splits=run.suite.splits,
        schema=COUNTED_SCHEMA,
        seeds=run.suite.seeds,
        passed_before=before,
        passed_after=after,
        environment=environment,
        judge=run.judge,
        measures=run.measures,
    )


def check_publisher(
    statement: EvaluationStatement, manifest: PatchManifest, own: EvaluationStatement | None = None
) -> ClaimReport:
    """Return what a repetition says about the publisher's claims.

    Args:
        statement: the repetition.
        manifest: with the claims.
        own: an evaluation that the publisher signed himself, if there is one.
    """
    checks = check_claims(statement, manifest.claims, own)
    source = "manifest" if own is None else "manifest and the publisher's evaluation"
    reasons = incomparable(statement, manifest.claims)
    return ClaimReport(manifest.keyid, source, verdict_of(checks), checks, reasons)


def check_evaluators(statement: EvaluationStatement, others: Sequence[EvaluationStatement]) -> tuple[ClaimReport, ...]:
    """Return what a repetition says about other evaluators' statements on the same payload and base, by keyid."""
    reports = []
    for other in sorted(others, key=lambda said: (said.keyid, compose_evaluation(said))):
        same = (other.patch_digest, other.base_digest) == (statement.patch_digest, statement.base_digest)
        if not same or other.keyid == statement.keyid:
            continue
        checks = check_claims(statement, (), other)
        reasons = () if checks else (_why_not(statement, other),)
        reports.append(ClaimReport(other.keyid, "evaluation", verdict_of(checks), checks, reasons))
    return tuple(reports)


def _why_not(statement: EvaluationStatement, other: EvaluationStatement) -> str:
    if not other.measures:
        return "another suite, and it names no rates"
    measured: Mapping[str, MeasuredRate] = {rate.name: rate for rate in statement.measures}
    names = ", ".join(rate.name for rate in other.measures if rate.name not in measured)
    return f"another suite, and this repetition measured no {names or 'rate that is compared by name'}"


def _is_meant(sample: Sample, manifest: PatchManifest) -> bool:
    """Return whether a sample of the slice is of what the patch says it is for."""
    if manifest.labels:
        return sample.expected in manifest.labels
    return not manifest.domain or manifest.domain == sample.domain


def _measures(on_slice: Outcomes, on_control: Outcomes, meant: Sequence[bool]) -> tuple[MeasuredRate, ...]:
    rates = []
    failed = [
        after
        for before, after, is_meant in zip(on_slice.right_before, on_slice.right_after, meant, strict=True)
        if is_meant and not before
    ]
    if failed:
        rates.append(MeasuredRate("fix_rate", sum(failed), len(failed)))
    kept, broken, _, _ = on_control.counts()
    if kept + broken:
        rates.append(MeasuredRate("negative_flip_rate", broken, kept + broken))
    return tuple(rates)
