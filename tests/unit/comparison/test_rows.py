"""Result rows and the summary over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from symbio_lab.comparison.compare import write_rows
from symbio_lab.comparison.judge import Judged
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.comparison.rows import cost_columns, flatten
from symbio_lab.comparison.summary import MEANS, summarize
from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.records import Cost, HealingOutcome, Interval, PhaseCost

NOTHING = Outcomes((), (), (), ())
ACCOUNT = {"forwards_equivalent": 1000.0, "cpu_s": 5.0, "num_labels": 384.0}


def outcome() -> HealingOutcome:
    phases = (
        ("screen", PhaseCost(1.0, 2.0, 30.0, 4e6, 50)),
        ("gate", PhaseCost(0.5, 0.25, 10.0, 1e6, 0)),
    )
    return HealingOutcome("best_single", "marketplace", "healed", None, None, "none", (), Cost(phases))


def test_intervals_become_four_columns() -> None:
    figures = {"fix_rate": Interval(0.5, 0.2, 0.8, 10), "locality": None, "control_ece": 0.1, "edit_score": None}
    assert flatten("proposed", Judged(figures, NOTHING)) == {
        "proposed_fix_rate": 0.5,
        "proposed_fix_rate_low": 0.2,
        "proposed_fix_rate_high": 0.8,
        "proposed_fix_rate_n": 10,
        "proposed_locality": None,
        "proposed_locality_low": None,
        "proposed_locality_high": None,
        "proposed_locality_n": 0,
        "proposed_control_ece": 0.1,
        "proposed_edit_score": None,
    }


def test_three_cost_accounts() -> None:
    columns = cost_columns(outcome(), ACCOUNT)
    assert columns["cost_forwards_equivalent"] == 40.0
    assert (columns["cost_wall_s"], columns["cost_cpu_s"], columns["cost_bytes"]) == (1.5, 2.25, 50)
    assert columns["pool_num_labels"] == 384
    amortised = [columns[f"amortised_forwards_equivalent_j{j}"] for j in (1, 10, 100)]
    assert amortised == [1040.0, 140.0, 50.0]
    assert columns["phase_forwards"] == '{"gate": 10.0, "screen": 30.0}'


def row(strategy: str, seed: int, **changes: Any) -> dict[str, Any]:
    family = {"best_single": "marketplace", "surgery_only": "surgery"}.get(strategy, "control")
    figures = dict.fromkeys(MEANS, 1.0)
    fixed = {"strategy": strategy, "seed": seed, "family": family, "status": "healed", "deployed": True}
    return {**figures, **fixed, "harmful": False, "pool_forwards_equivalent": 0.0, **changes}


def summary_of(rows: list[dict[str, Any]], *strategies: str) -> dict[str, Any]:
    plan = ComparisonPlan(scenario="helpdesk", strategies=strategies, seeds=(0, 1), reference_arms=())
    return summarize(plan, rows, {"pool": {"realised_relevance_pp": 3.0}})


def test_means_ranges_and_rates_over_the_seeds() -> None:
    rows = [
        row("best_single", 0, deployed_net_gain_pp=4.0),
        row("best_single", 1, deployed_net_gain_pp=-2.0, harmful=True, status="rejected", deployed=False),
    ]
    found = summary_of(rows, "best_single")
    figures = found["strategies"]["best_single"]
    assert figures["deployed_net_gain_pp"] == 1.0
    assert (figures["deployed_net_gain_pp_min"], figures["deployed_net_gain_pp_max"]) == (-2.0, 4.0)
    assert (figures["deploy_rate"], figures["harmful_deploy_rate"], figures["num_seeds"]) == (0.5, 0.5, 2)
    assert figures["statuses"] == ["healed", "rejected"]


def test_one_world_is_called_exploratory() -> None:
    found = summary_of([row("noop", s) for s in (0, 1)], "noop")
    assert found["exploratory"] is True
    assert "8 incidents" in found["exploratory_reason"]
    assert found["primary_metric"] == "net_gain_pp"


def test_missing_figures_stay_missing() -> None:
    rows = [row("noop", s, deployed_locality=None) for s in (0, 1)]
    assert summary_of(rows, "noop")["strategies"]["noop"]["deployed_locality"] is None


@pytest.mark.parametrize(
    ("adopting", "operating", "expected"), [(100.0, 600.0, 20), (600.0, 100.0, None), (99.0, 99.0, None)]
)
def test_break_even_is_the_pool_over_what_an_incident_saves(
    adopting: float, operating: float, expected: int | None
) -> None:
    rows = [
        *(row("best_single", s, cost_forwards_equivalent=adopting, pool_forwards_equivalent=10_000.0) for s in (0, 1)),
        *(row("surgery_only", s, cost_forwards_equivalent=operating) for s in (0, 1)),
    ]
    assert summary_of(rows, "best_single", "surgery_only")["break_even_incidents"] == expected


def test_break_even_needs_to_know_what_the_pool_cost() -> None:
    rows = [
        *(row("best_single", s, cost_forwards_equivalent=100.0) for s in (0, 1)),
        *(row("surgery_only", s, cost_forwards_equivalent=600.0) for s in (0, 1)),
    ]
    assert summary_of(rows, "best_single", "surgery_only")["break_even_incidents"] is None


def test_break_even_needs_both_arms() -> None:
    assert summary_of([row("noop", s) for s in (0, 1)], "noop")["break_even_incidents"] is None


def test_the_best_arm_is_the_best_deployed_one() -> None:
    rows = [row(n, s, deployed_net_gain_pp=g) for s in (0, 1) for n, g in (("noop", 0.0), ("best_single", 2.0))]
    assert summary_of(rows, "noop", "best_single")["best_deployed"] == "best_single"


def test_rows_are_written_with_types_even_where_all_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    write_rows(path, ({"a": 1, "b": None, "c": "x"}, {"a": 2, "b": None, "c": None}))
    table = pyarrow.parquet.read_table(path)
    assert [str(t) for t in table.schema.types] == ["int64", "double", "string"]
    assert table.to_pylist() == [{"a": 1, "b": None, "c": "x"}, {"a": 2, "b": None, "c": None}]
    assert [p.name for p in tmp_path.iterdir()] == ["results.parquet"]
