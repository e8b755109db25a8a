"""Leases: work that one owner at a time may do, and that others may take over when the owner is gone.

Rules:
    1. Taking, beating and releasing are single transactions: two takers queue, and one of them gets the lease.
    2. A lease is free when it was released, when its process is gone (same host), or when its last heartbeat is further
       than ``stale_s`` from now (any host), in the past or, after a clock was set back, in the future.
    3. An owner whose lease was taken over learns it at its next heartbeat.

Example:
    >>> import tempfile
    >>> from symbio_lab.store.database import Database
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     leases = Leases(Database(Path(folder) / "store.db"))
    ...     leases.take("cell", "a"), leases.take("cell", "b"), leases.release("cell", "a"), leases.take("cell", "b")
    (True, False, None, True)
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.store.connection import Connection, Store

STALE_S = 60.0
"""Seconds without a heartbeat after which a lease of another host is free."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on something."""

    name: str
    owner: str
    host: str
    pid: int
    beat_at: float
    """Seconds since the epoch."""


class Leases:
    """The leases of one store."""

    def __init__(self, database: Store, *, stale_s: float = STALE_S, clock: Callable[[], float] = time.time) -> None:
        """Name the store.

        Args:
            database: where leases are kept.
            stale_s: seconds without a heartbeat after which a lease is free.
            clock: seconds since the epoch.
        """
        self._database = database
        self._stale_s = stale_s
        self._clock = clock

    def take(self, name: str, owner: str) -> bool:
        """Take a lease that is free; return whether it is ours now.

        Args:
            name: the work.
            owner: unique name of who asks; asking again with the same name gives the same lease.
        """
        with self._database.write() as connection:
            return self.take_in(connection, name, owner)

    def take_in(self, connection: Connection, name: str, owner: str) -> bool:
        """Do what ``take`` does, in a write transaction of the caller's."""
        host, pid = socket.gethostname(), os.getpid()
        row = connection.execute("SELECT name, owner, host, pid, beat_at FROM leases WHERE name = ?", (name,))
        held = row.fetchone()
        if held is not None and held[1] != owner and self._is_held(Lease(*held)):
            return False
        connection.execute(
            "INSERT INTO leases (name, owner, host, pid, beat_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET owner = excluded.owner, host = excluded.host, pid = excluded.pid,"
            " beat_at = excluded.beat_at",
            (name, owner, host, pid, self._clock()),
        )
        return True

    def beat(self, name: str, owner: str) -> bool:
        """Say that the owner is alive; return whether the lease is still its own."""
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE leases SET beat_at = ? WHERE name = ? AND owner = ?", (self._clock(), name, owner)
            )
            return changed.rowcount == 1

    def release(self, name: str, owner: str) -> None:
        """Give a lease back; one that was taken over stays with its new owner."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM leases WHERE name = ? AND owner = ?", (name, owner))

    def held(self) -> dict[str, Lease]:
        """Return the leases that somebody holds, by name."""
        with self._database.read() as connection:
            return self.held_in(connection)

    def held_in(self, connection: Connection) -> dict[str, Lease]:
        """Do what ``held`` does, in a transaction of the caller's."""
        rows = connection.execute("SELECT name, owner, host, pid, beat_at FROM leases").fetchall()
        return {lease.name: lease for lease in (Lease(*row) for row in rows) if self._is_held(lease)}

    def _is_held(self, lease: Lease) -> bool:
        if abs(self._clock() - lease.beat_at) > self._stale_s:
            return False
        return lease.host != socket.gethostname() or _is_running(lease.pid)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed process whose parent has not asked for its status is still in the table.
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] != "Z"
