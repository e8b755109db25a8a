"""Intervals for one rate: ends, order, refusals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import DataError
from symbio_lab.stats import clopper_pearson, clopper_pearson_lower, clopper_pearson_upper, to_interval, wilson

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, st.sampled_from([0.01, 0.025, 0.05, 0.2]))
def test_both_intervals_hold_the_rate_and_stay_in_the_unit_interval(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    for low, high in (wilson(k, n, alpha), clopper_pearson(k, n, alpha)):
        assert 0.0 <= low <= k / n <= high <= 1.0
        assert high > low


@given(COUNTS)
def test_one_sided_bounds_are_tighter_than_two_sided_ones(counts: tuple[int, int]) -> None:
    low, high = clopper_pearson(*counts, 0.05)
    assert clopper_pearson_lower(*counts, 0.05) >= low
    assert clopper_pearson_upper(*counts, 0.05) <= high


def test_nothing_observed_excludes_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    empty = to_interval(0, 0)
    assert (empty.value, empty.low, empty.high, empty.n) == (None, 0.0, 1.0, 0)


@pytest.mark.parametrize("n", [1, 7, 400])
def test_all_and_none_have_the_closed_form(n: int) -> None:
    assert math.isclose(clopper_pearson_upper(0, n, 0.05), 1 - 0.05 ** (1 / n), rel_tol=1e-12)
    assert math.isclose(clopper_pearson_lower(n, n, 0.05), 0.05 ** (1 / n), rel_tol=1e-12)
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (1.5, 5), (0, -1)])
def test_impossible_counts_are_refused(k: float, n: int) -> None:
    with pytest.raises(DataError, match="not a count"):
        clopper_pearson(k, n)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_impossible_alphas_are_refused(alpha: float) -> None:
    with pytest.raises(DataError, match="alpha"):
        wilson(1, 5, alpha)


def test_the_record_names_its_method() -> None:
    record = to_interval(3, 10, method="wilson")
    assert (record.value, record.n, record.method) == (0.3, 10, "wilson")
    assert (record.low, record.high) == wilson(3, 10)
    with pytest.raises(DataError, match="unknown interval method"):
        to_interval(3, 10, method="wald")  # type: ignore[arg-type]
