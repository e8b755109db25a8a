"""How many samples decide: the answer clears the limit, one fewer does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from symbio_lab.errors import DataError
from symbio_lab.stats import clopper_pearson_lower, clopper_pearson_upper, num_samples_to_decide
from symbio_lab.stats.power import num_samples_for_power

CASES = st.integers(5, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def brute_force(k: int, n: int, limit: float, alpha: float, side: str, up_to: int) -> int | None:
    for size in range(n, up_to):
        hits = size * k // n if side == "lower" else -(-size * k // n)
        if side == "lower" and clopper_pearson_lower(hits, size, alpha) >= limit:
            return size
        if side == "upper" and clopper_pearson_upper(hits, size, alpha) <= limit:
            return size
    return None


@settings(max_examples=60, deadline=None)
@given(CASES, st.sampled_from([0.05, 0.1, 0.3]), st.sampled_from([0.025, 0.05]), st.sampled_from(["lower", "upper"]))
def test_it_is_the_smallest_size_that_clears_the_limit(
    counts: tuple[int, int], limit: float, alpha: float, side: str
) -> None:
    k, n = counts
    answer = num_samples_to_decide(k, n, limit, alpha, side)  # type: ignore[arg-type]
    wrong_side = k / n <= limit if side == "lower" else k / n >= limit
    if wrong_side:
        assert answer is None
    elif answer is not None and answer < 2000:
        assert brute_force(k, n, limit, alpha, side, 2000) == answer
    else:
        assert brute_force(k, n, limit, alpha, side, 2000) is None


def test_no_flip_in_59_controls_bounds_the_flip_rate_below_5_percent() -> None:
    assert num_samples_to_decide(0, 59, 0.05, 0.05, "upper") == 59
    assert num_samples_to_decide(0, 58, 0.05, 0.05, "upper") == 59


def test_already_decided_needs_no_more() -> None:
    assert num_samples_to_decide(45, 50, 0.1, 0.05, "lower") == 50


def test_unknown_and_hopeless_rates_have_no_answer() -> None:
    assert num_samples_to_decide(0, 0, 0.1, 0.05, "lower") is None
    assert num_samples_to_decide(10, 100, 0.1, 0.05, "lower") is None
    assert num_samples_to_decide(10, 100, 0.1, 0.05, "upper") is None


@pytest.mark.parametrize("wrong", [{"limit": 0.0}, {"limit": 1.0}, {"side": "both"}, {"alpha": 0.0}])
def test_impossible_questions_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError):
        num_samples_to_decide(**{"k": 1, "n": 10, "limit": 0.1, "alpha": 0.05, "side": "lower", **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "limit", "side"),
    [(0.5, 0.1, "lower"), (0.3, 0.1, "lower"), (0.95, 0.5, "lower"), (0.02, 0.05, "upper"), (0.0, 0.05, "upper")],
)
def test_the_size_for_power_holds_and_keeps_holding(rate: float, limit: float, side: str) -> None:
    size = num_samples_for_power(rate, limit, 0.025, side)  # type: ignore[arg-type]
    assert size is not None

    def power(n: int) -> float:
        clears = [
            clopper_pearson_lower(k, n, 0.025) >= limit
            if side == "lower"
            else clopper_pearson_upper(k, n, 0.025) <= limit
            for k in range(n + 1)
        ]
        return float(binom.pmf([k for k in range(n + 1) if clears[k]], n, rate).sum())

    assert all(power(n) >= 0.8 for n in range(size, size + 25))
    assert size == 1 or power(size - 1) < 0.8


def test_power_that_cannot_be_had() -> None:
    assert num_samples_for_power(0.1, 0.1) is None
    assert num_samples_for_power(0.06, 0.05, side="upper") is None
    assert num_samples_for_power(0.1001, 0.1, most=2000) is None
    for wrong in ({"rate": 1.5}, {"limit": 0.0}, {"power": 1.0}, {"side": "both"}, {"alpha": 0.0}):
        with pytest.raises(DataError):
            num_samples_for_power(**{"rate": 0.5, "limit": 0.1, **wrong})  # type: ignore[arg-type]
