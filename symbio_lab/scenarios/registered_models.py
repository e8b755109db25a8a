"""How a later command gets the same base again: one small record for each model id, one for each deployment.

Layout below the state folder::

    models/<model id>.json              the scenario world that the base was built from
    models/deployments/<id>.json        the incident that a deployment healed, and what was predicted before and after

Both are written whole or not at all; a deployment without its record can still be rolled back, but not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from symbio_lab.codec import from_plain, read_json, write_json
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, ModelUnresolvedError
from symbio_lab.records import Deployment, Patch, content_id

if TYPE_CHECKING:
    from symbio_lab.deployment.registry import ModelRegistry
    from symbio_lab.evaluation.suites import FailureSuite
    from symbio_lab.events import Listener
    from symbio_lab.scenarios.world import World


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What the base of a model id is built from."""

    model_id: str
    scenario: str
    world_seed: int
    contributor_size: int | None
    base_digest: str
    seed: int
    """Seed of the incident that was healed last."""
    n_repair: int
    """Labelled failures of the incident that was healed last."""
    num_threads: int
    """Threads that the predictions were made with: another number may change their last bits."""
    schema: int = 1


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """What was predicted around one deployment, on texts that can be drawn again."""

    deployment_id: str
    seed: int
    n_repair: int
    n_control: int
    before: str
    """Digest of the predictions before it."""
    after: str
    """Digest of the predictions after it."""
    schema: int = 1


def default_model_id(scenario: str, world_seed: int) -> str:
    """Return the model id of a world's base: another world seed is another base.

    >>> default_model_id("clinc150/travel", 0), default_model_id("helpdesk", 3)
    ('clinc150/travel', 'helpdesk/world-3')
    """
    return scenario if world_seed == 0 else f"{scenario}/world-{world_seed}"


def slug(name: str) -> str:
    """Return a name as one part of a path: legal everywhere, and different for different names.

    >>> slug("clinc150/travel")
    'clinc150~travel'
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "~" if c == "/" else "-" for c in name)
    unchanged = plain.replace("~", "/") == name and 0 < len(plain) <= 80 and not plain.startswith((".", "~"))
    return plain if unchanged and not plain.endswith(".") else f"{plain.strip('.~')[:80]}-{content_id(name)[:8]}"


def model_file(settings: Settings, model_id: str) -> Path:
    """Return the path of a model's record."""
    return settings.home / "models" / f"{slug(model_id)}.json"


def save_model(settings: Settings, record: ModelRecord) -> None:
    """Write a model's record.

    Raises:
        ConfigError: the id names another base already.
        StorageError: the state folder cannot be written.
    """
    path = model_file(settings, record.model_id)
    if path.is_file():
        known = load_model(settings, record.model_id)
        if known.base_digest != record.base_digest:
            raise ConfigError(
                [f"model id {record.model_id!r} names another base already"], hint="choose another id by --model"
            )
    write_json(path, record)


def load_model(settings: Settings, model_id: str) -> ModelRecord:
    """Return a model's record.

    Raises:
        ModelUnresolvedError: no model was healed under this id.
        DataError: the record is damaged.
    """
    path = model_file(settings, model_id)
    if not path.is_file():
        raise ModelUnresolvedError(
            f"no model is registered as {model_id!r}", hint="symbio heal registers one; symbio ledger lists them"
        )
    return from_plain(ModelRecord, read_json(path))


def deployment_file(settings: Settings, deployment_id: str) -> Path:
    """Return the path of a deployment's record."""
    return settings.home / "models" / "deployments" / f"{deployment_id}.json"


def record_of(settings: Settings, line: Deployment, history: Sequence[Deployment]) -> DeploymentRecord | None:
    """Return the record of the deployment that brought ``line``'s patch live, if it was kept.

    Args:
        settings: state folder.
        line: the tenant's current line.
        history: all lines of this tenant and model, oldest first.
    """
    for deployment in reversed(history):
        path = deployment_file(settings, deployment.deployment_id)
        if deployment.patch_digest == line.patch_digest and path.is_file():
            return from_plain(DeploymentRecord, read_json(path))
    return None


def rebuild(settings: Settings, record: ModelRecord, listener: Listener | None) -> World:
    """Return the world of a record with the same base.

    Raises:
        ModelUnresolvedError: the base comes out differently, so the predictions could not be compared.
        SymbioError: as ``build_world``.
    """
    from symbio_lab.scenarios.world import build_world

    world = build_world(
        record.scenario,
        world_seed=record.world_seed,
        contributor_size=record.contributor_size,
        settings=replace(settings, num_threads=record.num_threads),
        listener=listener,
    )
    if world.model.digest != record.base_digest:
        raise ModelUnresolvedError(
            f"{record.model_id!r} cannot be built again: its base comes out differently",
            hint="the dataset, the encoder or the release changed; use those that it was healed with",
        )
    return world


def reopen_from(settings: Settings, digest: str) -> Patch:
    """Return a stored patch by its digest, every file hashed again."""
    from symbio_lab.trust.stored import open_stored

    return open_stored(settings.patches, digest)


def probe_texts(suite: FailureSuite) -> list[str]:
    """Return the texts that predictions are compared on: the incident's controls and its withheld failures."""
    return [sample.text for sample in (*suite.task.control_selection, *suite.task.selection)]


def predictions_digest(registry: ModelRegistry, tenant: str, model_id: str, texts: Sequence[str]) -> str:
    """Return the content id of what the tenant's deployed model answers, confidences included to the last bit."""
    predictions = registry.predict(tenant, model_id, texts)
    return content_id([predictions.outputs, predictions.confidences])
