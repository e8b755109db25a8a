"""Screening: run candidates on the repair samples and rank them; the gate decides later, on other samples.

A candidate's score is its estimated net gain with the slice at share pi, on ``repair`` (failures) and on a guard of
replay samples. Ties go to the earlier candidate, so search order breaks them.

References:
    Notes in DESIGN section 5: the score of the winner is optimistic (winner's curse); nothing is deployed on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symbio_lab.budget import CostMeter
from symbio_lab.errors import ModelError
from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
from symbio_lab.evaluation.metrics.net_gain import SLICE_SHARE
from symbio_lab.events import CandidateScreened, Listener, emit
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Patch, Sample

MAX_GUARD = 256
"""Replay samples that every candidate runs on."""


@dataclass(frozen=True, slots=True)
class Screened:
    """One candidate's figures on screening data."""

    patch: Patch
    score: float
    """Estimated net gain, in percentage points."""
    fix_rate: float
    """On ``repair``, in [0, 1]."""
    flip_rate: float
    """On the guard, in [0, 1]."""
    num_failures: int
    num_guard: int
    problem: ModelError | None = None
    """The patch does not fit the model; it was not run."""


def screen(
    model: PatchableModel,
    patches: Sequence[Patch],
    repair: Sequence[Sample],
    replay: Sequence[Sample],
    base: BasePredictions,
    meter: CostMeter,
    listener: Listener | None = None,
) -> list[Screened]:
    """Return the candidates' figures, in the order given.

    Raises:
        BudgetExceededError: a candidate does not fit the budget any more.
    """
    guard = tuple(replay)[:MAX_GUARD]
    results: list[Screened] = []
    for patch in patches:
        meter.check_wall()
        try:
            fixed = run_outcomes(model, patch, repair, base, meter)
            flipped = run_outcomes(model, patch, guard, base, meter)
        except ModelError as error:
            results.append(Screened(patch, float("-inf"), 0.0, 0.0, 0, 0, error))
            continue
        _, _, hits, misses = fixed.counts()
        kept, broken, _, _ = flipped.counts()
        fix = hits / max(hits + misses, 1)
        flip = broken / max(kept + broken, 1)
        score = 100 * (SLICE_SHARE * fix - (1 - SLICE_SHARE) * flip)
        results.append(Screened(patch, score, fix, flip, hits + misses, kept + broken))
        emit(listener, CandidateScreened(patch.patch_id, fix, flip, hits + misses))
    return results


def best_of(results: Sequence[Screened]) -> Screened | None:
    """Return the candidate with the highest score above doing nothing, or None."""
    usable = [r for r in results if r.problem is None and r.score > 0]
    return max(usable, key=lambda r: r.score) if usable else None
