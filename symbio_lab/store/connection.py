"""What a store is to the code that keeps things in it: transactions over one SQL that both databases understand.

Rules:
    1. SQL is written once, in what SQLite and Postgres share: ``?`` and ``:name`` for values, ``ON CONFLICT``,
       ``CASE`` where one of them has a function of its own.
    2. A row is read by name and by number, and unpacks like a tuple.
    3. Where they differ for a reason (how numbers are drawn, how removed text is overwritten), the store has a method.

Two stores: ``database.py`` (one SQLite file) and ``postgres.py`` (a schema of a Postgres server).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows that an insert, update or delete touched."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One transaction."""

    @property
    def total_changes(self) -> int:
        """Rows that inserts, updates and deletes touched so far; differences count."""

    def execute(self, sql: str, parameters: Any = (), /) -> Rows:
        """Carry out one statement."""

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Rows:
        """Carry out one statement for each of many values."""


class Store(Protocol):
    """Transactions, each whole or absent; making the object touches nothing."""

    @property
    def name(self) -> str:
        """What it is called in errors and logs; never holds a password."""

    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection that sees one consistent state.

        Raises:
            StorageError: the store cannot be opened or read.
        """

    def write(self) -> AbstractContextManager[Connection]:
        """Give a connection that no other writer runs beside; the block is committed, or undone when it raises.

        Raises:
            StorageError: the store cannot be written; nothing was.
        """

    def first_of(self, connection: Any, table: str, num_rows: int) -> int:
        """Return the first of ``num_rows`` numbers that no row of ``table`` ever had, in a write transaction."""

    def overwrite_removed(self, connection: Any) -> None:
        """Let what this transaction removes be overwritten, as far as the database can."""
