"""What each tenant uses of the store and of the machines, counted in the transaction that uses it.

Kinds:
    ``records``    predictions and failure reports that are stored; what retention removes is given back
    ``forwards``   forwards-equivalent that healing spent, by day (UTC)

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from symbio_lab.store.database import Database
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database(Path(folder) / "store.db")
    ...     with database.write() as connection:
    ...         add_usage(connection, "acme", "forwards", 120.5, period="2026-01-01")
    ...         add_usage(connection, "acme", "forwards", 0.5, period="2026-01-01")
    ...     with database.read() as connection:
    ...         read_usage(connection, "acme", "forwards", period="2026-01-01"), read_usage(connection, "b", "records")
    (121.0, 0.0)
"""

from __future__ import annotations

from typing import Literal

from symbio_lab.store.connection import Connection

Kind = Literal["records", "forwards"]


def add_usage(connection: Connection, tenant: str, kind: Kind, amount: float, *, period: str = "") -> None:
    """Count an amount, in a write transaction of the caller's; a negative one is given back."""
    if amount:
        connection.execute(
            "INSERT INTO usage (tenant, kind, period, amount) VALUES (?, ?, ?, ?) ON CONFLICT (tenant, kind, period)"
            " DO UPDATE SET amount = usage.amount + excluded.amount",
            (tenant, kind, period, float(amount)),
        )


def read_usage(connection: Connection, tenant: str, kind: Kind, *, period: str = "") -> float:
    """Return what a tenant has used."""
    row = connection.execute(
        "SELECT amount FROM usage WHERE tenant = ? AND kind = ? AND period = ?", (tenant, kind, period)
    ).fetchone()
    return 0.0 if row is None else float(row[0])
