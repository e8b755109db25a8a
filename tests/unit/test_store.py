"""The ledger keeps every line through concurrent writers, kills and tampering."""

from __future__ import annotations

import dataclasses
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from symbio_lab.errors import DataError, NotFoundError, StorageError
from symbio_lab.records import Deployment
from symbio_lab.store import GENESIS, Database, Ledger, LedgerHead
from symbio_lab.store.schema import MIGRATIONS

WRITER = """
import sys
from pathlib import Path
from symbio_lab.records import Deployment
from symbio_lab.store import Database, Ledger

ledger = Ledger(Database(Path(sys.argv[1])))
for number in range(int(sys.argv[3])):
    note = f"{sys.argv[2]} {number}"
    ledger.append(Deployment("t", "m", "b", None, None, "live", None, "2026-01-01T00:00:00Z", note))
    print(number, flush=True)
"""


def make(note: str = "", **changes: object) -> Deployment:
    base = Deployment("acme", "support", "b" * 64, None, None, "live", None, "2026-01-01T00:00:00Z", note)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Database(tmp_path / "store.db"))


def start_writer(path: Path, name: str, num_lines: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(num_lines)], stdout=subprocess.PIPE, text=True
    )


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.execute("DROP TRIGGER IF EXISTS deployments_no_update")
        connection.execute("DROP TRIGGER IF EXISTS deployments_no_delete")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def test_making_the_objects_touches_nothing(tmp_path: Path) -> None:
    Ledger(Database(tmp_path / "deep" / "store.db"))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_ledger_answers(ledger: Ledger) -> None:
    assert ledger.history("acme", "support") == ()
    assert ledger.current("acme", "support") is None
    assert ledger.head() == ledger.verify_chain() == LedgerHead(0, GENESIS)
    with pytest.raises(NotFoundError):
        ledger.get("0" * 64)


def test_lines_come_back_in_order_and_by_tenant_and_model(ledger: Ledger) -> None:
    first = make("first", patch_digest="1" * 64, patch_id="a/b")
    second = make("second", previous=first.deployment_id)
    others = [make(tenant="other"), make(model_id="sales")]
    for deployment in (first, others[0], second, others[1]):
        ledger.append(deployment)
    assert ledger.history("acme", "support") == (first, second)
    assert ledger.get(first.deployment_id) == first
    assert ledger.get(first.deployment_id, tenant=first.tenant) == first
    with pytest.raises(NotFoundError):
        ledger.get(first.deployment_id, tenant=f"{first.tenant}-not")
    assert ledger.current("acme", "support") == second
    assert ledger.current("other", "support") == others[0]
    assert ledger.verify_chain().num_lines == 4


def test_shadow_and_canary_do_not_serve_and_a_roll_back_does(ledger: Ledger) -> None:
    live = make("live")
    ledger.append(live)
    for stage in ("shadow", "canary"):
        ledger.append(make(stage, stage=stage, previous=live.deployment_id))
    assert ledger.current("acme", "support") == live
    canary = ledger.current("acme", "support", stages=("canary",))
    assert canary is not None
    assert canary.note == "canary"
    back = make("back", stage="rolled_back", previous=live.deployment_id)
    ledger.append(back)
    assert ledger.current("acme", "support") == back


def test_a_line_is_appended_once_and_previous_must_fit(ledger: Ledger) -> None:
    first = make()
    head = ledger.append(first)
    with pytest.raises(DataError, match="already in the ledger"):
        ledger.append(first)
    with pytest.raises(NotFoundError):
        ledger.append(make("x", previous="0" * 64))
    with pytest.raises(DataError, match="same tenant and model"):
        ledger.append(make("x", tenant="other", previous=first.deployment_id))
    assert ledger.head() == head


def test_the_tables_refuse_changes_and_removals(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(make())
    database = Database(tmp_path / "store.db")
    for statement in ("UPDATE deployments SET stage = 'shadow'", "DELETE FROM deployments"):
        with pytest.raises(StorageError, match="append-only"), database.write() as connection:
            connection.execute(statement)
    assert ledger.verify_chain().num_lines == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deployments SET record = replace(record, '\"live\"', '\"shadow\"') WHERE seq = 2",
        "UPDATE deployments SET tenant = 'other' WHERE seq = 2",
        "UPDATE deployments SET stage = 'shadow' WHERE seq = 2",
        "UPDATE deployments SET record = '{}' WHERE seq = 2",
        "UPDATE deployments SET digest = '" + "0" * 64 + "' WHERE seq = 3",
        "DELETE FROM deployments WHERE seq = 2",
        "DELETE FROM deployments WHERE seq = 1",
        "UPDATE deployments SET seq = 10 - seq",
    ],
)
def test_tampering_breaks_the_chain(ledger: Ledger, tmp_path: Path, statement: str) -> None:
    for number in range(3):
        ledger.append(make(str(number)))
    ledger.verify_chain()
    tamper(tmp_path / "store.db", statement)
    with pytest.raises(StorageError, match="tampered with or damaged"):
        ledger.verify_chain()


