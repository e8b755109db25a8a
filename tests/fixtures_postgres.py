"""A Postgres server of this machine's own package, in a temporary folder, for one session; a schema for each test."""

from __future__ import annotations

import ctypes
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.config import StoreUrl
from symbio_lab.store.connection import Store
from symbio_lab.store.database import Database
from symbio_lab.store.postgres import PostgresDatabase

START_S = 60.0
_LIBC = ctypes.CDLL(None)


@dataclass
class Server:
    """A running server; whoever holds the password may do everything on it."""

    folder: Path
    port: int
    password: str
    process: subprocess.Popen[bytes]
    """Of the postmaster."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, schema: str = "public", *, user: str = "lab", password: str | None = None) -> StoreUrl:
        """Return the address of a schema."""
        secret = self.password if password is None else password
        options = f"?options=-csearch_path%3D{schema}"
        return StoreUrl(f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/lab{options}")

    def new_schema(self) -> StoreUrl:
        """Return the address of a schema that is empty."""
        schema = f"s{next(self.numbers)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return self.url(schema)

    def execute(self, *statements: str, database: str = "lab") -> list[Any]:
        """Carry out statements as the owner; return the rows of the last."""
        import psycopg

        address = f"postgresql://lab:{self.password}@127.0.0.1:{self.port}/{database}"
        with psycopg.connect(address, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def programs() -> Path | None:
    """Return the folder of the server's programs, those of the newest version."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return next((path for path in reversed(folders) if (path / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server on a loopback port, with the package's own defaults (fsync too)."""
    folder = programs()
    if folder is None:
        why = "no Postgres server is installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    # Not pytest's folder: the server refuses to run as root, and another user does not get in there.
    place = Path(tempfile.mkdtemp(prefix="symbio-postgres-"))
    try:
        server = _start(folder, place)
        try:
            yield server
        finally:
            server.process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.process.wait(START_S)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def postgres_store(postgres: Server) -> Iterator[PostgresDatabase]:
    """A store in a schema of its own."""
    store = PostgresDatabase(postgres.new_schema())
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of either kind: one test, two databases."""
    if request.param == "sqlite":
        return Database(tmp_path / "store.db")
    store: Store = request.getfixturevalue("postgres_store")
    return store


def _start(programs: Path, place: Path) -> Server:
    user = _user()
    if user:
        shutil.chown(place, user)
    data, port, password = place / "data", _free_port(), secrets.token_urlsafe(12)
    secret = place / "password"
    secret.write_text(password)
    as_user: dict[str, Any] = {"user": user, "group": _group(user), "extra_groups": []} if user else {}
    if user:
        shutil.chown(secret, user)
    initdb = [programs / "initdb", "-D", data, "-U", "lab", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    # initdb need not sync: a power cut ends the test anyway. The server itself does.
    made = subprocess.run(
        [*initdb, "--auth=scram-sha-256", f"--pwfile={secret}"], cwd=place, capture_output=True, text=True, **as_user
    )
    assert made.returncode == 0, made.stderr
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), "-k", place, "-c", "listen_addresses=127.0.0.1"],
            cwd=place,
            stdout=subprocess.DEVNULL,
            stderr=log,
            preexec_fn=_die_with_parent,
            **as_user,
        )
    server = Server(place, port, password, process)
    _wait(server)
    server.execute("CREATE DATABASE lab", database="postgres")
    return server


def _die_with_parent() -> None:
    """Let the kernel end the server when the tests are killed: nobody else would."""
    if sys.platform == "linux":
        _LIBC.prctl(1, signal.SIGQUIT)


def _wait(server: Server) -> None:
    import psycopg

    until = time.monotonic() + START_S
    while True:
        try:
            server.execute("SELECT 1", database="postgres")
            return
        except psycopg.OperationalError:
            if server.process.poll() is not None or time.monotonic() > until:
                raise AssertionError((server.folder / "log").read_text()) from None
            time.sleep(0.05)


def _user() -> str:
    """Return who runs the server; empty: whoever runs the tests."""
    import pwd

    if os.geteuid() != 0:
        return ""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
