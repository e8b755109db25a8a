"""A kept connection sees the newest state, holds no lock, and belongs to one thread, process and file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from symbio_lab.errors import StorageError
from symbio_lab.store.database import Database
from symbio_lab.store.kept_reader import KeptReader

MIGRATIONS = (("CREATE TABLE t (x INTEGER)",),)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "store.db", migrations=MIGRATIONS)


def add(database: Database, value: int) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO t VALUES (?)", (value,))


def values(reader: KeptReader) -> list[int]:
    with reader.read() as connection:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


def test_each_read_sees_the_newest_state_over_one_connection(database: Database) -> None:
    reader = KeptReader(database)
    with reader.read() as first:
        pass
    for number in range(3):
        add(database, number)
        assert values(reader) == list(range(number + 1))
    with reader.read() as again:
        assert again is first
        assert again.execute("SELECT count(*) FROM t").fetchone()[0] == 3
        add(database, 9)
        assert [row[0] for row in again.execute("SELECT count(*) FROM t")] == [3]  # one state while it lasts
        with reader.read() as inner:
            assert inner is not again
        assert again.in_transaction


def test_nothing_can_be_written_and_an_error_ends_the_transaction(database: Database) -> None:
    reader = KeptReader(database)
    with pytest.raises(StorageError), reader.read() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    assert values(reader) == []


def test_threads_and_replaced_files_get_connections_of_their_own(database: Database, tmp_path: Path) -> None:
    reader = KeptReader(database)
    add(database, 1)
    with reader.read() as mine:
        pass
    found = []

    def other() -> None:
        with reader.read() as connection:
            found.append(connection is mine)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [False]
    fresh = Database(tmp_path / "fresh.db", migrations=MIGRATIONS)
    add(fresh, 7)
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    os.replace(tmp_path / "fresh.db", tmp_path / "store.db")
    assert values(reader) == [7]
    reader.close()
    assert values(reader) == [7]
