"""A plan: every problem at once, cells in order, keys that name what decides a result."""

from __future__ import annotations

from dataclasses import replace

import pytest

from symbio_lab.comparison.plan import DEFAULT_STRATEGIES, REFERENCE_ARMS, ComparisonPlan
from symbio_lab.errors import ConfigError

PLAN = ComparisonPlan(scenario="helpdesk", seeds=(0, 1))


def test_the_default_plan_is_sound() -> None:
    PLAN.check()


def test_every_problem_is_reported_at_once() -> None:
    wrong = ComparisonPlan(
        scenario="helpdesk",
        pool="huge",
        strategies=("noop", "noop", "prayer"),
        seeds=(),
        n_repair=1,
        n_replay=0,
        contributor_size=33,
        gate="lenient",
        reference_arms=("hindsight",),
    )
    with pytest.raises(ConfigError) as caught:
        wrong.check()
    text = str(caught.value)
    for word in (
        "huge",
        "prayer",
        "repeat",
        "no seeds",
        "n_repair",
        "n_replay",
        "contributor size",
        "lenient",
        "hindsight",
    ):
        assert word in text
    assert len(caught.value.problems) >= 8


def test_no_strategies_is_a_problem() -> None:
    with pytest.raises(ConfigError, match="no strategies"):
        replace(PLAN, strategies=()).check()


def test_cells_run_seed_by_seed_reference_arms_last() -> None:
    cells = PLAN.cells()
    one = [*DEFAULT_STRATEGIES, *REFERENCE_ARMS]
    assert cells == [(name, 0) for name in one] + [(name, 1) for name in one]


def test_a_key_names_everything_that_decides_a_cell() -> None:
    key = PLAN.cell_key("noop", 0, "w", "p")
    assert key == PLAN.cell_key("noop", 0, "w", "p")
    others = [
        PLAN.cell_key("lora", 0, "w", "p"),
        PLAN.cell_key("noop", 1, "w", "p"),
        PLAN.cell_key("noop", 0, "v", "p"),
        PLAN.cell_key("noop", 0, "w", "q"),
        *(
            replace(PLAN, **change).cell_key("noop", 0, "w", "p")  # type: ignore[arg-type]
            for change in (
                {"n_repair": 17},
                {"gate": "strict"},
                {"budget_forwards": 1.0},
                {"n_replay": 1},
                {"world_seed": 1},
            )
        ),
    ]
    assert len({key, *others}) == len(others) + 1


def test_adding_strategies_or_seeds_keeps_the_finished_cells() -> None:
    more = replace(PLAN, strategies=("noop",), seeds=(0, 1, 2), reference_arms=())
    assert more.cell_key("noop", 0, "w", "p") == PLAN.cell_key("noop", 0, "w", "p")
