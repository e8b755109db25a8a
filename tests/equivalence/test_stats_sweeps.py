"""Statistics over sweeps against scipy, statsmodels, closed forms, published figures and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.multitest import multipletests

from symbio_lab.errors import DataError
from symbio_lab.stats.aggregates import interquartile_mean, performance_profile, probability_of_improvement
from symbio_lab.stats.bootstrap import MIN_BLOCKS, bca_interval, hierarchical_bootstrap
from symbio_lab.stats.intervals import clopper_pearson, wilson
from symbio_lab.stats.ranks import friedman, holm, wilcoxon_holm
from symbio_lab.stats.survival import kaplan_meier


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_holm_is_statsmodels(size: int) -> None:
    p = seeded(size).uniform(size=size) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_wilcoxon_leaves_out_zeros_and_is_scipys_exact_test() -> None:
    row = seeded().normal(0.5, 1, 12)
    (result,) = wilcoxon_holm({"a": [*row, 0.0]})
    assert result.n == 12
    assert result.p == pytest.approx(scipy.stats.wilcoxon(row, method="exact").pvalue)
    assert wilcoxon_holm({"a": [0.0, 0.0]})[0].p == 1.0


def test_critical_difference_is_the_published_one() -> None:
    # Demsar (2006), section 3.2.4: 4 classifiers, 14 data sets: q 2.569, CD 1.25.
    figures = {name: seeded(i).normal(size=14) for i, name in enumerate("abcd")}
    result = friedman(figures)
    assert result.critical_difference == pytest.approx(1.25, abs=0.005)
    assert result.p == pytest.approx(scipy.stats.friedmanchisquare(*figures.values()).pvalue)
    assert sum(result.mean_ranks.values()) == pytest.approx(10)


def test_larger_figures_rank_first_and_equal_arms_share() -> None:
    assert friedman({"a": [3, 3], "b": [2, 2], "c": [1, 1]}).mean_ranks == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert friedman({"a": [1, 1], "b": [1, 1], "c": [1, 1]}).p == 1.0


def test_kaplan_meier_is_statsmodels() -> None:
    rng = seeded()
    times, healed = np.round(rng.exponential(5, 40), 1), rng.uniform(size=40) < 0.6
    ours, theirs = kaplan_meier(times, healed), SurvfuncRight(times, healed)
    keep = np.isin(theirs.surv_times, times[healed])
    assert ours.times == pytest.approx(theirs.surv_times[keep])
    assert ours.unhealed == pytest.approx(theirs.surv_prob[keep])
    assert kaplan_meier([1, 2], [False, False]).times == ()


def test_aggregates_are_their_closed_forms() -> None:
    x, y = seeded(1).integers(0, 9, 40).astype(float), seeded(2).integers(0, 9, 24).astype(float)
    assert interquartile_mean(x) == pytest.approx(np.sort(x)[10:30].mean())
    pairs = np.sign(x[:, None] - y[None, :])
    assert probability_of_improvement(x, y) == pytest.approx((pairs + 1).mean() / 2)
    assert performance_profile(x, [3.0]) == pytest.approx(((x > 3).mean(),))


def test_bca_is_scipys_and_seeded() -> None:
    row = seeded().exponential(size=30)
    ours = bca_interval(row, rng=seeded(5))
    theirs = scipy.stats.bootstrap((row,), np.mean, rng=seeded(5), method="BCa", batch=1000).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert bca_interval([1.0, 1.0, 1.0], rng=seeded()).low is None


@pytest.mark.parametrize("n", [4, 16, 64])
def test_exact_coverage_over_all_rates(n: int) -> None:
    rates = np.linspace(0.0005, 0.9995, 1999)
    chances = scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, rates[None, :])
    covered = {}
    for method in (clopper_pearson, wilson):
        bounds = np.array([method(k, n, 0.05) for k in range(n + 1)])
        inside = (bounds[:, :1] <= rates[None, :]) & (rates[None, :] <= bounds[:, 1:])
        covered[method.__name__] = (chances * inside).sum(axis=0)
    for name, share in covered.items():
        print(f"n={n} {name}: coverage at least {share.min():.3f}, on average {share.mean():.3f}")
    assert covered["clopper_pearson"].min() >= 0.95
    assert covered["wilson"].mean() >= 0.95 > covered["wilson"].min()


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        hierarchical_bootstrap([[0.0, 1.0]] * (MIN_BLOCKS - 1), rng=seeded())


def test_hierarchical_bootstrap_rarely_sees_what_is_not_there() -> None:
    rng, wrong, simulations = seeded(3), 0, 1000
    for _ in range(simulations):
        centres = rng.normal(0, 1, MIN_BLOCKS)
        blocks = [rng.normal(centre, 1, 3) for centre in centres]
        interval = hierarchical_bootstrap(blocks, rng=rng, num_resamples=1000)
        assert interval.low is not None
        assert interval.high is not None
        wrong += not (interval.low <= 0 <= interval.high)
    print(f"hierarchical bootstrap, {MIN_BLOCKS} blocks of 3: {wrong} of {simulations} intervals miss 0")
    assert wrong / simulations <= 0.05 + 2 * (0.05 * 0.95 / simulations) ** 0.5


@pytest.mark.parametrize("bad", [[], [float("nan")], [[1.0]]])
def test_bad_figures_are_refused(bad: list[float]) -> None:
    with pytest.raises(DataError):
        interquartile_mean(bad)
