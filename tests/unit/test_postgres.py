"""The store on a real Postgres server: what SQLite promises holds there, and what goes wrong is said in words."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from symbio_lab.config import Settings, StoreUrl, load_settings
from symbio_lab.errors import ConfigError, MissingExtraError, StorageError
from symbio_lab.records import Deployment, PredictionRecord
from symbio_lab.store import Database, Ledger
from symbio_lab.store.audit import AuditLog
from symbio_lab.store.postgres import PostgresDatabase
from symbio_lab.store.postgres_schema import MIGRATIONS
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore
from symbio_lab.store.schema import MIGRATIONS as SQLITE_MIGRATIONS
from tests.fixtures_postgres import Server

WRITER = """
import os, sys
from symbio_lab.config import StoreUrl
from symbio_lab.records import Deployment
from symbio_lab.store import Ledger
from symbio_lab.store.postgres import PostgresDatabase

ledger = Ledger(PostgresDatabase(StoreUrl(os.environ["STORE"])))
for number in range(int(sys.argv[2])):
    note = f"{sys.argv[1]} {number}"
    ledger.append(Deployment("t", "m", "b", None, None, "live", None, "2026-01-01T00:00:00Z", note))
    print(number, flush=True)
"""


def make(note: str = "", **changes: Any) -> Deployment:
    base = Deployment("acme", "support", "b" * 64, None, None, "live", None, "2026-01-01T00:00:00Z", note)
    return dataclasses.replace(base, **changes)


def start_writer(url: StoreUrl, name: str, num_lines: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, name, str(num_lines)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "STORE": url.with_password},
    )


def columns_of(server: Server, schema: str) -> dict[str, list[str]]:
    rows = server.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        f" WHERE table_schema = '{schema}' ORDER BY table_name, ordinal_position"
    )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def test_both_databases_have_the_same_tables_in_the_same_versions(postgres: Server, tmp_path: Any) -> None:
    assert len(MIGRATIONS) == len(SQLITE_MIGRATIONS)
    for version in range(1, len(MIGRATIONS) + 1):
        store = PostgresDatabase(postgres.new_schema(), migrations=MIGRATIONS[:version])
        with store.read() as connection:
            schema = connection.execute("SELECT current_schema()").fetchone()[0]
        store.close()
        ours = columns_of(postgres, schema)
        assert ours.pop("store_version") == ["version"]
        with Database(tmp_path / f"{version}.db", migrations=SQLITE_MIGRATIONS[:version]).read() as connection:
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
            theirs = {
                name: [row["name"] for row in connection.execute(f"PRAGMA table_info({name})")]
                for (name,) in names.fetchall()
            }
        assert ours == theirs, version


def test_a_store_of_the_release_before_is_brought_up_to_date_and_a_newer_one_refused(postgres: Server) -> None:
    url = postgres.new_schema()
    old = PostgresDatabase(url, migrations=MIGRATIONS[:2])
    Ledger(old).append(make())
    new = PostgresDatabase(url)
    assert Ledger(new).verify_chain().num_lines == 1
    assert AuditLog(new).append("t", at="2026-01-01T00:00:00Z", actor="x", action="y").seq == 1
    old.close()
    with pytest.raises(StorageError, match=f"schema version {len(MIGRATIONS)}, this release knows 2") as caught:
        Ledger(old).head()
    assert "upgrade" in caught.value.hint
    new.close()


def test_a_failing_migration_leaves_the_old_schema(postgres: Server) -> None:
    url = postgres.new_schema()
    broken = PostgresDatabase(url, migrations=(*MIGRATIONS[:1], ("CREATE TABLE u (x INT)", "NONSENSE")))
    with pytest.raises(StorageError), broken.read():
        pass
    store = PostgresDatabase(url, migrations=MIGRATIONS[:1])
    with store.read() as connection:
        assert connection.execute("SELECT to_regclass('u')").fetchone()[0] is None
    store.close()


def test_the_tables_refuse_changes_removals_and_truncation(postgres_store: PostgresDatabase) -> None:
    Ledger(postgres_store).append(make())
    for statement in ("UPDATE deployments SET stage = 'shadow'", "DELETE FROM deployments", "TRUNCATE deployments"):
        with pytest.raises(StorageError, match="append-only"), postgres_store.write() as connection:
            connection.execute(statement)
    with pytest.raises(StorageError, match="append-only"), postgres_store.write() as connection:
        connection.execute("TRUNCATE audit")
    assert Ledger(postgres_store).verify_chain().num_lines == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deployments SET record = replace(record, '\"live\"', '\"shadow\"') WHERE seq = 2",
        "UPDATE deployments SET tenant = 'other' WHERE seq = 2",
        "DELETE FROM deployments WHERE seq = 2",
    ],
)
def test_who_owns_the_tables_and_tampers_breaks_the_chain(postgres_store: PostgresDatabase, statement: str) -> None:
    ledger = Ledger(postgres_store)
    for number in range(3):
        ledger.append(make(str(number)))
    with postgres_store.write() as connection:
        connection.execute("ALTER TABLE deployments DISABLE TRIGGER USER")
        connection.execute(statement)
    with pytest.raises(StorageError, match="tampered with or damaged"):
        ledger.verify_chain()


def test_processes_append_at_once_and_all_succeed(postgres: Server) -> None:
    url = postgres.new_schema()  # neither finds a table: they also race for the schema
    writers = [start_writer(url, name, 40) for name in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    store = PostgresDatabase(url)
    assert Ledger(store).verify_chain().num_lines == 80
    notes = {line.note for line in Ledger(store).history("t", "m")}
    assert notes == {f"{name} {i}" for name in "ab" for i in range(40)}
    store.close()


def test_threads_beyond_the_pool_wait_for_their_turn(postgres: Server) -> None:
    store = PostgresDatabase(postgres.new_schema(), most_connections=3)
    ledger, failed = Ledger(store), []

    def append(number: int) -> None:
        try:
            ledger.append(make(str(number)))
        except StorageError as error:
            failed.append(error)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert ledger.verify_chain().num_lines == 24
    with store.read() as connection:
        used = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'symbio-lab'")
        assert used.fetchone()[0] >= 1
    assert len(store._pool._idle) <= 3
    store.close()


def test_a_kill_loses_no_finished_line_and_keeps_no_lock(postgres: Server) -> None:
    url = postgres.new_schema()
    writer = start_writer(url, "a", 100_000)
    assert writer.stdout is not None
    with writer.stdout:
        for _ in range(10):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=30)
        acknowledged = int(([str(acknowledged), *writer.stdout.read().split()])[-1])
    store = PostgresDatabase(url)
    ledger = Ledger(store)
    started = time.monotonic()
    ledger.append(make("after"))
    assert time.monotonic() - started < 5, "a killed writer keeps no lock"
    assert acknowledged + 2 <= ledger.verify_chain().num_lines <= acknowledged + 3
    store.close()


def test_an_error_inside_a_block_undoes_it(postgres_store: PostgresDatabase) -> None:
    def append_and_fail() -> None:
        with postgres_store.write() as connection:
            connection.execute("INSERT INTO streams (tenant, model_id) VALUES (?, ?)", ("a", "b"))
            raise KeyError

    with pytest.raises(KeyError):
        append_and_fail()
    with postgres_store.read() as connection:
        assert connection.execute("SELECT count(*) FROM streams").fetchone()[0] == 0


def test_a_read_sees_one_state_and_cannot_write(postgres_store: PostgresDatabase) -> None:
    ledger = Ledger(postgres_store)
    ledger.append(make("first"))
    with postgres_store.read() as connection:
        assert connection.execute("SELECT count(*) FROM deployments").fetchone()[0] == 1
        ledger.append(make("second"))
        assert connection.execute("SELECT count(*) FROM deployments").fetchone()[0] == 1
    with pytest.raises(StorageError, match="read-only"), postgres_store.read() as connection:
        connection.execute("DELETE FROM leases")


def test_any_text_comes_back_as_it_was_given(postgres_store: PostgresDatabase) -> None:
    odd = ["nul \x00 in the middle", "\ue000", "\ue0000\x00\ue0001", "\x00", "🦆 % %s ? :name ' \" \\"]
    records = [PredictionRecord("m", "text_classification", text, text, domain=text, event_id=text) for text in odd]
    store = PredictionStore(postgres_store)
    assert store.append(records).num_stored == len(odd)
    assert store.append(records).num_duplicates == len(odd)
    read = [row.record for row in PredictionReader(postgres_store, "default", "m").rows()]
    assert [(r.input_sample, r.domain, r.event_id) for r in read] == [(text, text, text) for text in odd]


def test_numbers_of_removed_rows_never_come_back_even_after_an_undone_write(postgres_store: PostgresDatabase) -> None:
    firsts = []
    for _ in range(2):
        with postgres_store.write() as connection:
            firsts.append(postgres_store.first_of(connection, "predictions", 5))
    assert firsts[1] == firsts[0] + 5


def test_a_second_writer_that_waits_too_long_says_so(postgres: Server) -> None:
    url = postgres.new_schema()
    patient, impatient = PostgresDatabase(url), PostgresDatabase(url, busy_timeout_s=0.1)
    Ledger(patient).append(make())
    with patient.write(), pytest.raises(StorageError, match="another process holds the write lock"):
        Ledger(impatient).append(make("x"))
    assert Ledger(impatient).append(make("y")).num_lines == 2
    patient.close()
    impatient.close()


def test_two_stores_of_one_database_do_not_wait_for_each_other(postgres: Server) -> None:
    one = PostgresDatabase(postgres.new_schema())
    other = PostgresDatabase(postgres.new_schema(), busy_timeout_s=0.5)
    with one.write():
        assert Ledger(other).append(make()).num_lines == 1
    one.close()
    other.close()


def test_a_paused_writer_loses_its_lock_and_changes_nothing(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbio_lab.store.postgres.IDLE_S", 0.3)
    url = postgres.new_schema()
    paused, other = PostgresDatabase(url), PostgresDatabase(url)
    Ledger(paused).head()
    monkeypatch.undo()
    Ledger(other).head()

    def write_and_pause() -> None:
        with paused.write() as connection:
            connection.execute("INSERT INTO streams (tenant, model_id) VALUES ('a', 'b')")
            assert Ledger(other).append(make()).num_lines == 1  # waits until the server ends the other

    with pytest.raises(StorageError, match=r"took too long|was lost"):
        write_and_pause()
    with other.read() as connection:
        assert connection.execute("SELECT count(*) FROM streams").fetchone()[0] == 0
    assert Ledger(paused).append(make("goes on")).num_lines == 2
    paused.close()
    other.close()


def test_connections_of_before_a_restart_are_replaced(postgres: Server, postgres_store: PostgresDatabase) -> None:
    ledger = Ledger(postgres_store)
    ledger.append(make())
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'symbio-lab'",
        "SELECT pg_sleep(0.1)",
    )
    assert ledger.append(make("after")).num_lines == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_makes_its_own_connections(postgres_store: PostgresDatabase) -> None:
    ledger = Ledger(postgres_store)
    ledger.append(make())
    child = subprocess.run([sys.executable, "-c", "pass"], check=False)
    assert child.returncode == 0
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        number = ledger.append(make("child")).num_lines
        os.write(writer, str(number).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        assert told.read() == "2"
    os.waitpid(pid, 0)
    assert ledger.append(make("parent")).num_lines == 3


@pytest.fixture
def limited(postgres: Server) -> Iterator[str]:
    """A role that may connect and nothing else."""
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    yield "guest"
    postgres.execute("DROP ROLE guest")


def said(url: StoreUrl) -> StorageError:
    store = PostgresDatabase(url)
    with pytest.raises(StorageError) as caught:
        Ledger(store).head()
    store.close()
    return caught.value


def test_what_is_wrong_with_an_address_is_said_and_the_password_is_not(postgres: Server, limited: str) -> None:
    secret = "a-very-secret-word"
    cases = {
        "password or the role": postgres.url(password=secret),
        "no server listens": StoreUrl(f"postgresql://lab:{secret}@127.0.0.1:1/lab"),
        "no such database": StoreUrl(postgres.url().with_password.replace("/lab?", "/nowhere?")),
        "may not do this": postgres.url(user=limited, password="guest"),
        "no schema of the role's search_path": postgres.url("nowhere"),
    }
    for what, url in cases.items():
        error = said(url)
        assert what in str(error), error
        assert error.hint
        for text in (str(error), error.hint, repr(url), str(url), repr(Settings(home=None, store=url))):  # type: ignore[arg-type]
            assert secret not in text
            assert postgres.password not in text


def test_a_host_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "host is not known" in str(said(StoreUrl("postgresql://lab@nowhere.invalid/lab")))


def test_other_encodings_are_refused(postgres: Server) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    error = said(StoreUrl(postgres.url().with_password.replace("/lab?", "/latin?")))
    assert "its encoding is LATIN1" in str(error)
    assert "ENCODING 'UTF8'" in error.hint


def test_an_old_server_is_refused(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbio_lab.store.postgres.OLDEST_SERVER", 99)
    assert re.search(r"it is Postgres \d+, 99 or newer is needed", str(said(postgres.url())))


@pytest.mark.parametrize(("state", "what"), [("53100", "disk is full"), ("25006", "read-only"), ("53200", "memory")])
def test_what_the_server_says_about_itself_is_passed_on(
    postgres_store: PostgresDatabase, state: str, what: str
) -> None:
    def write() -> None:
        with postgres_store.write() as connection:
            connection.execute("INSERT INTO streams (tenant, model_id) VALUES ('a', 'b')")
            connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(StorageError, match=what) as caught:
        write()
    assert caught.value.hint
    with postgres_store.read() as connection:
        assert connection.execute("SELECT count(*) FROM streams").fetchone()[0] == 0


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError) as caught:
        Ledger(PostgresDatabase(StoreUrl("postgresql://lab@127.0.0.1:1/lab"))).head()
    assert "symbio-lab[postgres]" in caught.value.hint


def test_the_setting_takes_a_file_or_an_address(tmp_path: Any) -> None:
    def store(text: Any) -> Any:
        return load_settings({"home": tmp_path}, environ={"SYMBIO_LAB_STORE": text}, cwd=tmp_path).settings.store

    assert store("") == tmp_path / "store.db"
    assert store("own.db") == tmp_path / "own.db"
    assert store("postgres://lab:pw@db:5433/symbio") == StoreUrl("postgresql://lab:pw@db:5433/symbio")
    for wrong in ("mysql://root:pw@db/x", "postgresql://lab:pw@db", "postgresql://lab:pw@db:x/y", str(tmp_path)):
        with pytest.raises(ConfigError) as caught:
            store(wrong)
        assert "pw" not in str(caught.value).replace(str(tmp_path), "")
