"""What the healing bench runs in a process of its own for a user's model and table; results are JSON.

Rules:
    1. A deployed patch lies in the patch store and in the ledger, and its base is registered: ``symbio serve`` on the
       same store answers with it.
    2. What the model answered on rows of the table before a deployment is kept, so that a roll-back can show that the
       same answers are back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symbio_lab.codec import from_plain, write_json
from symbio_lab.comparison.own_data import OwnData, compare_own_data, market_or_none
from symbio_lab.config import Settings, load_settings
from symbio_lab.deployment.deploy import deploy, roll_back
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.events import Listener
from symbio_lab.models.loading import load_model, use_threads
from symbio_lab.records import Patch
from symbio_lab.scenarios.own_tables import read_own
from symbio_lab.scenarios.registered_models import (
    DeploymentRecord,
    deployment_file,
    predictions_digest,
    record_of,
    reopen_from,
)
from symbio_lab.scenarios.world_deployments import keep_patch, serving_now
from symbio_lab.store import open_store
from symbio_lab.store.api_keys import OPERATOR
from symbio_lab.store.ledger import Ledger
from symbio_lab.store.observed_time import utc_now
from symbio_lab.store.registered_models import RegisteredModel, RegisteredModels
from symbio_lab.widgets.plans import plan_from

NUM_PROBES = 64
"""Rows of the table that are answered before and after a deployment."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A user's model, its traffic, and the market to search."""

    model: str
    """Hub id, or folder of ``save_pretrained``."""
    data: OwnData = field(default_factory=lambda: OwnData(""))
    """``slice`` must be named: the bench heals one."""
    market: str = ""
    """Address of a market; empty: arms that adopt find nothing and say so."""

    def check(self) -> None:
        """Raise ``ConfigError`` naming everything that is missing at once."""
        problems = self.data.problems()
        problems += [] if self.model.strip() else ["no model: give a folder of save_pretrained, or a Hub id"]
        problems += [] if self.data.data.strip() else ["no table: give a CSV, JSONL or Parquet file, or a Hub dataset"]
        problems += [] if self.data.slice else ["no slice: say what fails, COLUMN=VALUE"]
        if problems:
            raise ConfigError(problems)

    @property
    def model_id(self) -> str:
        """Id of the base in the ledger: its Hub id, or the name of its folder."""
        return Path(self.model).name if Path(self.model).is_dir() else self.model


def run_own(
    own: Mapping[str, Any],
    plan: Mapping[str, Any],
    out: str,
    *,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Run what is missing of a comparison on a user's model and return where it is.

    Raises:
        HealingCancelledError: it was stopped; finished cells stay.
        SymbioError: as ``compare_own_data``.
    """
    asked = from_plain(OwnModel, own)
    done = compare_own_data(
        asked.model,
        asked.data,
        Path(out),
        plan=plan_from(plan),
        market=market_or_none(asked.market),
        listener=listener,
        should_stop=should_stop,
    )
    return {"out": str(done.out), "num_cells": sum(len(one.rows) for one in done.comparisons.values())}


def deploy_own(
    own: Mapping[str, Any],
    store: str,
    digest: str,
    tenant: str,
    *,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Put an accepted patch of a cell live for a tenant.

    Raises:
        NotFoundError: the comparison keeps no such patch.
        ConfigError: the model's id names another base already.
        TrustError: files of the patch changed.
        StorageError: the state folder cannot be written; nothing is live then.
    """
    asked, settings = from_plain(OwnModel, own), load_settings().settings
    if not (Path(store) / digest).is_dir():
        raise NotFoundError(f"no patch {digest[:12]} in this comparison", hint="run the bench again")
    patch, texts, model_id, now = (
        keep_patch(settings, Path(store), digest),
        _probes(asked.data),
        asked.model_id,
        utc_now(),
    )
    registry, ledger = _serving(asked, settings, tenant)
    model = registry.model(model_id)
    source = str(Path(asked.model).resolve()) if Path(asked.model).is_dir() else asked.model
    RegisteredModels(open_store(settings.store)).register(
        RegisteredModel(OPERATOR, model_id, source, None, model.task_type, model.digest, now)
    )
    before = predictions_digest(registry, tenant, model_id, texts)
    line = deploy(
        registry, ledger, patch, tenant=tenant, model_id=model_id, now=now, note="healing bench", listener=listener
    )
    after = predictions_digest(registry, tenant, model_id, texts)
    record = DeploymentRecord(line.deployment_id, 0, 0, 0, before, after)
    write_json(deployment_file(settings, line.deployment_id), record)
    return {"deployment_id": line.deployment_id, "patch_id": line.patch_id, "changed": before != after}


def undo_own(
    own: Mapping[str, Any], tenant: str, *, listener: Listener, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    """Roll a tenant's deployment on a user's model back.

    Raises:
        NotFoundError: nothing is deployed.
        TrustError: files of a patch changed.
        StorageError: the ledger cannot be written; nothing changed.
    """
    asked, settings = from_plain(OwnModel, own), load_settings().settings
    model_id = asked.model_id
    registry, ledger = _serving(asked, settings, tenant)
    current = ledger.current(tenant, model_id)
    kept = record_of(settings, current, ledger.history(tenant, model_id)) if current is not None else None

    def reopen(digest: str) -> Patch:
        return reopen_from(settings, digest)

    line = roll_back(
        registry, ledger, tenant=tenant, model_id=model_id, now=utc_now(), reopen=reopen, listener=listener
    )
    now = predictions_digest(registry, tenant, model_id, _probes(asked.data))
    return {
        "deployment_id": line.deployment_id,
        "patch_id": line.patch_id,
        "bit_equal": None if kept is None else kept.before == now,
    }


def _serving(asked: OwnModel, settings: Settings, tenant: str) -> tuple[ModelRegistry, Ledger]:
    """Return a registry in which what the ledger says is live answers for the tenant, and the ledger."""
    use_threads(settings.num_threads)
    model = load_model(asked.model, device=settings.device, dtype=settings.dtype)
    return serving_now(settings, model, tenant, asked.model_id)


def _probes(data: OwnData) -> list[str]:
    texts = [sample.text for sample in read_own(data).data.samples]
    return texts[:: max(1, len(texts) // NUM_PROBES)][:NUM_PROBES]
