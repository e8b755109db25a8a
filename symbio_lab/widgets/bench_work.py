"""What a healing bench starts, by what is chosen: a world of the catalogue, or a user's own model and table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from symbio_lab.codec import to_plain
from symbio_lab.config import load_settings
from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.records import content_id
from symbio_lab.scenarios.registered_models import default_model_id
from symbio_lab.store import open_store
from symbio_lab.store.ledger import Ledger
from symbio_lab.widgets.bench_controls import BenchControls
from symbio_lab.widgets.bench_results import Cell
from symbio_lab.widgets.plans import plan_fields

Work = tuple[str, dict[str, Any]]
"""Function of the package and its arguments, as JSON."""


def results_folder(controls: BenchControls, out: Path) -> Path:
    """Return where the results of the choices made are kept: another model or table has a folder of its own.

    Raises:
        ConfigError: something of an own model is missing.
    """
    own = controls.own_model
    return out if own is None else out / f"own-{content_id(to_plain(own))[:12]}"


def running(controls: BenchControls, out: Path) -> Work:
    """Return the comparison.

    Raises:
        ConfigError: a choice is wrong.
    """
    asked: dict[str, Any] = {"plan": plan_fields(controls.plan), "out": str(results_folder(controls, out))}
    own = controls.own_model
    return ("healing_run:run_plan", asked) if own is None else ("own_run:run_own", asked | {"own": asdict(own)})


def deploying(controls: BenchControls, cell: Cell, tenant: str) -> Work:
    """Return the deployment of a cell's accepted patch.

    Raises:
        ConfigError: a choice is wrong.
    """
    asked = {"store": str(cell.folder / "store"), "digest": cell.deployable, "tenant": tenant}
    own = controls.own_model
    if own is not None:
        return "own_run:deploy_own", asked | {"own": asdict(own)}
    return "healing_run:deploy_arm", asked | {"plan": plan_fields(controls.plan), "model_id": base_name(controls)}


def undoing(controls: BenchControls, tenant: str) -> Work:
    """Return the roll-back of the tenant's deployment.

    Raises:
        ConfigError: a choice is wrong.
    """
    own = controls.own_model
    if own is not None:
        return "own_run:undo_own", {"own": asdict(own), "tenant": tenant}
    return "healing_run:undo", {"tenant": tenant, "model_id": base_name(controls)}


def contributing(controls: BenchControls, tenant: str, market: str, publish_as: str) -> Work:
    """Return the contribution of the patch that is live for the tenant.

    Raises:
        ConfigError: market or name is missing, or the model is the user's own.
        NotFoundError: nothing is live.
    """
    if controls.own_model is not None:
        raise ConfigError(
            ["the bench contributes patches of the catalogue's worlds"],
            hint="serve the model with its licence (symbio serve --model ID=MODEL --licence ID=SPDX): jobs contribute",
        )
    line = Ledger(open_store(load_settings().settings.store)).current(tenant, base_name(controls))
    if line is None or line.patch_digest is None:
        raise NotFoundError("nothing is live for this tenant", hint="deploy an arm first")
    if not market.strip() or not publish_as.strip():
        raise ConfigError(["name the market and what to publish as"])
    where = ["--market", market.strip(), "--as", publish_as.strip()]
    return "commands:run_symbio", {"arguments": ["market", "contribute", line.deployment_id, *where]}


def base_name(controls: BenchControls) -> str:
    """Return the id of the base in the ledger, as ``symbio heal`` and ``symbio serve`` name it.

    Raises:
        ConfigError: something of an own model is missing.
    """
    own = controls.own_model
    return default_model_id(controls.scenario.value, 0) if own is None else own.model_id
