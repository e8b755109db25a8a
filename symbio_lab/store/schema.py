"""The tables of the store, one migration for each schema version; released migrations never change.

Rules:
    1. A migration is a tuple of SQL statements; migration number ``i`` (from 1) leads to ``user_version`` ``i``.
    2. Append only: a store written by any released version opens and is brought up to date.
"""

from __future__ import annotations

Migration = tuple[str, ...]

DEPLOYMENTS: Migration = (
    """
    CREATE TABLE deployments (
        seq INTEGER PRIMARY KEY,
        deployment_id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        model_id TEXT NOT NULL,
        stage TEXT NOT NULL,
        record TEXT NOT NULL,
        previous_digest TEXT NOT NULL,
        digest TEXT NOT NULL UNIQUE
    )
    """,
    "CREATE INDEX deployments_by_model ON deployments (tenant, model_id, seq)",
    """
    CREATE TRIGGER deployments_no_update BEFORE UPDATE ON deployments
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
    """
    CREATE TRIGGER deployments_no_delete BEFORE DELETE ON deployments
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
)

LEASES: Migration = (
    """
    CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        beat_at REAL NOT NULL
    )
    """,
)

MIGRATIONS: tuple[Migration, ...] = (DEPLOYMENTS, LEASES)
"""All migrations, oldest first."""
