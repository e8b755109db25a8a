"""Deployments on the bases of worlds: put a healed cell's patch live, and take it back bit for bit.

Command line and widgets call these; what a deployment was measured on is drawn again from its record
(``registered_models.py``).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.codec import build_folder, write_json
from symbio_lab.config import Settings
from symbio_lab.deployment.deploy import deploy, restore, roll_back
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import NotFoundError
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.events import Listener
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Deployment, Patch
from symbio_lab.scenarios.registered_models import (
    DeploymentRecord,
    ModelRecord,
    deployment_file,
    load_model,
    predictions_digest,
    probe_texts,
    rebuild,
    record_of,
    reopen_from,
    save_model,
)
from symbio_lab.scenarios.world import World
from symbio_lab.store import open_store
from symbio_lab.store.ledger import Ledger
from symbio_lab.trust.stored import open_stored


@dataclass(frozen=True, slots=True)
class WorldDeployed:
    """A deployment, and what was predicted around it."""

    line: Deployment
    before: str
    """Digest of the predictions before it."""
    after: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a roll-back undid, and what answers now."""

    undone: Deployment
    line: Deployment
    before: str | None
    """Digest of the predictions before the deployment; None if no record was kept."""
    deployed: str
    now: str

    @property
    def is_bit_equal(self) -> bool | None:
        """Whether the predictions are those of before the deployment, to the last bit; None: not recorded."""
        return None if self.before is None else self.now == self.before


def serving_now(settings: Settings, model: PatchableModel, tenant: str, model_id: str) -> tuple[ModelRegistry, Ledger]:
    """Return a registry in which what the ledger says is live answers for the tenant, and the ledger.

    Raises:
        TrustError: the base differs from the ledger's, or files of the patch changed.
        StorageError: the store cannot be read.
    """
    registry, ledger = ModelRegistry(), Ledger(open_store(settings.store))
    registry.register(model_id, model)
    restore(registry, ledger, tenant=tenant, model_id=model_id, reopen=lambda digest: reopen_from(settings, digest))
    return registry, ledger


def deploy_stored(
    world: World,
    store: Path,
    digest: str,
    *,
    tenant: str,
    model_id: str,
    seed: int,
    sizes: SuiteSizes,
    contributor_size: int | None,
    now: str,
    note: str = "",
    listener: Listener | None = None,
) -> WorldDeployed:
    """Put a patch live that a comparison's cell left in its store.

    Args:
        world: whose base it was made for.
        store: folder of verified and sealed patches.
        digest: the patch's payload digest.
        tenant: who gets it.
        model_id: id of the base, remembered for ``symbio rollback``.
        seed: seed of the incident that was healed.
        sizes: sizes of that incident.
        contributor_size: as the world was built with.
        now: UTC time.
        note: for the ledger.
        listener: told about it.

    Raises:
        NotFoundError: the store holds no such patch.
        TrustError: its files changed, or it belongs to another base.
        ConfigError: the model id names another base already.
        StorageError: the state folder cannot be written; nothing is live then.
    """
    settings = world.settings
    kept = keep_patch(settings, store, digest)
    save_model(
        settings,
        ModelRecord(
            model_id=model_id,
            scenario=world.name,
            world_seed=world.world_seed,
            contributor_size=contributor_size,
            base_digest=world.model.digest,
            seed=seed,
            n_repair=sizes.n_repair,
            num_threads=settings.num_threads,
        ),
    )
    registry, ledger = serving_now(settings, world.model, tenant, model_id)
    texts = probe_texts(world.incident(sizes, seed))
    before = predictions_digest(registry, tenant, model_id, texts)
    line = deploy(registry, ledger, kept, tenant=tenant, model_id=model_id, now=now, note=note, listener=listener)
    after = predictions_digest(registry, tenant, model_id, texts)
    record = DeploymentRecord(line.deployment_id, seed, sizes.n_repair, sizes.n_control_selection, before, after)
    write_json(deployment_file(settings, line.deployment_id), record)
    return WorldDeployed(line, before, after)


def roll_back_world(
    settings: Settings, tenant: str, model_id: str, *, now: str, listener: Listener | None = None
) -> RolledBack:
    """Undo a tenant's live deployment on a world's base, and compare the predictions with those before it.

    Raises:
        NotFoundError: nothing is deployed.
        ModelUnresolvedError: the base is unknown, or cannot be built again.
        TrustError: files of a patch changed.
        StorageError: the ledger cannot be written; nothing changed.
    """
    ledger, registry = Ledger(open_store(settings.store)), ModelRegistry()
    current = ledger.current(tenant, model_id)
    if current is None or current.patch_digest is None:
        raise NotFoundError(
            f"nothing is deployed for tenant {tenant!r} on {model_id!r}", hint="list what is: symbio ledger"
        )
    model = load_model(settings, model_id)
    kept = record_of(settings, current, ledger.history(tenant, model_id))
    world = rebuild(settings, model, listener)
    registry.register(model_id, world.model)

    def reopen(digest: str) -> Patch:
        return reopen_from(settings, digest)

    restore(registry, ledger, tenant=tenant, model_id=model_id, reopen=reopen)
    n_repair, seed = (kept.n_repair, kept.seed) if kept else (model.n_repair, model.seed)
    sizes = SuiteSizes(n_repair=n_repair, n_control_selection=kept.n_control) if kept else SuiteSizes(n_repair=n_repair)
    texts = probe_texts(world.incident(sizes, seed))
    deployed = predictions_digest(registry, tenant, model_id, texts)
    line = roll_back(registry, ledger, tenant=tenant, model_id=model_id, now=now, reopen=reopen, listener=listener)
    after = predictions_digest(registry, tenant, model_id, texts)
    return RolledBack(current, line, kept.before if kept else None, deployed, after)


def keep_patch(settings: Settings, store: Path, digest: str) -> Patch:
    """Copy a patch from a comparison's store to the state folder and return it, every file hashed again.

    Raises:
        NotFoundError: the store holds no such patch.
        TrustError: its files changed.
        StorageError: the state folder cannot be written.
    """
    patch = open_stored(store, digest)
    build_folder(settings.patches / digest, lambda into: _copy(patch.root, into))
    return reopen_from(settings, digest)


def _copy(source: Path, into: Path) -> None:
    shutil.copytree(source, into, dirs_exist_ok=True)
