"""Figures by strategy over the seeds, and what can and cannot be said from them.

Within an incident, intervals are exact. Over seeds of one world the mean is shown with its range only: the unit of
inference is the incident, and below 8 incidents no bootstrap over incidents is made, so a comparison on one world is
called exploratory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from symbio_lab.comparison.plan import REFERENCE_ARMS, ComparisonPlan

MIN_BLOCKS = 8
MEANS = (
    "proposed_fix_rate",
    "deployed_fix_rate",
    "proposed_net_gain_pp",
    "deployed_net_gain_pp",
    "proposed_negative_flip_rate",
    "deployed_negative_flip_rate",
    "deployed_locality",
    "deployed_backdoor_rate",
    "cost_forwards_equivalent",
    "cost_bytes",
    "cost_wall_s",
    "cost_cpu_s",
)


def summarize(plan: ComparisonPlan, rows: Sequence[Mapping[str, Any]], world: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary that ``summary.json`` holds."""
    names = list(plan.arms)
    strategies = {name: _of_strategy([r for r in rows if r["strategy"] == name]) for name in names}
    return {
        "schema": 1,
        "scenario": plan.scenario,
        "pool": plan.pool,
        "n_repair": plan.n_repair,
        "num_incidents": len(plan.seeds),
        "exploratory": True,
        "exploratory_reason": f"one world; inference needs at least {MIN_BLOCKS} incidents from several worlds",
        "primary_metric": "net_gain_pp",
        "realised_relevance_pp": world["pool"].get("realised_relevance_pp"),
        "strategies": strategies,
        "best_deployed": _best(strategies, [n for n in names if n not in REFERENCE_ARMS]),
        "break_even_incidents": _break_even(strategies, rows),
    }


def _of_strategy(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "family": rows[0]["family"],
        "statuses": sorted(str(r["status"]) for r in rows),
        "deploy_rate": sum(bool(r["deployed"]) for r in rows) / len(rows),
        "harmful_deploy_rate": sum(bool(r["harmful"]) for r in rows) / len(rows),
        "num_seeds": len(rows),
    }
    for name in MEANS:
        values = [float(r[name]) for r in rows if r[name] is not None]
        figures[name] = sum(values) / len(values) if values else None
        figures[f"{name}_min"] = min(values) if values else None
        figures[f"{name}_max"] = max(values) if values else None
    return figures


def _best(strategies: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str | None:
    gains = {
        n: strategies[n]["deployed_net_gain_pp"] for n in names if strategies[n]["deployed_net_gain_pp"] is not None
    }
    return max(gains, key=lambda n: gains[n]) if gains else None


def _break_even(strategies: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the number of incidents after which the pool's training is paid back by cheaper healing.

    None when one of the two arms is missing, when adopting is not cheaper than operating, or when nothing is known of
    what the pool cost (a user's own market, or none).
    """
    if not {"best_single", "surgery_only"} <= set(strategies):
        return None
    saved = (
        strategies["surgery_only"]["cost_forwards_equivalent"] - strategies["best_single"]["cost_forwards_equivalent"]
    )
    pool = max((float(r["pool_forwards_equivalent"]) for r in rows), default=0.0)
    return math.ceil(pool / saved) if saved > 0 and pool > 0 else None
