"""One store for all that must survive a kill, an SQLite file or a Postgres server: transactions, schema, ledger."""

from __future__ import annotations

from symbio_lab.store.connection import Store
from symbio_lab.store.database import Database
from symbio_lab.store.ledger import GENESIS, Ledger, LedgerHead
from symbio_lab.store.opening import open_store

__all__ = ["Database", "GENESIS", "Ledger", "LedgerHead", "open_store", "Store"]
