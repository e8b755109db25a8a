"""What the healing bench runs in a process of its own: a comparison, a deployment, a roll-back.

Arguments and results are JSON; each function is what a script would call (``Child`` gives ``listener`` and
``should_stop``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from symbio_lab.comparison.compare import compare, world_of
from symbio_lab.config import load_settings
from symbio_lab.errors import NotFoundError
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.events import Listener
from symbio_lab.scenarios.world_deployments import deploy_stored, roll_back_world
from symbio_lab.store.observed_time import utc_now
from symbio_lab.widgets.plans import plan_from

ShouldStop = Callable[[], bool]


def run_plan(plan: Mapping[str, Any], out: str, *, listener: Listener, should_stop: ShouldStop) -> dict[str, Any]:
    """Run what is missing of a comparison and return where it is.

    Raises:
        HealingCancelledError: it was stopped; finished cells stay.
        SymbioError: as ``compare``.
    """
    done = compare(plan_from(plan), Path(out), listener=listener, should_stop=should_stop)
    return {"out": str(done.out), "num_cells": len(done.rows)}


def deploy_arm(
    plan: Mapping[str, Any],
    store: str,
    digest: str,
    tenant: str,
    model_id: str,
    *,
    listener: Listener,
    should_stop: ShouldStop,
) -> dict[str, Any]:
    """Put an accepted patch of a cell live for a tenant.

    Raises:
        NotFoundError: the comparison keeps no such patch.
        SymbioError: as ``deploy_stored``.
    """
    asked = plan_from(plan)
    if not (Path(store) / digest).is_dir():
        raise NotFoundError(f"no patch {digest[:12]} in this comparison", hint="run the bench again")
    world = world_of(asked, settings=load_settings().settings, listener=listener)
    done = deploy_stored(
        world,
        Path(store),
        digest,
        tenant=tenant,
        model_id=model_id,
        seed=asked.seeds[0],
        sizes=SuiteSizes(n_repair=asked.n_repair, n_control_selection=asked.n_control),
        contributor_size=asked.contributor_size,
        now=utc_now(),
        note="healing bench",
        listener=listener,
    )
    return {
        "deployment_id": done.line.deployment_id,
        "patch_id": done.line.patch_id,
        "changed": done.before != done.after,
    }


def undo(tenant: str, model_id: str, *, listener: Listener, should_stop: ShouldStop) -> dict[str, Any]:
    """Roll a tenant's deployment back.

    Raises:
        SymbioError: as ``roll_back_world``.
    """
    done = roll_back_world(load_settings().settings, tenant, model_id, now=utc_now(), listener=listener)
    return {
        "deployment_id": done.line.deployment_id,
        "patch_id": done.line.patch_id,
        "bit_equal": done.is_bit_equal,
    }
