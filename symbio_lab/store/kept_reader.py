"""Reads of one store, many times over: a connection for each thread, kept between them.

Opening a connection reads the schema and begins with an empty cache; a search that takes five milliseconds does not
want to pay that each time.

Rules:
    1. Each ``read`` is one transaction and sees one state of the store, that of its first statement.
    2. A connection belongs to one thread of one process. After a fork, or when the file was replaced, a new one is
       made.
    3. An idle connection holds no lock: writers and checkpoints never wait for it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from symbio_lab.errors import StorageError
from symbio_lab.store.database import Database, typed_errors

CACHE_KIB = 32_768
"""Pages kept by each connection, at most, in KiB."""
MAPPED_BYTES = 4 << 30
"""How much of the file may be read through a memory map."""


class KeptReader:
    """Read transactions on a store, without opening it anew."""

    def __init__(self, database: Database) -> None:
        """Name the store; nothing is opened."""
        self._database = database
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._closing = weakref.finalize(self, _close_all, self._open)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield this thread's connection inside a read transaction.

        Raises:
            StorageError: the store cannot be opened or read.
        """
        connection = self._connection()
        if connection.in_transaction:
            # A read inside a read must not end it.
            with self._database.read() as another:
                yield another
            return
        with typed_errors(self._database.path):
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close all connections; a later ``read`` opens one again."""
        _close_all(self._open)
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        kept = getattr(self._local, "kept", None)
        if kept is not None and kept[1] == self._identity():
            connection: sqlite3.Connection = kept[0]
            return connection
        connection = self._database.connect()
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
        connection.execute("PRAGMA query_only = 1")
        self._local.kept = (connection, self._identity())
        self._open.append(connection)
        return connection

    def _identity(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self._database.path)
        except FileNotFoundError:
            return os.getpid(), 0, 0
        except OSError as error:
            raise StorageError(f"cannot read {self._database.path.name}: {error.strerror or error}") from error
        return os.getpid(), found.st_dev, found.st_ino


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()
