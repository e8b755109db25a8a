"""A store by its place: a file is SQLite, an address is Postgres."""

from __future__ import annotations

from pathlib import Path

from symbio_lab.config import StoreUrl
from symbio_lab.store.connection import Store
from symbio_lab.store.database import Database


def open_store(place: Path | StoreUrl, *, busy_timeout_s: float = 30.0) -> Store:
    """Return the store at a place; nothing is opened yet.

    Args:
        place: the setting ``store``.
        busy_timeout_s: how long to wait for another writer, in seconds.

    >>> from symbio_lab.config import StoreUrl
    >>> open_store(Path("store.db")).name, open_store(StoreUrl("postgresql://lab:secret@db/symbio")).name
    ('store.db', 'postgresql://lab@db/symbio')
    """
    if isinstance(place, StoreUrl):
        from symbio_lab.store.postgres import PostgresDatabase

        return PostgresDatabase(place, busy_timeout_s=busy_timeout_s)
    return Database(place, busy_timeout_s=busy_timeout_s)