def test_a_cut_off_end_is_seen_with_an_earlier_head(ledger: Ledger, tmp_path: Path) -> None:
    heads = [ledger.append(make(str(number))) for number in range(3)]
    assert ledger.verify_chain(heads[1]) == heads[2]
    assert ledger.verify_chain(LedgerHead(0, GENESIS)) == heads[2]
    tamper(tmp_path / "store.db", "DELETE FROM deployments WHERE seq = 3")
    assert ledger.verify_chain() == heads[1]
    with pytest.raises(StorageError, match="numbered 3 that was seen earlier is gone"):
        ledger.verify_chain(heads[2])


def test_two_processes_append_at_once_and_both_succeed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"  # neither finds a store: they also race for the schema
    writers = [start_writer(path, name, 20) for name in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    ledger = Ledger(Database(path))
    assert ledger.verify_chain().num_lines == 40
    assert {d.note for d in ledger.history("t", "m")} == {f"{name} {i}" for name in "ab" for i in range(20)}


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    threads = [threading.Thread(target=ledger.append, args=(make(str(number)),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify_chain().num_lines == 8


def test_a_kill_loses_no_finished_line_and_tears_none(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = start_writer(path, "a", 100_000)
    assert writer.stdout is not None
    with writer.stdout:
        for _ in range(10):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=30)
        acknowledged = int(([str(acknowledged), *writer.stdout.read().split()])[-1])
    ledger = Ledger(Database(path))
    head = ledger.verify_chain()
    # One more line may have been committed before it could be reported.
    assert acknowledged + 1 <= head.num_lines <= acknowledged + 2
    ledger.append(make("after"))
    assert ledger.verify_chain(head).num_lines == head.num_lines + 1


def test_a_writer_killed_inside_its_transaction_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    ledger = Ledger(Database(path))
    head = ledger.append(make())
    code = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from symbio_lab.store import Database\n"
        "with Database(Path(sys.argv[1])).write() as connection:\n"
        "    connection.execute(\"INSERT INTO deployments SELECT 2, 'x', 't', 'm', 'live', '{}', digest, 'y'"
        ' FROM deployments")\n'
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    assert ledger.verify_chain() == head
    ledger.append(make("after"))


def test_an_error_inside_a_block_undoes_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.db", migrations=(("CREATE TABLE t (x)",),))

    def insert_and_fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (1)")
        raise KeyError

    with pytest.raises(KeyError), database.write() as connection:
        insert_and_fail(connection)
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 0


def test_old_stores_are_brought_up_to_date_and_newer_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Database(path, migrations=(("CREATE TABLE t (x)",),)).write() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    newer = Database(path, migrations=(("CREATE TABLE t (x)",), ("ALTER TABLE t ADD COLUMN y DEFAULT 7",)))
    with newer.read() as connection:
        assert tuple(connection.execute("SELECT x, y FROM t").fetchone()) == (1, 7)
    with pytest.raises(StorageError, match="schema version 2, this release knows 1") as caught:
        Ledger(Database(path, migrations=MIGRATIONS[:1])).head()
    assert "upgrade" in caught.value.hint


def test_a_failing_migration_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = ("CREATE TABLE t (x)",)
    with Database(path, migrations=(first,)).read():
        pass
    with pytest.raises(StorageError), Database(path, migrations=(first, ("CREATE TABLE u (x)", "NONSENSE"))).read():
        pass
    with Database(path, migrations=(first,)).read() as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert tables == ["t"]


class LimitedDatabase(Database):
    """A store on a disk with no space beyond a few pages."""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA max_page_count = 54")
        return connection


class ReadOnlyDatabase(Database):
    """A store whose file cannot be written."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection


def test_a_full_disk_is_named_and_the_lines_before_it_stay(tmp_path: Path) -> None:
    ledger = Ledger(LimitedDatabase(tmp_path / "store.db"))
    head = ledger.append(make())
    with pytest.raises(StorageError, match=r"store\.db: the disk is full") as caught:
        ledger.append(make("x" * 100_000))
    assert "free disk space" in caught.value.hint
    assert ledger.verify_chain() == head


def test_a_read_only_store_is_named_and_still_readable(ledger: Ledger, tmp_path: Path) -> None:
    head = ledger.append(make())
    frozen = Ledger(ReadOnlyDatabase(tmp_path / "store.db"))
    assert frozen.verify_chain() == head
    with pytest.raises(StorageError, match="read-only") as caught:
        frozen.append(make("x"))
    assert "SYMBIO_LAB_HOME" in caught.value.hint


def test_a_locked_store_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.db")
    impatient = Ledger(Database(tmp_path / "store.db", busy_timeout_s=0.05))
    with database.write(), pytest.raises(StorageError, match="another process holds its lock"):
        impatient.append(make())


def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, but it is long enough to look like a file " * 20)
    with pytest.raises(StorageError, match="not an SQLite file"):
        Ledger(Database(tmp_path / "text.db")).head()
    with pytest.raises(StorageError, match="cannot be opened"):
        Ledger(Database(tmp_path)).head()
    with pytest.raises(StorageError, match="cannot make the folder"):
        Ledger(Database(tmp_path / "text.db" / "store.db")).head()
