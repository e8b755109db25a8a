"""One SQLite store for everything that must survive a kill: transactions, schema, the deployment ledger."""

from __future__ import annotations

from symbio_lab.store.database import Database
from symbio_lab.store.ledger import GENESIS, Ledger, LedgerHead

__all__ = ["Database", "GENESIS", "Ledger", "LedgerHead"]
