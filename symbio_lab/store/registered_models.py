"""Which base answers under which id: registered by an operator for everybody, or by a tenant for itself.

Rules:
    1. A tenant's own registration hides the operator's of the same id; other tenants do not see it.
    2. The digest is stored: a source whose files change is another base, and is refused when it is loaded.
    3. An id is registered once; registering the same base again can only state its licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from symbio_lab.errors import ConfigError, ModelUnresolvedError
from symbio_lab.records import TaskType
from symbio_lab.store.api_keys import OPERATOR
from symbio_lab.store.connection import Store


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One registration."""

    owner: str
    """Tenant, or ``*``: for everybody."""
    model_id: str
    source: str
    """Folder or Hub id."""
    revision: str | None
    task_type: TaskType
    digest: str
    """Root digest of the base, 64 hex."""
    created_at: str
    """UTC, ISO-8601, ends in ``Z``."""
    licence: str | None = None
    """SPDX expression of the base; None: not known, so that nothing made from it is contributed."""


class RegisteredModels:
    """The registrations of one store; making the object touches nothing."""

    def __init__(self, database: Store) -> None:
        self._database = database

    def register(self, model: RegisteredModel) -> RegisteredModel:
        """Store a registration and return the one that holds.

        Raises:
            ConfigError: the owner has registered another base under this id.
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO registered_models VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, model_id) DO UPDATE"
                " SET licence = COALESCE(excluded.licence, registered_models.licence)"
                " WHERE registered_models.digest = excluded.digest",
                (
                    model.owner,
                    model.model_id,
                    model.source,
                    model.revision,
                    model.task_type,
                    model.digest,
                    model.created_at,
                    model.licence,
                ),
            )
            row = connection.execute(
                "SELECT * FROM registered_models WHERE owner = ? AND model_id = ?", (model.owner, model.model_id)
            ).fetchone()
        held = _model(row)
        if held.digest != model.digest:
            raise ConfigError(
                [f"{model.model_id!r:.120} is registered with another base"], hint="choose another id for this base"
            )
        return held

    def find(self, tenant: str, model_id: str) -> RegisteredModel:
        """Return what an id means for a tenant.

        Raises:
            ModelUnresolvedError: nothing.
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT * FROM registered_models WHERE model_id = ? AND owner IN (?, ?) ORDER BY owner = ? LIMIT 1",
                (model_id, tenant, OPERATOR, OPERATOR),
            ).fetchone()
        if row is None:
            raise ModelUnresolvedError(
                f"no model is registered as {model_id!r:.120}",
                hint="register it: POST /models, or symbio serve --model ID=SOURCE",
            )
        return _model(row)

    def list(self, tenant: str) -> tuple[RegisteredModel, ...]:
        """Return what a tenant can name, by id.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM registered_models WHERE owner IN (?, ?) ORDER BY model_id, owner = ?",
                (tenant, OPERATOR, OPERATOR),
            ).fetchall()
        found: dict[str, RegisteredModel] = {}
        for row in rows:
            found.setdefault(row["model_id"], _model(row))
        return tuple(found.values())


def _model(row: Any) -> RegisteredModel:
    return RegisteredModel(*(row[name] for name in row.keys()))  # noqa: SIM118 (a Row iterates over values)
