"""Tenants and what each of them lets the service do; the policy is kept as its canonical JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symbio_lab.codec import strict_loads
from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.records import canonical_json
from symbio_lab.store.api_keys import check_tenant
from symbio_lab.store.connection import Store


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant."""

    tenant: str
    created_at: str
    """UTC, ISO-8601, ends in ``Z``."""
    policy: Mapping[str, Any]
    """Settings that differ from the defaults."""


class Tenants:
    """The tenants of one store; making the object touches nothing."""

    def __init__(self, database: Store) -> None:
        self._database = database

    def create(self, tenant: str, *, now: str) -> Tenant:
        """Make a tenant.

        Raises:
            ConfigError: the name cannot be one, or is taken.
            StorageError: the store cannot be written.
        """
        check_tenant(tenant)
        with self._database.write() as connection:
            done = connection.execute(
                "INSERT INTO tenants VALUES (?, ?, '{}') ON CONFLICT DO NOTHING", (tenant, now)
            ).rowcount
        if not done:
            raise ConfigError([f"there is a tenant {tenant!r}"], hint="choose another name")
        return Tenant(tenant, now, {})

    def find(self, tenant: str) -> Tenant | None:
        """Return a tenant, or None.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM tenants WHERE tenant = ?", (tenant,)).fetchone()
        return None if row is None else Tenant(row["tenant"], row["created_at"], strict_loads(row["policy"]))

    def list(self) -> tuple[Tenant, ...]:
        """Return all tenants by name.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute("SELECT * FROM tenants ORDER BY tenant").fetchall()
        return tuple(Tenant(row["tenant"], row["created_at"], strict_loads(row["policy"])) for row in rows)

    def set_policy(self, tenant: str, policy: Mapping[str, Any]) -> Tenant:
        """Replace a tenant's policy and return the tenant.

        Raises:
            NotFoundError: there is no such tenant.
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE tenants SET policy = ? WHERE tenant = ?", (canonical_json(dict(policy)).decode(), tenant)
            )
        found = self.find(tenant)
        if found is None:
            raise NotFoundError(f"there is no tenant {tenant!r:.80}")
        return found
