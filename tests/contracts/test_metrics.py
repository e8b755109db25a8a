"""Every metric against its closed form, and what all metrics promise."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from symbio_lab.evaluation import metrics
from symbio_lab.evaluation.evaluate import BasePredictions, Outcomes, run_outcomes
from symbio_lab.evaluation.metrics import (
    accuracy_after,
    accuracy_before,
    delta_accuracy,
    expected_calibration_error,
    fix_rate,
    locality,
    negative_flip_rate,
    net_gain_pp,
    positive_flip_rate,
)
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.records import Interval, Sample
from symbio_lab.stats.intervals import clopper_pearson
from symbio_lab.testing.strategies import WORLDS
from symbio_lab.testing.tiny_market import incident, publish_good
from symbio_lab.trust.policy import PublisherKey, policy_for
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import verify_patch
from tests.fixtures_models import NOW, PUBLISHER, TinyModels

ONE_SPLIT: list[Callable[..., Interval]] = [
    accuracy_after,
    accuracy_before,
    delta_accuracy,
    fix_rate,
    locality,
    negative_flip_rate,
    positive_flip_rate,
]
EVERY = pytest.mark.parametrize("metric", ONE_SPLIT, ids=lambda m: m.__name__)


def outcomes(both: int, broken: int, fixed: int, neither: int) -> Outcomes:
    """Outcomes with these counts of (right, right), (right, wrong), (wrong, right), (wrong, wrong)."""
    before = [True] * (both + broken) + [False] * (fixed + neither)
    after = [True] * both + [False] * broken + [True] * fixed + [False] * neither
    answers = {True: "gold", False: "other"}
    return Outcomes(tuple(answers[b] for b in before), tuple(answers[a] for a in after), tuple(before), tuple(after))


def test_counts_are_paired() -> None:
    found = outcomes(5, 3, 2, 1)
    assert found.counts() == (5, 3, 2, 1)
    assert len(found) == 11


@pytest.mark.parametrize(
    ("metric", "k", "n"),
    [
        (fix_rate, 2, 3),
        (positive_flip_rate, 2, 3),
        (negative_flip_rate, 3, 8),
        (accuracy_before, 8, 11),
        (accuracy_after, 7, 11),
        (locality, 6, 11),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_rates_are_k_of_n_with_exact_intervals(metric: Callable[..., Interval], k: int, n: int) -> None:
    found = metric(outcomes(5, 3, 2, 1))
    assert found == Interval(k / n, *clopper_pearson(k, n), n)


def test_delta_accuracy_is_after_minus_before() -> None:
    found = delta_accuracy(outcomes(50, 3, 22, 25))
    assert found.value == pytest.approx(0.19)
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low < 0.19 < found.high <= 1
    assert found.n == 100


def test_net_gain_is_the_weighted_sum_of_both_changes() -> None:
    on_slice, on_control = outcomes(0, 0, 30, 10), outcomes(180, 12, 4, 4)
    found = net_gain_pp(on_slice, on_control)
    assert found.value == pytest.approx(100 * (0.10 * 30 / 40 + 0.90 * (4 - 12) / 200))
    for share in (0.01, 0.30):
        expected = 100 * (share * 0.75 + (1 - share) * -0.04)
        assert net_gain_pp(on_slice, on_control, share).value == pytest.approx(expected)


def test_net_gain_bounds_are_mover_s() -> None:
    on_slice, on_control = outcomes(2, 1, 30, 7), outcomes(180, 12, 4, 4)
    parts, weights = [delta_accuracy(on_slice), delta_accuracy(on_control)], [10.0, 90.0]
    found = net_gain_pp(on_slice, on_control)
    below = math.sqrt(sum((w * ((p.value or 0) - (p.low or 0))) ** 2 for p, w in zip(parts, weights, strict=True)))
    above = math.sqrt(sum((w * ((p.high or 0) - (p.value or 0))) ** 2 for p, w in zip(parts, weights, strict=True)))
    assert found.low == pytest.approx((found.value or 0) - below)
    assert found.high == pytest.approx((found.value or 0) + above)


@pytest.mark.parametrize(("fixed", "broken", "gain"), [(1.0, 0.0, 10.0), (0.0, 1.0, -90.0), (1.0, 1.0, -80.0)])
def test_net_gain_at_its_corners(fixed: float, broken: float, gain: float) -> None:
    on_slice = outcomes(0, 0, 20, 0) if fixed else outcomes(0, 0, 0, 20)
    on_control = outcomes(0, 20, 0, 0) if broken else outcomes(20, 0, 0, 0)
    assert net_gain_pp(on_slice, on_control).value == pytest.approx(gain)


def test_calibration_error_is_the_mean_gap_over_bins() -> None:
    assert expected_calibration_error([], []) is None
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0.0
    assert expected_calibration_error([0.8] * 10, [True] * 8 + [False] * 2) == pytest.approx(0.0)
    # Two bins: gaps of |1 - 1.8| and |0 - 0.2| over three samples.
    assert expected_calibration_error([0.9, 0.9, 0.2], [True, False, False]) == pytest.approx((0.8 + 0.2) / 3)
    assert expected_calibration_error([0.0], [True]) == 1.0


@EVERY
def test_nothing_changed_means_nothing_gained_or_lost(metric: Callable[..., Interval]) -> None:
    same = outcomes(40, 0, 0, 10)
    value = metric(same).value
    expected = {"locality": 1.0, "accuracy_before": 0.8, "accuracy_after": 0.8}.get(metric.__name__, 0.0)
    assert value == pytest.approx(expected)


@EVERY
def test_no_samples_exclude_nothing(metric: Callable[..., Interval]) -> None:
    found = metric(outcomes(0, 0, 0, 0))
    assert found.value is None
    assert found.n == 0
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low >= 1.0


@EVERY
def test_the_interval_holds_the_value_and_shrinks_with_n(metric: Callable[..., Interval]) -> None:
    widths = []
    for scale in (1, 10):
        found = metric(outcomes(20 * scale, 3 * scale, 8 * scale, 5 * scale))
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.low <= found.value <= found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0]


@EVERY
def test_a_smaller_alpha_gives_a_wider_interval(metric: Callable[..., Interval]) -> None:
    data = outcomes(20, 3, 8, 5)
    wide, narrow = metric(data, 0.01), metric(data, 0.10)
    assert (wide.low or 0) < (narrow.low or 0)
    assert (wide.high or 0) > (narrow.high or 0)


def test_every_public_metric_is_tested_here() -> None:
    public = {name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))}
    assert public == {m.__name__ for m in ONE_SPLIT} | {"expected_calibration_error", "net_gain_pp"}


# ------------------------------------------------------------------------------- on real answers of both task types


@pytest.fixture(scope="module", params=WORLDS)
def measured(
    request: pytest.FixtureRequest, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[list[bool], list[bool], Outcomes]]:
    """Which answers were right before and after a patch, by hand and as the lab measures it: on slice and control."""
    member, shift = WORLDS[request.param]
    model, task = incident(tiny, member, shift)
    folder = tmp_path_factory.mktemp(f"metrics-{request.param}")
    publish_good(model, DirectoryTransport(folder / "market"), folder / "store", shift)
    (root,) = folder.glob("market/patches/good/patch/v1")
    keys = [PublisherKey(PUBLISHER.public_hex, "publisher")]
    patch = verify_patch(root, policy_for(keys), TrustedState(), now=NOW, store=folder / "verified")

    def right(samples: Sequence[Sample]) -> list[bool]:
        return [model.is_correct(model.predict([s.text]).outputs[0], s.expected) for s in samples]

    found = {}
    for name, samples in {"slice": task.selection, "control": task.control_selection}.items():
        before = right(samples)
        with model.applied(patch):
            after = right(samples)
        found[name] = (before, after, run_outcomes(model, patch, samples, BasePredictions(model)))
    return found


@pytest.mark.parametrize("split", ["slice", "control"])
def test_metrics_measure_what_was_answered(measured: Any, split: str) -> None:
    before, after, found = measured[split]
    pairs = list(zip(before, after, strict=True))
    flips = {flip: sum(pair == flip for pair in pairs) for flip in ((True, False), (False, True))}
    assert accuracy_before(found).value == pytest.approx(sum(before) / len(before))
    assert accuracy_after(found).value == pytest.approx(sum(after) / len(after))
    assert delta_accuracy(found).value == pytest.approx((sum(after) - sum(before)) / len(before))
    assert (fix_rate(found).value or 0.0) == pytest.approx(flips[False, True] / max(before.count(False), 1))
    assert (negative_flip_rate(found).value or 0.0) == pytest.approx(flips[True, False] / max(before.count(True), 1))
    same = sum(b == a for b, a in zip(found.before, found.after, strict=True))
    assert locality(found).value == pytest.approx(same / len(before))


def test_a_patch_that_heals_gains(measured: Any) -> None:
    on_slice, on_control = (measured[name][2] for name in ("slice", "control"))
    assert (accuracy_before(on_slice).value, accuracy_before(on_control).value) == (0.0, pytest.approx(1.0, abs=0.05))
    assert (fix_rate(on_slice).value or 0.0) > 0.5
    assert (net_gain_pp(on_slice, on_control).value or 0.0) > 2.0
