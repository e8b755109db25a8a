"""The store on a Postgres server: the same transactions as in the SQLite file, for several machines.

Rules:
    1. Writers queue: a write takes an advisory lock of the schema before it reads, for its transaction, as ``BEGIN
       IMMEDIATE`` does in SQLite. Whatever relies on being the only writer (the chains, the leases, the order of
       arrival) holds on both. A writer that was killed lets go when the server notices, one that hangs after
       ``IDLE_S``.
    2. A write reads with READ COMMITTED: its first statement after the lock sees all that was committed before. With a
       snapshot taken while it waited, it would not. A read sees one snapshot (REPEATABLE READ).
    3. A commit survives a power cut (``synchronous_commit``), whatever the server's default is.
    4. The schema is brought up to date when a connection is made; a newer one, an old server and another encoding
       than UTF-8 are refused.
    5. Every error becomes a ``StorageError`` that says what to do; the password is in none.

Example::

    store = PostgresDatabase(StoreUrl("postgresql://lab@db.example/symbio"))
    Ledger(store).verify_chain()

References:
    PostgreSQL 15 documentation, sections 13.2 (isolation), 13.3.5 (advisory locks), 20.11 (timeouts).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from symbio_lab.config import StoreUrl
from symbio_lab.errors import MissingExtraError, StorageError
from symbio_lab.store.postgres_errors import typed_errors
from symbio_lab.store.postgres_pool import Pool
from symbio_lab.store.postgres_rows import keep_texts, row_factory, translated
from symbio_lab.store.postgres_schema import MIGRATIONS
from symbio_lab.store.schema import Migration

OLDEST_SERVER = 13
"""First version of the server that is served; 15 is tested."""
MOST_CONNECTIONS = 12
CONNECT_S = 10
"""Seconds until a server that does not answer is given up."""
IDLE_S = 60
"""Seconds after which the server ends a transaction whose client does nothing: a paused process keeps no lock."""
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    # The number is ours, the other half the schema's: two stores of one database do not wait for each other.
    " SELECT pg_advisory_xact_lock(1937337199, hashtext(current_schema()))"
)
_CHANGES = ("INSERT", "UPDATE", "DELETE")


class PostgresConnection:
    """One transaction, with the methods of an SQLite connection that the store uses."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.total_changes = 0

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Carry out one statement."""
        if parameters:
            cursor = self._connection.execute(translated(sql), parameters)
        else:
            cursor = self._connection.execute(sql)
        return self._counted(sql, cursor)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Carry out one statement for each of many values, without waiting for each."""
        rows = list(parameters)
        cursor = self._connection.cursor()
        if not rows:
            return cursor
        cursor.executemany(translated(sql), rows)
        return self._counted(sql, cursor)

    def _counted(self, sql: str, cursor: Any) -> Any:
        if sql.lstrip()[:6].upper() in _CHANGES:
            self.total_changes += max(cursor.rowcount, 0)
        return cursor


