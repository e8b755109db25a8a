"""The gate's table: accept, reject, undecided, too few controls; looks halve alpha; bounds equal scipy's."""

from __future__ import annotations

import pytest
from scipy.stats import beta, binomtest

from symbio_lab.deployment.gate import GATE_POLICIES, GatePolicy, decide, gate_policy
from symbio_lab.errors import ConfigError
from tests.contracts.test_metrics import outcomes

LAB, STRICT = GATE_POLICIES["lab"], GATE_POLICIES["strict"]


@pytest.mark.parametrize(
    ("fixed", "unfixed", "kept", "broken", "decision", "code"),
    [
        (8, 0, 400, 0, "accept", "accepted"),
        (4, 4, 990, 10, "accept", "accepted"),
        (0, 40, 1000, 0, "reject", "fix_rate_too_low"),
        (8, 0, 900, 100, "reject", "too_many_flips"),
        (0, 40, 900, 100, "reject", "fix_rate_too_low"),
        (1, 7, 1000, 0, "undecided", "undecided"),
        (8, 0, 960, 40, "undecided", "undecided"),
        (8, 0, 399, 0, "undecided", "too_few_controls"),
        (8, 0, 0, 0, "undecided", "too_few_controls"),
        (0, 0, 1000, 0, "undecided", "undecided"),
    ],
)
def test_the_table(fixed: int, unfixed: int, kept: int, broken: int, decision: str, code: str) -> None:
    verdict = decide(outcomes(0, 0, fixed, unfixed), outcomes(kept, broken, 0, 0), LAB)
    assert (verdict.decision, verdict.code) == (decision, code)
    assert (verdict.num_failures, verdict.num_controls) == (fixed + unfixed, kept + broken)


def test_the_bounds_are_one_sided_and_exact() -> None:
    verdict = decide(outcomes(0, 0, 5, 7), outcomes(380, 6, 4, 10), LAB)
    assert verdict.fix_rate_low == pytest.approx(beta.ppf(0.05, 5, 8))
    assert verdict.fix_rate_high == pytest.approx(beta.ppf(0.95, 6, 7))
    assert verdict.negative_flip_rate_low == pytest.approx(beta.ppf(0.05, 6, 381))
    assert verdict.negative_flip_rate_high == pytest.approx(beta.ppf(0.95, 7, 380))
    exact = binomtest(5, 12, alternative="greater").proportion_ci(0.95, method="exact")
    assert verdict.fix_rate_low == pytest.approx(exact.low)


def test_looks_halve_alpha() -> None:
    selection, control = outcomes(0, 0, 5, 7), outcomes(380, 6, 4, 10)
    two = decide(selection, control, LAB, looks=2)
    halved = decide(selection, control, GatePolicy(alpha=0.025))
    assert two.looks == 2
    for name in ("fix_rate_low", "fix_rate_high", "negative_flip_rate_low", "negative_flip_rate_high"):
        assert getattr(two, name) == getattr(halved, name)
    assert two.fix_rate_low < decide(selection, control, LAB).fix_rate_low


def test_a_second_look_can_turn_accept_into_undecided() -> None:
    selection, control = outcomes(0, 0, 2, 2), outcomes(1000, 0, 0, 0)
    one = GatePolicy(min_fix_rate=0.09)
    assert decide(selection, control, one).decision == "accept"
    assert decide(selection, control, one, looks=2).decision == "undecided"


def test_undecided_says_how_many_failures_would_decide() -> None:
    verdict = decide(outcomes(0, 0, 2, 6), outcomes(1000, 0, 0, 0), LAB)
    assert verdict.decision == "undecided"
    assert verdict.num_failures_to_decide is not None
    assert verdict.num_controls_to_decide is None
    n = verdict.num_failures_to_decide
    fixed = n * 2 // 8
    assert decide(outcomes(0, 0, fixed, n - fixed), outcomes(1000, 0, 0, 0), LAB).decision == "accept"


def test_undecided_says_how_many_controls_would_decide() -> None:
    verdict = decide(outcomes(0, 0, 8, 0), outcomes(960, 40, 0, 0), LAB)
    assert verdict.num_failures_to_decide is None
    n = verdict.num_controls_to_decide
    assert n is not None
    broken = n - n * 96 // 100
    assert decide(outcomes(0, 0, 8, 0), outcomes(n - broken, broken, 0, 0), LAB).decision == "accept"


def test_too_few_controls_says_how_many_there_must_be() -> None:
    verdict = decide(outcomes(0, 0, 8, 0), outcomes(399, 0, 0, 0), LAB)
    assert (verdict.code, verdict.num_controls_to_decide) == ("too_few_controls", 400)


def test_a_rate_on_the_wrong_side_promises_nothing() -> None:
    verdict = decide(outcomes(0, 0, 0, 8), outcomes(1000, 0, 0, 0), LAB)
    assert (verdict.decision, verdict.num_failures_to_decide) == ("undecided", None)


def test_strict_allows_fewer_flips() -> None:
    selection, control = outcomes(0, 0, 8, 0), outcomes(975, 25, 0, 0)
    assert decide(selection, control, LAB).decision == "accept"
    assert decide(selection, control, STRICT).decision != "accept"


def test_figures_are_flat_numbers() -> None:
    figures = decide(outcomes(0, 0, 0, 0), outcomes(0, 0, 0, 0), LAB).figures()
    assert all(isinstance(value, int | float) for value in figures.values())
    assert {"fix_rate", "fix_rate_low", "negative_flip_rate_high", "looks"} <= set(figures)


def test_policies_by_name() -> None:
    assert gate_policy("strict").max_negative_flip_rate == 0.02
    with pytest.raises(ConfigError, match="lab, strict"):
        gate_policy("lenient")
