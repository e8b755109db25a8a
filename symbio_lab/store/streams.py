"""Streams: the traffic of one model of one tenant, by which everything that is observed is kept apart.

Rules:
    1. Every row that monitoring stores belongs to one stream; every query names one.
    2. A row is found by a 12-byte digest of its id, so that ids of any length cost the index the same.
"""

from __future__ import annotations

from hashlib import blake2b

from symbio_lab.errors import DataError
from symbio_lab.store.connection import Connection, Store


def id_key(identifier: str) -> bytes:
    """Return the 12 bytes by which an id is found.

    >>> len(id_key("any id, however long"))
    12
    """
    return blake2b(identifier.encode("utf-8"), digest_size=12).digest()


def find_stream(connection: Connection, tenant: str, model_id: str) -> int | None:
    """Return the stream's number, or None when nothing of this tenant's model was ever stored."""
    row = connection.execute(
        "SELECT stream_id FROM streams WHERE tenant = ? AND model_id = ?", (tenant, model_id)
    ).fetchone()
    return None if row is None else int(row[0])


def open_stream(connection: Connection, tenant: str, model_id: str) -> int:
    """Return the stream's number, making the stream if it is new.

    Raises:
        DataError: tenant or model is not named.
    """
    if not tenant or not model_id:
        raise DataError("tenant and model need a name", hint="name both; the default tenant is 'default'")
    found = find_stream(connection, tenant, model_id)
    if found is None:
        connection.execute("INSERT INTO streams (tenant, model_id) VALUES (?, ?)", (tenant, model_id))
        found = find_stream(connection, tenant, model_id)
    return found or 0


def model_ids(database: Store, tenant: str) -> tuple[str, ...]:
    """Return the models of one tenant of which something is stored, sorted.

    Raises:
        StorageError: the store cannot be read.
    """
    with database.read() as connection:
        rows = connection.execute("SELECT model_id FROM streams WHERE tenant = ? ORDER BY model_id", (tenant,))
        return tuple(row[0] for row in rows)
