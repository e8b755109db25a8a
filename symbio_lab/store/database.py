"""The SQLite store: short transactions that several processes may run at once.

Rules:
    1. A write takes the write lock before it reads (``BEGIN IMMEDIATE``), so two writers queue and both succeed.
    2. A transaction is whole or absent: an error or a kill leaves the store as it was.
    3. The schema is brought up to date when the store is first used; a store of a newer release is refused.
    4. Each transaction has its own connection: nothing is shared between threads, and nothing survives a fork.
    5. Every SQLite error becomes a ``StorageError`` that says what to do.

Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Database(Path(folder) / "store.db").read() as connection:
    ...         connection.execute("SELECT count(*) FROM deployments").fetchone()[0]
    0
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from symbio_lab.errors import StorageError
from symbio_lab.store.schema import MIGRATIONS, Migration

_RETRY_S = 0.01
_HINTS = {
    sqlite3.SQLITE_FULL: ("the disk is full", None),
    sqlite3.SQLITE_READONLY: ("it is read-only", "make the file and its folder writable or set SYMBIO_LAB_HOME"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "make its folder writable or set SYMBIO_LAB_HOME"),
    sqlite3.SQLITE_BUSY: ("another process holds its lock", "stop the other process or try again"),
    sqlite3.SQLITE_LOCKED: ("another process holds its lock", "stop the other process or try again"),
    sqlite3.SQLITE_NOTADB: ("it is not an SQLite file", "move the file away; a new one is made"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "restore it from a copy, or move it away; a new one is made"),
}
"""Primary SQLite result code -> what happened, what to do (None: the error's own hint)."""


class Database:
    """One store file; making the object touches nothing."""

    def __init__(
        self, path: Path, *, busy_timeout_s: float = 30.0, migrations: Sequence[Migration] = MIGRATIONS
    ) -> None:
        """Name the store.

        Args:
            path: the file; it and its folder are made by the first transaction.
            busy_timeout_s: how long to wait for another writer, in seconds.
            migrations: schema versions, oldest first.
        """
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._migrations = tuple(migrations)

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return self.path.name

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees one consistent state of the store.

        Raises:
            StorageError: the store cannot be opened or read.
        """
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that holds the write lock; the block is committed, or undone when it raises.

        Raises:
            StorageError: disk full, no permission, damaged file, or another writer held the lock too long.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def first_of(self, connection: sqlite3.Connection, table: str, num_rows: int) -> int:
        """Return the first of ``num_rows`` numbers that no row of an AUTOINCREMENT table ever had.

        They are taken when rows bear them: SQLite keeps the largest that was ever inserted.
        """
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return 1 if row is None else int(row[0]) + 1

    def overwrite_removed(self, connection: sqlite3.Connection) -> None:
        """Let what this transaction removes be overwritten with zeros in the file."""
        connection.execute("PRAGMA secure_delete = ON").fetchall()

    def connect(self) -> sqlite3.Connection:
        """Return a connection to the store, its schema up to date; whoever asked closes it, in any thread.

        Raises:
            StorageError: the store cannot be opened.
        """
        with typed_errors(self.path):
            connection = self._connect()
            try:
                self._migrate(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with typed_errors(self.path), closing(self.connect()) as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder of {self.path.name}: {error.strerror or error}") from error
        # isolation_level None: transactions are begun and ended here, never by the driver.
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            self._use_wal(connection)
            # A commit survives a power cut, not only a kill.
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to the write-ahead log once; SQLite does not wait for a lock here, so this does."""
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if self._version(connection) == len(self._migrations):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again under the lock: another process may have been faster.
            for number in range(self._version(connection), len(self._migrations)):
                for statement in self._migrations[number]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _version(self, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(self._migrations):
            raise StorageError(
                f"{self.path.name} has schema version {version}, this release knows {len(self._migrations)}",
                hint="upgrade symbio-lab or point SYMBIO_LAB_HOME at another folder",
            )
        return version


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turn every SQLite error of the block into a ``StorageError`` about ``path``."""
    try:
        yield
    except sqlite3.Error as error:
        what, hint = _HINTS.get(_primary_code(error), (str(error), None))
        raise StorageError(f"cannot use {path.name}: {what}", hint=hint) from error
