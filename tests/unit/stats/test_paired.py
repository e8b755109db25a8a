"""Paired comparisons: signs, symmetry, coverage, and sums of intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import DataError
from symbio_lab.records import Interval
from symbio_lab.seeding import numpy_generator
from symbio_lab.stats import mcnemar_exact, paired_difference, to_interval, weighted_sum

CELL = st.integers(0, 60)


@given(CELL, CELL, CELL, CELL)
def test_the_change_is_inside_its_interval_and_swapping_sides_mirrors_it(a: int, b: int, c: int, d: int) -> None:
    change = paired_difference(a, b, c, d)
    back = paired_difference(a, c, b, d)
    if change.value is None:
        assert a + b + c + d == 0
        assert (change.low, change.high) == (-1.0, 1.0)
        return
    assert -1.0 <= change.low <= change.value + 1e-12
    assert change.value - 1e-12 <= change.high <= 1.0
    assert math.isclose(change.low, -back.high, abs_tol=1e-12)
    assert math.isclose(change.value, -back.value, abs_tol=1e-12)


def test_fixing_is_positive() -> None:
    assert paired_difference(50, 0, 10, 40).value == 0.1
    assert paired_difference(50, 10, 0, 40).value == -0.1


def test_pairing_narrows_the_interval_when_outcomes_agree() -> None:
    agree, apart = paired_difference(45, 5, 5, 45), paired_difference(25, 25, 25, 25)
    assert agree.high - agree.low < 0.6 * (apart.high - apart.low)


@pytest.mark.parametrize("cells", [(0.80, 0.02, 0.08, 0.10), (0.30, 0.10, 0.10, 0.50), (0.90, 0.05, 0.01, 0.04)])
def test_the_interval_covers_the_true_change_about_95_times_in_100(cells: tuple[float, ...]) -> None:
    rng = numpy_generator(7, "coverage", cells)
    truth = cells[2] - cells[1]
    inside = 0
    for n11, n10, n01, n00 in rng.multinomial(120, cells, size=1500):
        change = paired_difference(int(n11), int(n10), int(n01), int(n00))
        inside += change.low <= truth <= change.high
    # 0.935 is three standard errors below 0.95; above 0.99 the interval would be needlessly wide.
    assert 0.935 <= inside / 1500 <= 0.99


def test_mcnemar_counts_only_discordant_pairs() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 5) == 1.0
    assert math.isclose(mcnemar_exact(0, 6), 2 * 0.5**6)
    assert mcnemar_exact(3, 11) == mcnemar_exact(11, 3)
    for wrong in ((-1, 3), (1.5, 2)):
        with pytest.raises(DataError):
            mcnemar_exact(*wrong)  # type: ignore[arg-type]


def test_a_sum_of_one_part_is_the_part_and_negative_weights_swap_the_ends() -> None:
    part = Interval(0.3, 0.2, 0.45, 40)
    same = weighted_sum([part], [1.0])
    assert (same.value, same.low, same.high, same.n) == (0.3, 0.2, 0.45, 40)
    minus = weighted_sum([part], [-2.0])
    assert minus.value == pytest.approx(-0.6)
    assert minus.low == pytest.approx(-0.9)
    assert minus.high == pytest.approx(-0.4)


def test_a_weight_of_zero_leaves_the_part_out_and_an_undefined_part_makes_the_sum_undefined() -> None:
    part, undefined = Interval(0.3, 0.2, 0.45, 40), Interval(None, None, None, 0)
    assert weighted_sum([part, undefined], [1.0, 0.0]).value == 0.3
    total = weighted_sum([part, undefined], [0.9, 0.1])
    assert (total.value, total.low, total.high) == (None, None, None)


def test_the_weighted_sum_of_two_changes_covers_its_truth() -> None:
    rng = numpy_generator(11, "mover")
    slice_cells, control_cells, share = (0.2, 0.02, 0.3, 0.48), (0.9, 0.03, 0.02, 0.05), 0.1
    truth = share * (0.3 - 0.02) + (1 - share) * (0.02 - 0.03)
    inside = 0
    for a, b in zip(
        rng.multinomial(100, slice_cells, size=1000), rng.multinomial(400, control_cells, size=1000), strict=True
    ):
        parts = [paired_difference(*map(int, cells)) for cells in (a, b)]
        total = weighted_sum(parts, [share, 1 - share])
        inside += total.low <= truth <= total.high
    assert 0.93 <= inside / 1000 <= 0.99


def test_a_difference_of_independent_rates_is_newcombes_hybrid_score_interval() -> None:
    first, second = to_interval(56, 70, method="wilson"), to_interval(48, 80, method="wilson")
    gap = weighted_sum([first, second], [1.0, -1.0])
    # Newcombe (1998), independent proportions, Table II, method 10: 56/70 - 48/80.
    assert (round(gap.low, 4), round(gap.high, 4)) == (0.0524, 0.3339)


@pytest.mark.parametrize(("parts", "weights"), [([], []), ([Interval(0.1, 0.0, 0.2, 5)], [])])
def test_lengths_must_agree(parts: list[Interval], weights: list[float]) -> None:
    with pytest.raises(DataError, match="weights"):
        weighted_sum(parts, weights)


def test_weights_must_be_finite() -> None:
    with pytest.raises(DataError, match="finite"):
        weighted_sum([Interval(0.1, 0.0, 0.2, 5)], [math.inf])
