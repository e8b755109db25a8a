"""One result row for one cell: flat, typed, the same columns for every arm.

Columns that end in ``_wall_s`` or ``_cpu_s`` are timings; all others are equal whenever a cell is run again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from symbio_lab.comparison.judge import Judged
from symbio_lab.comparison.market import Market
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.evaluation.suites import FailureSuite
from symbio_lab.records import HealingOutcome, Interval
from symbio_lab.scenarios.world import World

AMORTISED = (1, 10, 100)
TIMING_SUFFIXES = ("_wall_s", "_cpu_s")


def flatten(prefix: str, judged: Judged) -> dict[str, Any]:
    """Return figures as columns: value, ``_low``, ``_high`` and ``_n`` for intervals."""
    columns: dict[str, Any] = {}
    for name, figure in judged.figures.items():
        if isinstance(figure, Interval):
            columns |= {
                f"{prefix}_{name}": figure.value,
                f"{prefix}_{name}_low": figure.low,
                f"{prefix}_{name}_high": figure.high,
                f"{prefix}_{name}_n": figure.n,
            }
        elif name in ("control_ece", "edit_score", "slice_exact_match"):
            columns[f"{prefix}_{name}"] = figure
        else:
            columns |= {f"{prefix}_{name}{end}": None for end in ("", "_low", "_high")} | {f"{prefix}_{name}_n": 0}
    return columns


def cost_columns(outcome: HealingOutcome, pool_account: Mapping[str, float]) -> dict[str, Any]:
    """Return the three cost accounts: marginal (the healer's), pool (all contributors'), amortised.

    Args:
        outcome: of the cell.
        pool_account: forwards-equivalent, CPU seconds and labels of the pool; zeros for arms that use no pool.
    """
    cost = outcome.cost
    marginal = cost.total("forwards_equivalent")
    columns: dict[str, Any] = {
        "cost_forwards_equivalent": marginal,
        "cost_flops": cost.total("flops"),
        "cost_bytes": int(cost.total("num_bytes")),
        "cost_wall_s": cost.total("wall_s"),
        "cost_cpu_s": cost.total("cpu_s"),
        "pool_forwards_equivalent": pool_account["forwards_equivalent"],
        "pool_train_cpu_s": pool_account["cpu_s"],
        "pool_num_labels": int(pool_account["num_labels"]),
    }
    for incidents in AMORTISED:
        columns[f"amortised_forwards_equivalent_j{incidents}"] = (
            marginal + pool_account["forwards_equivalent"] / incidents
        )
    phases = {name: {"forwards_equivalent": c.forwards_equivalent, "flops": c.flops} for name, c in cost.phases}
    columns["phase_forwards"] = json.dumps({k: v["forwards_equivalent"] for k, v in phases.items()}, sort_keys=True)
    columns["phases_wall_s"] = json.dumps({name: c.wall_s for name, c in cost.phases}, sort_keys=True)
    return columns


def pool_account(pool: Market, family: str) -> dict[str, float]:
    """Return what the pool cost all its contributors; zeros for surgery and for doing nothing."""
    names = {
        "forwards_equivalent": "train_forwards_equivalent",
        "cpu_s": "train_cpu_s",
        "num_labels": "train_num_labels",
    }
    if family not in ("marketplace", "hybrid"):
        return dict.fromkeys(names, 0.0)
    return {name: float(sum(c[key] for c in pool.info.get("contributors", ()))) for name, key in names.items()}


def result_row(
    plan: ComparisonPlan,
    world: World,
    pool: Market,
    suite: FailureSuite,
    seed: int,
    outcome: HealingOutcome,
    proposed: Judged,
    deployed: Judged,
) -> dict[str, Any]:
    """Return the row of one cell."""
    refused = Counter(a.code for a in outcome.attempts if a.status == "refused")
    gain = deployed.figures["net_gain_pp"]
    net = gain.value if isinstance(gain, Interval) else None
    seen = outcome.num_labels_seen
    return {
        "scenario": plan.scenario,
        "pool": plan.pool,
        "strategy": outcome.strategy,
        "family": outcome.family,
        "world_seed": plan.world_seed,
        "seed": seed,
        "n_repair": plan.n_repair,
        "contributor_size": world.recipe.contributor_size,
        "base_per_label": world.recipe.base_per_label,
        "status": outcome.status,
        "route": outcome.route,
        "gate": plan.gate,
        "deployed": outcome.deployed is not None,
        "harmful": outcome.deployed is not None and net is not None and net < 0,
        **flatten("proposed", proposed),
        **flatten("deployed", deployed),
        **cost_columns(outcome, pool_account(pool, outcome.family)),
        "budget_forwards_equivalent": plan.budget_forwards or world.recipe.budget_forwards,
        "num_candidates": sum(
            a.kind == "marketplace" and a.status in ("screened", "refused") for a in outcome.attempts
        ),
        "num_refused": sum(refused.values()),
        "refused_codes": json.dumps(dict(sorted(refused.items()))),
        "num_labels_seen_repair": seen.get("repair", 0),
        "num_labels_seen_selection": seen.get("selection", 0),
        "num_labels_seen_replay": seen.get("replay", 0),
        "num_labels_seen_control": seen.get("control_selection", 0),
        "realised_relevance_pp": pool.info.get("realised_relevance_pp"),
        "label_shift": world.recipe.label_shift,
        "disjoint_by": suite.disjoint_by,
        "proposed_patch": outcome.proposed.patch_id if outcome.proposed else None,
        "proposed_digest": outcome.proposed.digest if outcome.proposed else None,
        "deployed_digest": outcome.deployed.digest if outcome.deployed else None,
        "contributed_digest": outcome.contributed,
        "base_digest": world.model.digest,
        "pool_digest": pool.digest,
        "dataset_digest": world.dataset_digest,
        "judge_digest": suite.judge.digest(),
        "dtype": world.model.dtype,
        "device": world.model.device,
    }
