"""Practical equality, effects, planning, and every test's error rate where nothing is to be found."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from symbio_lab.errors import DataError
from symbio_lab.stats.aggregates import interquartile_mean, probability_of_improvement
from symbio_lab.stats.bootstrap import bca_interval, hierarchical_bootstrap
from symbio_lab.stats.effects import hodges_lehmann, rank_biserial
from symbio_lab.stats.paired import mcnemar_exact
from symbio_lab.stats.planning import blocks_needed
from symbio_lab.stats.practical import signed_rank_rope
from symbio_lab.stats.ranks import friedman, wilcoxon_holm


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def at_most(rate: float, n: int) -> float:
    """The share of n simulations that a true rate exceeds in fewer than 1 of 1,000 repetitions of this test."""
    return float(scipy.stats.binom.ppf(0.999, n, rate)) / n


# Practical equality.


@pytest.mark.parametrize(
    ("centre", "spread", "theirs"),
    [
        (0.0, 0.3, (0.0, 1.0, 0.0)),
        (0.8, 1.0, (0.0837, 0.9163, 0.0)),
        (1.0, 1.0, (0.1594, 0.8405, 0.0)),
        (0.9, 2.5, (0.2364, 0.6302, 0.1333)),
        (-1.2, 1.5, (0.0112, 0.0233, 0.9655)),
        (-2.0, 1.0, (0.0, 0.0053, 0.9947)),
    ],
)
def test_practical_equality_is_baycomp_s(centre: float, spread: float, theirs: tuple[float, ...]) -> None:
    """``SignedRankTest.probs`` of baycomp 1.0.3, rope 1, 200,000 samples, random_state 0.

    Its figures, not the package: it installs a top-level package ``tests`` that would stand in the way of this one.
    """
    ours = signed_rank_rope(seeded(3).normal(centre, spread, 13), 1.0, rng=seeded(1), num_draws=50_000)
    assert (ours.first_better, ours.practically_equal, ours.second_better) == pytest.approx(theirs, abs=0.01)


def test_practical_equality_in_its_limits() -> None:
    rng = seeded()
    assert signed_rank_rope([5.0] * 10, 1.0, rng=rng).first_better > 0.999
    assert signed_rank_rope([-5.0] * 10, 1.0, rng=rng).second_better > 0.999
    assert signed_rank_rope([0.1, -0.1] * 5, 1.0, rng=rng).practically_equal > 0.999
    even = signed_rank_rope([3.0, -3.0] * 8, 0.0, rng=rng)
    assert even.first_better == pytest.approx(even.second_better, abs=0.02)
    whole = even.first_better + even.practically_equal + even.second_better
    assert whole == pytest.approx(1.0)
    again = [signed_rank_rope([1.0, 2.0, -1.0], 0.5, rng=seeded(7)) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize(("rope", "draws"), [(-1.0, 10), (float("nan"), 10), (1.0, 0)])
def test_impossible_regions_are_refused(rope: float, draws: int) -> None:
    with pytest.raises(DataError):
        signed_rank_rope([1.0], rope, rng=seeded(), num_draws=draws)


# Effects.


def test_hodges_lehmann_is_the_published_example() -> None:
    # Hollander and Wolfe (1999), example 3.3: depression scale of nine patients after and before a tranquilizer.
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    found = hodges_lehmann(np.subtract(after, before), alpha=0.04)
    assert found.value == pytest.approx(-0.46, abs=0.001)
    assert found.low == pytest.approx(-0.786, abs=0.001)
    assert found.high == pytest.approx(-0.010, abs=0.001)


def test_the_interval_holds_what_the_test_does_not_reject() -> None:
    values = seeded(2).normal(0.3, 1, 12)
    found = hodges_lehmann(values)
    assert found.low is not None
    assert found.high is not None
    for shift, inside in ((found.low + 1e-6, True), (found.low - 1e-6, False), (found.high + 1e-6, False)):
        assert bool(scipy.stats.wilcoxon(values - shift, method="exact").pvalue > 0.05) is inside
    assert hodges_lehmann(values[:5]).low is None
    assert hodges_lehmann(values[:6]).low is not None


def test_rank_biserial_is_its_closed_form() -> None:
    values = seeded(5).normal(0.5, 1, 15)
    positive = scipy.stats.wilcoxon(values, alternative="greater").statistic
    total = 15 * 16 / 2
    assert rank_biserial(values) == pytest.approx((positive - (total - positive)) / total)
    assert (rank_biserial([1.0, 2.0]), rank_biserial([-1.0, -2.0]), rank_biserial([0.0])) == (1.0, -1.0, 0.0)


# Planning.


@pytest.mark.parametrize(("effect", "num_contrasts"), [(1.0, 1), (1.0, 12), (0.6, 3)])
def test_so_many_incidents_give_the_power(effect: float, num_contrasts: int) -> None:
    """Simulated: normal differences, the strictest level that Holm may ask."""
    n = blocks_needed(effect, 1.0, num_contrasts=num_contrasts)
    rng, simulations = seeded(11), 1500
    rows = rng.normal(effect, 1.0, (simulations, n))
    p = scipy.stats.wilcoxon(rows, axis=1).pvalue
    power = float(np.mean(p <= 0.05 / num_contrasts))
    assert 0.74 <= power <= 0.93
    fewer = scipy.stats.wilcoxon(rows[:, : max(n - 6, 5)], axis=1).pvalue
    assert float(np.mean(fewer <= 0.05 / num_contrasts)) < power


def test_a_large_difference_still_needs_enough_incidents_for_the_smallest_p() -> None:
    # Two of 2^9 sign patterns: p = 0.0039 is the first below 0.05 / 12.
    assert blocks_needed(100.0, 1.0, num_contrasts=12) == 9


@pytest.mark.parametrize(
    "wrong", [{"difference": 0.0}, {"spread": 0.0}, {"num_contrasts": 0}, {"power": 1.0}, {"alpha": 0.0}]
)
def test_impossible_plans_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError):
        blocks_needed(**{"difference": 1.0, "spread": 1.0, **wrong})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="more than"):
        blocks_needed(1e-9, 1.0)


# Other libraries.


def test_friedman_s_groups_are_those_of_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs", reason="scikit-posthocs is not installed")
    figures = {name: seeded(i).normal(i * 0.6, 1, 14) for i, name in enumerate("abcde")}
    found = friedman(figures)
    p = posthocs.posthoc_nemenyi_friedman(np.column_stack(list(figures.values())))
    names = list(figures)
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            apart = abs(found.mean_ranks[first] - found.mean_ranks[second]) > found.critical_difference
            assert apart == (p.iloc[i, j] < 0.05)


def test_aggregates_are_rliable_s() -> None:
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    x, y = seeded(1).normal(0.5, 1, (20, 1)), seeded(2).normal(0, 1, (20, 1))
    assert interquartile_mean(x[:, 0]) == pytest.approx(metrics.aggregate_iqm(x))
    ours = probability_of_improvement(x[:, 0], y[:, 0])
    assert ours == pytest.approx(metrics.probability_of_improvement(x, y))


# Nothing to be found: errors at most as often as stated.


def mcnemar_rejects(rng: np.random.Generator) -> bool:
    flips = int(rng.integers(5, 60))
    broken = int(rng.binomial(flips, 0.5))
    return mcnemar_exact(broken, flips - broken) <= 0.05


def wilcoxon_family_rejects(rng: np.random.Generator) -> bool:
    shared = rng.normal(0, 1, 13)
    family = {name: rng.normal(0, 1, 13) + 0.5 * shared for name in "abcd"}
    return any(test.p_adjusted <= 0.05 for test in wilcoxon_holm(family))


def friedman_rejects(rng: np.random.Generator) -> bool:
    return friedman({name: rng.normal(0, 1, 13) for name in "abcd"}).p <= 0.05


def bootstrap_rejects(rng: np.random.Generator) -> bool:
    blocks = [rng.normal(centre, 1, 3) for centre in rng.normal(0, 1, 13)]
    found = hierarchical_bootstrap(blocks, rng=rng, num_resamples=600)
    assert found.low is not None
    assert found.high is not None
    return not found.low <= 0 <= found.high


def hodges_lehmann_rejects(rng: np.random.Generator) -> bool:
    found = hodges_lehmann(rng.standard_t(3, 13))
    assert found.low is not None
    assert found.high is not None
    return not found.low <= 0 <= found.high


@pytest.mark.parametrize(
    ("rejects", "simulations"),
    [
        (mcnemar_rejects, 2000),
        (wilcoxon_family_rejects, 600),
        (friedman_rejects, 1000),
        (bootstrap_rejects, 600),
        (hodges_lehmann_rejects, 2000),
    ],
)
def test_false_positives_are_at_most_one_in_twenty(
    rejects: Callable[[np.random.Generator], bool], simulations: int
) -> None:
    rng = seeded(13)
    # statsmodels collects garbage at every Holm correction: 80 ms of it over all that tests have imported.
    gc.collect()
    gc.freeze()
    try:
        share = sum(rejects(rng) for _ in range(simulations)) / simulations
    finally:
        gc.unfreeze()
    print(f"{rejects.__name__}: {100 * share:.1f} % of {simulations} simulations under the null")
    assert share <= at_most(0.05, simulations)


def test_bca_of_a_paired_difference_misses_little_more_than_stated() -> None:
    """BCa has no small-sample correction: at 20 pairs it may miss somewhat more than one in twenty."""
    rng, simulations, missed = seeded(17), 400, 0
    for _ in range(simulations):
        found = bca_interval(rng.normal(0, 1, 20), rng=rng, num_resamples=600)
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0 <= found.high
    print(f"BCa at 20 pairs: {100 * missed / simulations:.1f} % of {simulations} intervals miss")
    assert missed / simulations <= at_most(0.08, simulations)


@pytest.mark.slow
@pytest.mark.parametrize("num_blocks", [8, 13, 20])
@pytest.mark.parametrize("between", [0.25, 1.0, 4.0])
def test_hierarchical_bootstrap_at_more_blocks_and_other_ratios(num_blocks: int, between: float) -> None:
    rng, simulations, missed = seeded(19), 2000, 0
    for _ in range(simulations):
        centres = rng.normal(0, between**0.5, num_blocks)
        blocks = [rng.normal(centre, 1, 3) for centre in centres]
        found = hierarchical_bootstrap(blocks, rng=rng, num_resamples=1000)
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0 <= found.high
    print(f"{num_blocks} blocks of 3, between/within {between:g}: {100 * missed / simulations:.1f} % miss")
    assert missed / simulations <= at_most(0.055, simulations)
