"""Our intervals and tests against scipy, statsmodels and published worked examples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from symbio_lab.stats import (
    clopper_pearson,
    clopper_pearson_lower,
    clopper_pearson_upper,
    mcnemar_exact,
    paired_difference,
    to_interval,
    weighted_sum,
    wilson,
)

COUNTS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ALPHAS = st.sampled_from([0.001, 0.025, 0.05, 0.1])


@settings(max_examples=50, deadline=None)
@given(COUNTS, ALPHAS)
def test_clopper_pearson_is_scipys_and_statsmodels(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    ours = clopper_pearson(k, n, alpha)
    theirs = binomtest(k, n).proportion_ci(1 - alpha, method="exact")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-8)
    assert ours == pytest.approx(proportion_confint(k, n, alpha, method="beta"), abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(COUNTS, ALPHAS)
def test_one_sided_bounds_are_scipys(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    low = binomtest(k, n, alternative="greater").proportion_ci(1 - alpha, method="exact").low
    high = binomtest(k, n, alternative="less").proportion_ci(1 - alpha, method="exact").high
    assert clopper_pearson_lower(k, n, alpha) == pytest.approx(low, abs=1e-8)
    assert clopper_pearson_upper(k, n, alpha) == pytest.approx(high, abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(COUNTS, ALPHAS)
def test_wilson_is_statsmodels(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    assert wilson(k, n, alpha) == pytest.approx(proportion_confint(k, n, alpha, method="wilson"), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_statsmodels(b: int, c: int) -> None:
    theirs = mcnemar([[9, b], [c, 9]], exact=True).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(min(1.0, theirs), abs=1e-12)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Altman et al. (2000), Statistics with Confidence, p. 52: thallium stress test.
        ((14, 5, 0, 22), 0.011, 0.226),
        # Cavo et al. (2012), as computed by the R package contingencytables (Fagerland et al. 2017, chapter 8).
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_published_newcombe_intervals(table: tuple[int, int, int, int], low: float, high: float) -> None:
    n11, n10, n01, n00 = table
    # They subtract second from first: swap the discordant cells to get after - before.
    ours = paired_difference(n11, n01, n10, n00)
    digits = 3 if abs(high) == 0.226 else 4
    assert (round(ours.low, digits), round(ours.high, digits)) == (low, high)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 15), st.integers(1, 15), st.integers(1, 4))
def test_without_correlation_pairs_are_as_independent_samples(a: int, b: int, scale: int) -> None:
    # Rows proportional to columns: phi is 0, and Newcombe's paired interval is his independent one.
    n11, n10, n01, n00 = a * b, a * scale, b * scale, scale * scale
    n = n11 + n10 + n01 + n00
    theirs = confint_proportions_2indep(n11 + n01, n, n11 + n10, n, method="newcomb")
    ours = paired_difference(n11, n10, n01, n00)
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(COUNTS, COUNTS)
def test_a_weighted_difference_of_wilson_intervals_is_statsmodels_newcomb(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    gap = weighted_sum([to_interval(*first, method="wilson"), to_interval(*second, method="wilson")], [1.0, -1.0])
    theirs = confint_proportions_2indep(*first, *second, method="newcomb")
    assert (gap.low, gap.high) == pytest.approx(theirs, abs=1e-9)
