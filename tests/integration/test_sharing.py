"""What no pool decides is computed once, and a shared folder changes no figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from symbio_lab.comparison import compare as comparing
from symbio_lab.comparison.sharing import reads_market
from symbio_lab.errors import DataError
from symbio_lab.healing.catalogue import STRATEGY_NAMES
from tests.integration import tiny_world
from tests.integration.tiny_world import BuiltWorld

pytestmark = pytest.mark.usefixtures("installed")
ALONE = {"noop", "prototype_rows", "head_retrain", "lora", "lora_replay", "surgery_only"}


def rows_of(done: Any) -> list[dict[str, Any]]:
    return tiny_world.same_rows(done.rows)


def test_arms_that_read_no_market_say_so() -> None:
    assert {name for name in (*STRATEGY_NAMES, "oracle_best") if not reads_market(name)} == ALONE


def test_shared_results_are_those_of_a_run_alone(built_world: BuiltWorld, tmp_path: Path) -> None:
    for repeat in range(2):
        done = tiny_world.compare(
            built_world.home, tmp_path / f"out-{repeat}", built_world.plan, shared=tmp_path / "shared"
        )
        alone = pq.read_table(built_world.out / "results.parquet").to_pylist()
        assert rows_of(done) == tiny_world.same_rows(alone)
    num_alone = sum(name in ALONE for name in built_world.plan.arms)
    assert len(list((tmp_path / "shared" / "cells").glob("*/cell.json"))) == num_alone
    assert list((tmp_path / "shared" / "outputs").glob("*.parquet"))


def test_another_pool_takes_the_rows_that_no_pool_decides(
    built_world: BuiltWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to computing them for that pool, but not computed again."""
    plan = replace(built_world.plan, strategies=("noop", "surgery_only", "best_single"), reference_arms=())
    low = replace(plan, pool="null")
    alone = tiny_world.compare(built_world.home, tmp_path / "alone", low)
    tiny_world.compare(built_world.home, tmp_path / "high", plan, shared=tmp_path / "shared")
    ran: list[str] = []
    run_cell = comparing._run_cell

    def watched(*given: Any, **options: Any) -> Any:
        ran.append(next(name for name in given if name in plan.arms))
        return run_cell(*given, **options)

    monkeypatch.setattr(comparing, "_run_cell", watched)
    shared = tiny_world.compare(built_world.home, tmp_path / "null", low, shared=tmp_path / "shared")
    assert ran == ["best_single"]
    assert rows_of(shared) == rows_of(alone)
    assert {row["pool"] for row in shared.rows} == {"null"}


def test_another_setting_is_another_cell(built_world: BuiltWorld, tmp_path: Path) -> None:
    plan = replace(built_world.plan, strategies=("surgery_only",), reference_arms=())
    for n_repair in (24, 12):
        tiny_world.compare(
            built_world.home, tmp_path / str(n_repair), replace(plan, n_repair=n_repair), shared=tmp_path / "shared"
        )
    assert len(list((tmp_path / "shared" / "cells").glob("*/cell.json"))) == 2


def test_damaged_answers_are_named(built_world: BuiltWorld, tmp_path: Path) -> None:
    plan = replace(built_world.plan, strategies=("noop",), reference_arms=())
    tiny_world.compare(built_world.home, tmp_path / "a", plan, shared=tmp_path / "shared")
    for path in (tmp_path / "shared" / "outputs").glob("*.parquet"):
        path.write_bytes(b"PAR1 and then nothing")
    for path in (tmp_path / "shared" / "cells").glob("*/cell.json"):
        path.unlink()
    with pytest.raises(DataError, match="damaged"):
        tiny_world.compare(built_world.home, tmp_path / "b", plan, shared=tmp_path / "shared")
