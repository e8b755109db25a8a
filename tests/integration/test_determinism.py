"""Same seed, same bytes: two comparisons give identical rows but for what measures time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from symbio_lab.codec import read_json
from symbio_lab.scenarios.world import build_world
from tests.integration import tiny_world
from tests.integration.tiny_world import BuiltWorld

FEWER: dict[str, Any] = {"strategies": ("null_pool", "surgery_only", "marketplace_first"), "n_repair": 12}


def patches(out: Path) -> set[str]:
    return {path.name for path in out.glob("cells/*/store/*") if len(path.name) == 64}


@pytest.mark.usefixtures("installed")
def test_two_runs_give_equal_rows_and_equal_patches(built_world: BuiltWorld, tmp_path: Path) -> None:
    plan = replace(built_world.plan, **FEWER)
    runs = [tiny_world.compare(built_world.home, tmp_path / str(i), plan) for i in range(2)]
    assert tiny_world.same_rows(runs[0].rows) == tiny_world.same_rows(runs[1].rows)
    assert patches(tmp_path / "0") == patches(tmp_path / "1") != set()
    for name in (p.relative_to(tmp_path / "0") for p in (tmp_path / "0").glob("cells/*/store/*/*.safetensors")):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert (tmp_path / "0" / "plan.json").read_bytes() == (tmp_path / "1" / "plan.json").read_bytes()
    assert (tmp_path / "0" / "world.json").read_bytes() == (tmp_path / "1" / "world.json").read_bytes()


@pytest.mark.usefixtures("installed")
def test_another_seed_redraws_the_samples_but_not_the_world(built_world: BuiltWorld, tmp_path: Path) -> None:
    plan = replace(built_world.plan, n_repair=12, strategies=("surgery_only",), seeds=(0, 1))
    rows: list[Any] = [
        r for r in tiny_world.compare(built_world.home, tmp_path, plan).rows if r["strategy"] == "surgery_only"
    ]
    assert [r["seed"] for r in rows] == [0, 1]
    assert rows[0]["judge_digest"] != rows[1]["judge_digest"]
    assert rows[0]["proposed_digest"] != rows[1]["proposed_digest"]
    for name in ("base_digest", "pool_digest", "dataset_digest"):
        assert rows[0][name] == rows[1][name]


@pytest.mark.usefixtures("installed")
def test_a_world_built_elsewhere_is_the_same_world(built_world: BuiltWorld, tmp_path: Path) -> None:
    here, elsewhere = (
        build_world(built_world.name, settings=tiny_world.settings(home)) for home in (built_world.home, tmp_path)
    )
    assert elsewhere.model.weights_digest() == here.model.weights_digest()
    assert elsewhere.digest() == here.digest()


def test_all_arms_of_a_seed_are_judged_on_the_same_samples(built_world: BuiltWorld) -> None:
    table = pd.read_parquet(built_world.out / "results.parquet")
    assert len(table) == len(built_world.plan.cells())
    for name in ("judge_digest", "base_digest", "pool_digest", "n_repair", "budget_forwards_equivalent"):
        assert table[name].nunique() == 1
    assert table["base_unchanged"].all()
    assert (table["cost_forwards_equivalent"] <= table["budget_forwards_equivalent"]).all()
    for prefix in ("proposed", "deployed"):
        for name in ("fix_rate", "net_gain_pp", "negative_flip_rate"):
            value, low, high = (table[f"{prefix}_{name}{end}"] for end in ("", "_low", "_high"))
            assert ((low <= value + 1e-12) & (value <= high + 1e-12)).all()


def test_what_was_refused_is_in_the_rows(built_world: BuiltWorld) -> None:
    rows = {r["strategy"]: r for r in (read_json(p)["row"] for p in built_world.out.glob("cells/*/cell.json"))}
    codes = rows["best_single"]["refused_codes"]
    assert all(code in codes for code in ("digest_mismatch", "unknown_key", "unsigned", "wrong_base"))
    assert rows["noop"]["deployed_net_gain_pp"] == 0.0
    assert rows["noop"]["cost_forwards_equivalent"] == 0.0
    assert rows["oracle_best"]["proposed_net_gain_pp"] >= rows["best_single"]["proposed_net_gain_pp"]


def test_a_cell_changes_nothing_that_another_one_sees(built_world: BuiltWorld) -> None:
    overlays = {p.parent.parent.name for p in built_world.out.glob("cells/*/overlay/patches")}
    cells = {p.parent.name: read_json(p)["row"] for p in built_world.out.glob("cells/*/cell.json")}
    assert all(cells[name]["contributed_digest"] for name in overlays)
    assert not list(built_world.home.glob("pools/*/market/patches/healer"))
