"""Work is refused before it is done, and what is charged adds up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.budget import (
    FULL_STEP_FORWARDS,
    LORA_STEP_FORWARDS,
    LORA_TOP_TWO_STEP_FORWARDS,
    Budget,
    CostMeter,
    lora_step_cost,
)
from symbio_lab.errors import BudgetExceededError, ConfigError, DataError, HealingTimeoutError
from symbio_lab.events import Event, PhaseFinished, PhaseStarted


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make_meter(limit: float = 1000, wall_s: float | None = None, **kwargs: object) -> tuple[CostMeter, Clock]:
    clock = Clock()
    meter = CostMeter(Budget(limit, wall_s), clock=clock, cpu_clock=lambda: clock.now_s * 2, **kwargs)  # type: ignore[arg-type]
    return meter, clock


def test_a_charge_that_does_not_fit_raises_and_charges_nothing() -> None:
    meter, _ = make_meter(100)
    with meter.phase("screen"):
        meter.charge_forwards(60)
        with pytest.raises(BudgetExceededError, match="41 forwards-equivalent are needed, 40 remain of 100"):
            meter.charge_forwards(41)
        assert meter.remaining() == 40
        meter.charge_forwards(40)
    assert meter.remaining() == 0
    assert meter.would_fit(0)
    assert not meter.would_fit(0.001)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(0, 300))
def test_the_budget_is_never_exceeded_and_the_sum_is_exact(amounts: list[int], limit: int) -> None:
    meter = CostMeter(Budget(limit))
    accepted = 0
    for amount in amounts:
        fits = accepted + amount <= limit
        assert meter.would_fit(amount) is fits
        if fits:
            meter.charge_forwards(amount)
            accepted += amount
        else:
            with pytest.raises(BudgetExceededError):
                meter.charge_forwards(amount)
    assert meter.spent() == accepted <= limit


def test_rounding_of_fractions_does_not_lose_the_last_step() -> None:
    meter = CostMeter(Budget(LORA_STEP_FORWARDS * 1000))
    for _ in range(1000):
        meter.charge_forwards(1, weight=LORA_STEP_FORWARDS)
    assert meter.spent() == pytest.approx(2260)
    with pytest.raises(BudgetExceededError):
        meter.charge_forwards(1)


def test_time_goes_to_the_innermost_phase_and_is_never_counted_twice() -> None:
    meter, clock = make_meter()
    clock.now_s += 5  # outside any phase: nobody's
    with meter.phase("heal"):
        clock.now_s += 1
        with meter.phase("train"):
            clock.now_s += 10
        clock.now_s += 2
    with meter.phase("train"):
        clock.now_s += 4
    phases = dict(meter.cost().phases)
    assert list(phases) == ["heal", "train"]
    assert (phases["heal"].wall_s, phases["train"].wall_s) == (3, 14)
    assert meter.cost().total("cpu_s") == 2 * 17


def test_listeners_hear_of_each_visit_and_its_own_cost() -> None:
    seen: list[Event] = []
    meter, clock = make_meter(listener=seen.append)
    for amount in (3, 4):
        with meter.phase("screen"):
            clock.now_s += amount
            meter.charge_forwards(amount)
    assert seen == [
        PhaseStarted("screen"),
        PhaseFinished("screen", 3, 3),
        PhaseStarted("screen"),
        PhaseFinished("screen", 4, 4),
    ]


def test_a_phase_that_raises_is_closed_and_its_cost_kept() -> None:
    seen: list[Event] = []
    meter, clock = make_meter(listener=seen.append)

    def fail() -> None:
        clock.now_s += 7
        meter.charge_forwards(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), meter.phase("train"):
        fail()
    assert seen[-1] == PhaseFinished("train", 7, 2)
    meter.charge_bytes(9)
    assert [name for name, _ in meter.cost().phases] == ["train", "other"]


def test_flops_follow_tokens_parameters_and_weight_unless_given() -> None:
    meter, _ = make_meter(num_parameters=1_000)
    meter.charge_forwards(10, num_tokens=50)
    assert meter.cost().total("flops") == 2 * 1_000 * 50
    meter.charge_forwards(10, num_tokens=50, weight=2.0)
    assert meter.cost().total("flops") == 3 * 2 * 1_000 * 50
    meter.charge_forwards(1, num_tokens=50, flops=7.0)
    assert meter.cost().total("flops") == 3 * 2 * 1_000 * 50 + 7


def test_bytes_are_counted_and_not_limited() -> None:
    meter, _ = make_meter(1)
    with meter.phase("fetch"):
        meter.charge_bytes(10**12)
    assert meter.cost().total("num_bytes") == 10**12
    assert meter.remaining() == 1


def test_wall_time_aborts_and_never_steers() -> None:
    meter, clock = make_meter(100, wall_s=10)
    clock.now_s += 10
    meter.check_wall()
    clock.now_s += 0.5
    with pytest.raises(HealingTimeoutError, match=r"10\.5 s have passed, the limit is 10 s"):
        meter.check_wall()
    # Only check_wall looks at the clock: the budget answers as before.
    assert meter.would_fit(100)
    meter.charge_forwards(100)
    unlimited, clock = make_meter()
    clock.now_s += 1e9
    unlimited.check_wall()


@pytest.mark.parametrize(("samples", "weight"), [(-1, 1.0), (1, -1.0), (math.nan, 1.0), (1, math.inf), (-1, -1.0)])
def test_meaningless_charges_are_refused(samples: float, weight: float) -> None:
    meter, _ = make_meter()
    with pytest.raises(DataError):
        meter.charge_forwards(samples, weight=weight)
    with pytest.raises(DataError):
        meter.charge_bytes(-1)
    assert meter.spent() == 0


def test_meaningless_budgets_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Budget(math.nan, 0)
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError):
        Budget(math.inf)
    assert Budget(0).forwards_equivalent == 0


def test_training_costs_meet_the_measured_points() -> None:
    assert lora_step_cost(6, 0) == pytest.approx(LORA_STEP_FORWARDS)
    assert lora_step_cost(6, 4) == pytest.approx(LORA_TOP_TWO_STEP_FORWARDS)
    assert lora_step_cost(12, 0) == pytest.approx(LORA_STEP_FORWARDS)
    assert lora_step_cost(6, 0, cached_prefix=True) == pytest.approx(LORA_STEP_FORWARDS)
    assert lora_step_cost(6, 4, cached_prefix=True) == pytest.approx(LORA_TOP_TWO_STEP_FORWARDS - 4 / 6)
    assert FULL_STEP_FORWARDS > LORA_STEP_FORWARDS


@given(st.integers(1, 48), st.data())
def test_a_step_costs_less_the_higher_it_starts(num_layers: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, num_layers - 1))
    for cached in (False, True):
        assert lora_step_cost(num_layers, first + 1, cached) < lora_step_cost(num_layers, first, cached)
        assert lora_step_cost(num_layers, num_layers, cached) > 0
    assert lora_step_cost(num_layers, first, True) <= lora_step_cost(num_layers, first, False)


@pytest.mark.parametrize(("num_layers", "first"), [(0, 0), (6, 7), (6, -1)])
def test_layers_that_do_not_exist_are_refused(num_layers: int, first: int) -> None:
    with pytest.raises(DataError):
        lora_step_cost(num_layers, first)
