"""Detectors against river, naive sums, brute force, and the uniform distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from river import drift
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from symbio_lab.monitor.detectors.catalogue import make_detector
from symbio_lab.monitor.detectors.domain_classifier import DomainClassifier, rank_auc
from symbio_lab.monitor.detectors.e_bh import e_bh
from symbio_lab.monitor.detectors.e_detector import EDetector
from symbio_lab.monitor.detectors.mmd import Mmd, mmd_squared, rbf_kernel
from symbio_lab.monitor.detectors.protocol import find_alarms
from symbio_lab.monitor.detectors.rise_evidence import LIFTS, MARGIN_ALPHA, RiseEvidence
from symbio_lab.seeding import numpy_generator
from symbio_lab.stats.intervals import clopper_pearson_upper


def stream(seed: int, *parts: tuple[int, float]) -> list[bool]:
    generator = numpy_generator(seed, "detector equivalence")
    return [bool(x) for count, rate in parts for x in generator.random(count) < rate]


THEIRS: dict[str, tuple[dict[str, Any], Any]] = {
    "adwin": ({}, lambda: drift.ADWIN()),
    "adwin with settings": ({"delta": 0.05, "clock": 8}, lambda: drift.ADWIN(delta=0.05, clock=8)),
    "page_hinkley": (
        {},
        lambda: drift.PageHinkley(min_instances=100, delta=0.02, threshold=15.0, alpha=1.0, mode="up"),
    ),
    "page_hinkley with settings": (
        {"threshold": 8.0, "forgetting": 0.9999},
        lambda: drift.PageHinkley(min_instances=100, delta=0.02, threshold=8.0, alpha=0.9999, mode="up"),
    ),
    "ddm": ({}, lambda: drift.binary.DDM()),
    "ddm with settings": (
        {"warm_start": 100, "drift_threshold": 2.5},
        lambda: drift.binary.DDM(warm_start=100, drift_threshold=2.5),
    ),
}


@pytest.mark.parametrize("case", THEIRS)
@pytest.mark.parametrize("seed", range(3))
def test_wrapped_detectors_alarm_where_river_does(case: str, seed: int) -> None:
    outcomes = stream(seed, (2000, 0.1), (2000, 0.3), (2000, 0.05), (1000, 0.5))
    settings, make = THEIRS[case]
    theirs, expected = make(), []
    for event, failed in enumerate(outcomes, start=1):
        theirs.update(int(failed))
        if theirs.drift_detected:
            expected.append(event)
    assert list(find_alarms(make_detector(case.split()[0], **settings), outcomes)) == expected != []


# ------------------------------------------------------------------------------------------------- the e-detector


def ratio(failed: bool, rate: float, lift: float) -> float:
    odds = lift * rate / (1 - rate)
    lifted = odds / (1 + odds)
    return lifted / rate if failed else (1 - lifted) / (1 - rate)


def naive_statistic(outcomes: list[bool], rates: list[float]) -> float:
    """Sum over all starts of the product of likelihood ratios since, mean over lifts: O(n^2) products."""
    n = len(outcomes)
    total = 0.0
    for lift in LIFTS:
        ratios = [ratio(x, p, lift) for x, p in zip(outcomes, rates, strict=True)]
        total += sum(math.prod(ratios[start:]) for start in range(n))
    return total / len(LIFTS)


def test_the_statistic_is_the_naive_sum() -> None:
    outcomes = stream(0, (150, 0.1), (60, 0.3))
    evidence = RiseEvidence(0.1)
    for n in range(1, len(outcomes) + 1):
        found = evidence.add(outcomes[n - 1])
        assert found == pytest.approx(naive_statistic(outcomes[:n], [0.1] * n), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_alarms_are_those_of_the_naive_sum_with_restarts(seed: int) -> None:
    outcomes = stream(seed, (200, 0.1), (200, 0.45))
    expected, since = [], 0
    for n in range(1, len(outcomes) + 1):
        if naive_statistic(outcomes[since:n], [0.1] * (n - since)) >= 10_000:
            expected.append(n)
            since = n
    assert list(find_alarms(EDetector(reference_rate=0.1), outcomes)) == expected != []


def test_a_learnt_reference_is_the_upper_bound_of_what_was_seen_before() -> None:
    outcomes = stream(5, (240, 0.1))
    evidence = RiseEvidence(num_reference_events=50, max_reference_events=100)
    rates: list[float | None] = []
    for failed in outcomes:
        rates.append(evidence.reference_rate)
        evidence.add(failed)
    bounds = {n: clopper_pearson_upper(sum(outcomes[:n]), n, MARGIN_ALPHA) for n in (50, 100)}
    assert rates == [None] * 50 + [bounds[50]] * 50 + [bounds[100]] * 140
    known = [rate for rate in rates if rate is not None]
    assert evidence.statistic == pytest.approx(naive_statistic(outcomes[50:], known), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_start_of_the_rise_is_the_most_likely_one(seed: int) -> None:
    outcomes = stream(seed, (100, 0.1), (60, 0.35))
    evidence = RiseEvidence(0.1)
    for failed in outcomes:
        evidence.add(failed)
    n = len(outcomes)
    likelihood = {
        (start, lift): math.prod(ratio(x, 0.1, lift) for x in outcomes[start:]) for start in range(n) for lift in LIFTS
    }
    start = max(likelihood, key=lambda key: likelihood[key])[0]
    found = evidence.rise_start()
    assert found is not None
    assert (found.event, found.num_events) == (start + 1, n - start)
    assert found.rate == pytest.approx(sum(outcomes[start:]) / (n - start))


def test_e_bh_is_benjamini_hochberg_on_reciprocals() -> None:
    from statsmodels.stats.multitest import multipletests

    generator = numpy_generator(0, "e-bh")
    for _ in range(200):
        values = np.exp(generator.normal(1.0, 3.0, 12))
        alpha = 0.1
        # e-BH at K / alpha is BH on min(1, 1 / e); near the boundary both round alike.
        rejected = multipletests(np.minimum(1.0, 1.0 / values), alpha, method="fdr_bh")[0]
        assert sorted(e_bh(list(values), level=12 / alpha)) == list(np.flatnonzero(rejected))


# ------------------------------------------------------------------------------------------------------ shift tests


def test_mmd_is_the_brute_force_formula() -> None:
    generator = numpy_generator(0, "mmd")
    first, second = generator.normal(0, 1, (15, 4)), generator.normal(0.5, 1, (21, 4))
    pooled = np.vstack([first, second])
    squared = [float(((a - b) ** 2).sum()) for i, a in enumerate(pooled) for b in pooled[:i]]
    bandwidth = float(np.median(squared))

    def k(a: Any, b: Any) -> float:
        return math.exp(-float(((a - b) ** 2).sum()) / (2 * bandwidth))

    n, m = len(first), len(second)
    expected = sum(k(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    expected += sum(k(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    expected -= 2 * sum(k(a, b) for a in first for b in second) / (n * m)
    assert Mmd(seed=0, num_permutations=19).compare(first, second).statistic == pytest.approx(expected, abs=1e-12)


def test_the_kernel_is_that_of_scikit_learn() -> None:
    from sklearn.metrics.pairwise import rbf_kernel as theirs

    rows = numpy_generator(1, "kernel").normal(0, 1, (30, 5))
    squared = cdist(rows, rows, "sqeuclidean")[np.triu_indices(30, 1)]
    assert rbf_kernel(rows) == pytest.approx(theirs(rows, gamma=1 / (2 * np.median(squared))), abs=1e-12)


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    generator = numpy_generator(4, "auc")
    for _ in range(20):
        scores, labels = generator.integers(0, 9, 30) / 9, generator.permutation(np.repeat([False, True], [18, 12]))
        assert rank_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_unbiased_means_zero_on_average() -> None:
    generator = numpy_generator(2, "mmd")
    kernel = rbf_kernel(generator.normal(0, 1, (40, 3)))
    labels = np.stack([generator.permutation(np.repeat([False, True], 20)) for _ in range(4000)])
    values = mmd_squared(kernel, labels)
    # The mean over all relabellings of fixed rows is exactly 0.
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))


@pytest.mark.parametrize("name", ["mmd", "domain_classifier"])
def test_p_values_are_uniform_without_a_shift(name: str) -> None:
    generator = numpy_generator(3, name, "null")
    p_values = []
    for run in range(60):
        first, second = generator.standard_t(3, (24, 3)), generator.standard_t(3, (24, 3))
        if name == "mmd":
            test: Any = Mmd(seed=run, num_permutations=99)
        else:
            test = DomainClassifier(seed=run, num_permutations=19, num_folds=2)
        p_values.append(test.compare(first, second).p_value)
    # p is uniform on multiples of 1 / (B + 1); spread over each step it is uniform on (0, 1).
    step = 1 / 100 if name == "mmd" else 1 / 20
    spread = np.array(p_values) - step * generator.random(len(p_values))
    assert kstest(spread, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.1) < 0.22
