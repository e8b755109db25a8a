"""API keys: who may call the service, as which tenant, for what, until when. Secrets are kept as digests only.

A key is shown once, when it is made: ``sl_<id>_<secret>``, the id 16 hex characters, the secret 256 random bits. The
store holds the SHA-256 of the secret: with 256 random bits there is nothing to guess, so that a slow hash would only
cost every request its time.

Rules:
    1. Comparing takes the same time whether the id is unknown or the secret is wrong.
    2. An expired or revoked key is not a key. Rotating makes a new key; the old one stays until its grace ends, so that
       clients can change over without an outage.
    3. Scopes name what a key may do; ``admin`` includes all of them, for its own tenant only.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from symbio_lab.store.database import Database
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keys = ApiKeys(Database(Path(folder) / "store.db"))
    ...     token, key = keys.create("acme", ["failures:write"], now="2026-01-01T00:00:00Z")
    ...     found = keys.find(token, now="2026-01-01T00:00:01Z")
    >>> found.tenant, found.allows("failures:write"), found.allows("deploy:write")
    ('acme', True, False)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.store.connection import Store

SCOPES = (
    "failures:write",
    "predict",
    "market:read",
    "market:contribute",
    "heal:run",
    "deploy:write",
    "read",
    "admin",
)
"""What a key may be allowed to do."""
OPERATOR = "*"
"""The tenant of operators' keys: they make tenants and see the service's own figures, no tenant's data."""
_TOKEN = re.compile(r"sl_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its secret."""

    key_id: str
    """16 hex characters."""
    tenant: str
    name: str
    """For people."""
    scopes: tuple[str, ...]
    created_at: str
    """UTC, ISO-8601, ends in ``Z``."""
    expires_at: str | None
    revoked_at: str | None

    def allows(self, scope: str) -> bool:
        """Return whether the key may do this."""
        return scope in self.scopes or "admin" in self.scopes


def check_tenant(tenant: str) -> None:
    """Refuse names that cannot be a tenant.

    Raises:
        ConfigError: not 1 to 63 characters of a-z, 0-9, ``.``, ``_`` and ``-``, beginning with a letter or digit.
    """
    if not _TENANT.fullmatch(tenant):
        raise ConfigError(
            [f"{tenant!r:.80} cannot be a tenant's name"],
            hint="use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
        )


class ApiKeys:
    """The keys of one store; making the object touches nothing."""

    def __init__(self, database: Store) -> None:
        self._database = database

    def create(
        self, tenant: str, scopes: Iterable[str], *, now: str, expires_at: str | None = None, name: str = ""
    ) -> tuple[str, ApiKey]:
        """Return a new key's token, which is kept nowhere, and the key.

        Args:
            tenant: whose; ``OPERATOR`` for operators.
            scopes: of ``SCOPES``.
            now: UTC time.
            expires_at: UTC time from which it is no key any more; None never expires.
            name: for people.

        Raises:
            ConfigError: an unknown scope or none, or a bad tenant name.
            StorageError: the store cannot be written.
        """
        chosen = tuple(sorted(set(scopes)))
        problems = [f"unknown scope {scope!r:.80}" for scope in chosen if scope not in SCOPES]
        if problems or not chosen:
            raise ConfigError(problems or ["a key needs a scope"], hint="scopes are: " + ", ".join(SCOPES))
        if tenant != OPERATOR:
            check_tenant(tenant)
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        key = ApiKey(key_id, tenant, name, chosen, now, expires_at, None)
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO api_keys (key_id, tenant, name, secret_sha256, scopes, created_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key_id, tenant, name, _digest(secret), " ".join(chosen), now, expires_at),
            )
        return f"sl_{key_id}_{secret}", key

    def find(self, token: str, *, now: str) -> ApiKey | None:
        """Return the key that a token is, or None: unknown, wrong, expired and revoked look alike.

        Raises:
            StorageError: the store cannot be read.
        """
        match = _TOKEN.fullmatch(token)
        key_id, secret = match.groups() if match else ("", "")
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM api_keys WHERE key_id = ?", (key_id,)).fetchone()
        stored = row["secret_sha256"] if row is not None else bytes(32)
        if not hmac.compare_digest(stored, _digest(secret)) or row is None:
            return None
        key = _key(row)
        ended = [end for end in (key.expires_at, key.revoked_at) if end is not None]
        return None if any(end <= now for end in ended) else key

    def list(self, tenant: str) -> tuple[ApiKey, ...]:
        """Return the keys of one tenant, oldest first.

        Raises:
            StorageError: the store cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM api_keys WHERE tenant = ? ORDER BY created_at, key_id", (tenant,)
            ).fetchall()
        return tuple(_key(row) for row in rows)

    def revoke(self, tenant: str, key_id: str, *, at: str) -> ApiKey:
        """Let a key end at a time, now or later, and return it; an earlier end stays.

        Raises:
            NotFoundError: this tenant has no such key.
            StorageError: the store cannot be written.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE api_keys SET revoked_at = CASE WHEN revoked_at < ? THEN revoked_at ELSE ? END"
                " WHERE tenant = ? AND key_id = ?",
                (at, at, tenant, key_id),
            )
            row = connection.execute(
                "SELECT * FROM api_keys WHERE tenant = ? AND key_id = ?", (tenant, key_id)
            ).fetchone()
        if row is None:
            raise NotFoundError("there is no such key", hint="GET /keys lists the keys")
        return _key(row)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row["key_id"],
        row["tenant"],
        row["name"],
        tuple(row["scopes"].split()),
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
    )
