"""Outcomes before and after, what they are charged, and screening."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.errors import BudgetExceededError
from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
from symbio_lab.evaluation.screening import MAX_GUARD, Screened, best_of, screen
from symbio_lab.events import CandidateScreened, Event
from symbio_lab.records import Patch
from symbio_lab.surgery.head_retrain import HeadRetrain
from tests.fixtures_models import (
    NEW,
    TinyModels,
    head_rows,
    known_samples,
    new_samples,
    query_modules,
    random_deltas,
    seal,
    seal_operated,
)


@pytest.fixture
def model(tiny: TinyModels) -> Any:
    return tiny.load("pooled")


@pytest.fixture
def good(model: Any, tmp_path: Path) -> Patch:
    operated = HeadRetrain().operate(model, new_samples(10), known_samples(40), seed=0, meter=meter())
    return seal_operated(model, tmp_path, operated, patch_id="alice/good")


@pytest.fixture
def misfit(model: Any, tmp_path: Path) -> Patch:
    deltas = random_deltas(model, query_modules(model)[:1])
    return seal(model, tmp_path, {"nowhere": next(iter(deltas.values()))}, patch_id="alice/misfit")


def meter(forwards: float = 1e6) -> CostMeter:
    return CostMeter(Budget(forwards_equivalent=forwards))


def test_outcomes_are_paired_with_the_base(model: Any, good: Patch) -> None:
    samples = (*new_samples(10, seed=3), *known_samples(5, seed=3))
    base = BasePredictions(model)
    found = run_outcomes(model, good, samples, base)
    assert found.before == model.predict([s.text for s in samples]).outputs
    with model.applied(good):
        assert found.after == model.predict([s.text for s in samples]).outputs
    _, _, fixed, unfixed = found.counts()
    assert fixed > 0.9 * (fixed + unfixed)
    assert len(found.confidence_before) == len(found.confidence_after) == len(found)


def test_without_a_patch_nothing_changes(model: Any) -> None:
    found = run_outcomes(model, None, new_samples(3), BasePredictions(model))
    assert found.before == found.after
    assert found.right_before == found.right_after


def test_no_samples_have_no_outcomes(model: Any, good: Patch) -> None:
    spent = meter()
    found = run_outcomes(model, good, (), BasePredictions(model), spent)
    assert (len(found), found.counts(), spent.spent()) == (0, (0, 0, 0, 0), 0)


def test_the_base_is_charged_once_a_split_the_patch_each_time(model: Any, good: Patch) -> None:
    samples, base, spent = new_samples(10), BasePredictions(model), meter()
    for expected in (40, 60):
        run_outcomes(model, good, samples, base, spent)
        assert spent.spent() == expected
    run_outcomes(model, good, samples[:5], base, spent)
    assert spent.spent() == 70


def test_the_judge_is_not_charged_and_a_budget_is_kept(model: Any, good: Patch) -> None:
    base = BasePredictions(model)
    run_outcomes(model, good, new_samples(10), base)
    short = meter(19)
    with pytest.raises(BudgetExceededError):
        run_outcomes(model, good, new_samples(10), base, short)
    assert short.spent() == 0


def test_screening_ranks_the_good_patch_first(model: Any, good: Patch, misfit: Patch, tmp_path: Path) -> None:
    breaking = seal(model, tmp_path, random_deltas(model, query_modules(model), scale=3.0), patch_id="alice/breaking")
    events: list[Event] = []
    given = [breaking, misfit, good]
    found = screen(
        model, given, new_samples(10, seed=3), known_samples(10, seed=3), BasePredictions(model), meter(), events.append
    )
    assert [r.patch for r in found] == given
    assert best_of(found) is found[2]
    assert found[2].fix_rate > 0.9
    assert found[2].score == pytest.approx(100 * (0.1 * found[2].fix_rate - 0.9 * found[2].flip_rate))
    assert found[1].problem is not None
    assert [e.ref for e in events if isinstance(e, CandidateScreened)] == ["alice/breaking", "alice/good"]


def test_the_guard_is_bounded(model: Any, good: Patch) -> None:
    replay = known_samples(100)
    assert len(replay) > MAX_GUARD
    (found,) = screen(model, [good], new_samples(2), replay, BasePredictions(model), meter())
    assert found.num_guard <= MAX_GUARD


def test_doing_nothing_beats_a_patch_that_gains_nothing(model: Any, tmp_path: Path) -> None:
    idle = seal(model, tmp_path, rows=head_rows(NEW, scale=1e-6), patch_id="alice/idle")
    found = screen(model, [idle], new_samples(5), known_samples(5), BasePredictions(model), meter())
    assert found[0].score <= 0
    assert best_of(found) is None
    assert best_of([]) is None


def test_ties_go_to_the_earlier_candidate(good: Patch) -> None:
    made = [Screened(good, score, 0.5, 0.0, 10, 10) for score in (1.0, 2.0, 2.0)]
    assert best_of(made) is made[1]
