"""An experiment with known answers: ten incidents, two pools, three sizes, four arms, one row each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

SIZES = (4, 16, 64)
POOLS = ("high", "null")
ARMS = ("noop", "best_single", "surgery_only", "null_pool")
ADVANTAGE = {4: 3.0, 16: 2.0, 64: -1.0}
"""Failures -> by how many points ``best_single`` beats ``surgery_only`` in the high pool, in every incident."""


def spec(**changed: Any) -> dict[str, Any]:
    return {
        "name": "made",
        "description": "A sweep with known answers.",
        "notebook": "heal",
        "parameters": {"strategies": list(ARMS), "reference_arms": []},
        "grid": {
            "product": {
                "scenario": [f"world-{n}" for n in range(10)],
                "pool": list(POOLS),
                "n_repair": list(SIZES),
            }
        },
        "primary_metric": "deployed_net_gain_pp",
        "contrasts": [["best_single", "surgery_only"]],
        "contrasts_within": ["n_repair"],
        "contrasts_where": {"pool": ["high"]},
        **changed,
    }


def made_rows(num_incidents: int = 10) -> pd.DataFrame:
    rows = []
    for world in range(num_incidents):
        for pool in POOLS:
            for size in SIZES:
                surgery = 1.0 + 0.1 * world
                gains = {
                    "noop": 0.0,
                    "surgery_only": surgery,
                    "best_single": surgery + ADVANTAGE[size] if pool == "high" else 0.0,
                    "null_pool": 0.5,
                }
                rows += [_row(world, pool, size, arm, gains[arm]) for arm in ARMS]
    return pd.DataFrame(rows)


def _row(world: int, pool: str, size: int, arm: str, gain: float) -> dict[str, Any]:
    deployed = gain != 0.0
    spent = {"noop": 0.0, "best_single": 5000.0, "surgery_only": 6000.0, "null_pool": 7000.0}[arm] + 100 * world
    market = 40_000.0 if arm == "best_single" else 0.0
    return {
        "run_key": f"{world}-{pool}-{size}",
        "scenario": f"world-{world}",
        "world_seed": 0,
        "pool": pool,
        "strategy": arm,
        "seed": 0,
        "n_repair": size,
        "gate": "lab",
        "deployed": deployed,
        "harmful": deployed and gain < 0,
        "label_shift": "new",
        "deployed_net_gain_pp": gain,
        "deployed_net_gain_pp_low": gain - 0.4,
        "deployed_net_gain_pp_high": gain + 0.4,
        "deployed_net_gain_pp_n": 2400,
        "deployed_fix_rate": min(1.0, gain / 10),
        "deployed_negative_flip_rate": 0.01 if deployed else 0.0,
        "deployed_slice_accuracy": 0.0,
        "deployed_slice_accuracy_n": 400,
        "deployed_control_accuracy": 0.95,
        "deployed_control_accuracy_n": 2000,
        "realised_relevance_pp": 9.0 if pool == "high" else 0.5,
        "cost_forwards_equivalent": spent,
        "cost_wall_s": 12.0,
        "pool_forwards_equivalent": market,
        **{f"amortised_forwards_equivalent_j{j}": spent + market / j for j in (1, 10, 100)},
        "device": "cpu",
        "dtype": "float32",
        "base_unchanged": True,
        **{f"{name}_digest": f"{name}{world}" * 8 for name in ("dataset", "base", "pool", "judge")},
    }


def write_experiment(folder: Path, frame: pd.DataFrame | None = None, **changed: Any) -> Path:
    """Write ``sweep.yaml`` and ``results/made.parquet``."""
    (folder / "results").mkdir(parents=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec(**changed)))
    (made_rows() if frame is None else frame).to_parquet(folder / "results" / "made.parquet")
    return folder