class PostgresDatabase:
    """One schema of one server; making the object touches nothing."""

    def __init__(
        self,
        url: StoreUrl,
        *,
        busy_timeout_s: float = 30.0,
        migrations: Sequence[Migration] = MIGRATIONS,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        """Name the store.

        Args:
            url: of the database; its schema is the first of the role's ``search_path``.
            busy_timeout_s: how long to wait for another writer, in seconds.
            migrations: schema versions, oldest first.
            most_connections: of this process at once.
        """
        self._url = url
        self._busy_timeout_s = busy_timeout_s
        self._migrations = tuple(migrations)
        self._pool = Pool(self.name, self._connect, most=most_connections, wait_s=busy_timeout_s)

    @property
    def name(self) -> str:
        """Its address without the password."""
        return str(self._url)

    @contextmanager
    def read(self) -> Iterator[PostgresConnection]:
        """Yield a connection that sees one consistent state of the store.

        Raises:
            StorageError: the server cannot be reached or read.
        """
        with self._transaction(_READ) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[PostgresConnection]:
        """Yield a connection that holds the write lock; the block is committed, or undone when it raises.

        Raises:
            StorageError: no server, no right, no space, or another writer held the lock too long. When the connection
                is lost while it commits, the write may be there: what the store keeps is found again by its id.
        """
        with self._transaction(_WRITE) as connection:
            yield connection

    def first_of(self, connection: PostgresConnection, table: str, num_rows: int) -> int:
        """Return the first of ``num_rows`` numbers that no row of ``table`` ever had."""
        if num_rows < 1:
            return 1
        name = f"{table}_numbers"
        row = connection.execute("SELECT setval(?, nextval(?) + ? - 1)", (name, name, num_rows)).fetchone()
        return int(row[0]) - num_rows + 1

    def overwrite_removed(self, connection: PostgresConnection) -> None:
        """Do nothing: the server overwrites what was removed when it vacuums, and says so nowhere."""

    def close(self) -> None:
        """Close the connections that are kept; the next transaction connects again."""
        self._pool.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[PostgresConnection]:
        with typed_errors_or_missing(self.name):
            connection = self._begin(begin)
            try:
                yield PostgresConnection(connection)
                connection.execute("COMMIT")
            finally:
                self._end(connection)

    def _begin(self, begin: str) -> Any:
        import psycopg

        while True:
            connection, was_kept = self._pool.take()
            try:
                connection.execute(begin)
                return connection
            except BaseException as error:
                self._end(connection)
                # A kept connection may be of before the server's last restart; nothing was asked of it yet.
                if not (was_kept and connection.closed and isinstance(error, psycopg.OperationalError)):
                    raise

    def _end(self, connection: Any) -> None:
        import psycopg
        from psycopg.pq import TransactionStatus

        try:
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
        finally:
            self._pool.give(connection)

    def _connect(self) -> Any:
        import psycopg

        connection = psycopg.connect(
            self._url.with_password,
            autocommit=True,  # transactions are begun and ended here, never by the driver
            client_encoding="UTF8",
            connect_timeout=CONNECT_S,
            application_name="symbio-lab",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        try:
            self._check(connection)
            connection.execute(
                f"SET synchronous_commit = on; SET lock_timeout = {round(1000 * self._busy_timeout_s)};"
                f" SET idle_in_transaction_session_timeout = {1000 * IDLE_S}"
            )
            connection.row_factory = row_factory
            keep_texts(connection)
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: Any) -> None:
        version = connection.info.server_version // 10_000
        if version < OLDEST_SERVER:
            raise StorageError(
                f"cannot use {self.name}: it is Postgres {version}, {OLDEST_SERVER} or newer is needed",
                hint="upgrade the server, or use an SQLite file",
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StorageError(
                f"cannot use {self.name}: its encoding is {encoding}, not UTF8",
                hint="CREATE DATABASE symbio OWNER role ENCODING 'UTF8' TEMPLATE template0",
            )
        if connection.execute("SELECT current_schema()").fetchone()[0] is None:
            raise StorageError(
                f"cannot use {self.name}: no schema of the role's search_path is there",
                hint="CREATE SCHEMA symbio AUTHORIZATION role; ALTER ROLE role SET search_path = symbio",
            )

    def _migrate(self, connection: Any) -> None:
        if self._version(connection) == len(self._migrations):
            return
        connection.execute(_WRITE)
        try:
            # Read again under the lock: another process may have been faster.
            for number in range(self._version(connection), len(self._migrations)):
                for statement in self._migrations[number]:
                    connection.execute(statement)
                connection.execute("CREATE TABLE IF NOT EXISTS store_version (version INTEGER NOT NULL)")
                connection.execute("DELETE FROM store_version")
                connection.execute(f"INSERT INTO store_version VALUES ({number + 1})")
            connection.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise

    def _version(self, connection: Any) -> int:
        # A query and no to_regclass: that one may answer from before the lock. In this schema only: another one of the
        # search path may hold another store.
        there = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'store_version'"
        if not connection.execute(there).fetchone()[0]:
            return 0
        row = connection.execute("SELECT max(version) FROM store_version").fetchone()
        version = int(row[0] or 0)
        if version > len(self._migrations):
            raise StorageError(
                f"{self.name} has schema version {version}, this release knows {len(self._migrations)}",
                hint="upgrade symbio-lab or give the address of another database",
            )
        return version


@contextmanager
def typed_errors_or_missing(name: str) -> Iterator[None]:
    """Turn errors of psycopg into ``StorageError``, and its absence into ``MissingExtraError``."""
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("psycopg", "postgres") from error
    with typed_errors(name):
        yield
