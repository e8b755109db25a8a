"""Connections to one Postgres server, kept between transactions: making one costs more than most transactions do.

Rules:
    1. At most ``most`` connections a process; who comes later waits, and hears of it when that takes too long.
    2. A connection serves one transaction at a time, in any thread. After a fork the child makes its own.
    3. A connection that broke, or whose transaction did not end, is closed and never given out again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from symbio_lab.errors import StorageError

_parents: list[Any] = []
"""Connections of a parent process: to close them here would end them there."""


class Pool:
    """The connections of one process."""

    def __init__(self, name: str, connect: Callable[[], Any], *, most: int, wait_s: float) -> None:
        """Prepare; nothing is connected yet.

        Args:
            name: of the store, for errors.
            connect: makes a connection.
            most: connections at once.
            wait_s: how long to wait for a free one, in seconds.
        """
        self._name, self._connect, self._most, self._wait_s = name, connect, most, wait_s
        self._idle: list[Any] = []
        self._start()
        self._closing = weakref.finalize(self, _close_all, self._idle, os.getpid())

    def take(self) -> tuple[Any, bool]:
        """Return a connection, and whether it was kept from before.

        Raises:
            StorageError: all are in use for too long, or none can be made.
        """
        if self._pid != os.getpid():
            _parents.extend(self._idle)
            self._idle.clear()
            self._start()
        if not self._free.acquire(timeout=self._wait_s):
            raise StorageError(
                f"cannot use {self._name}: all {self._most} connections of this process are in use",
                hint="try again; start more server processes for more requests at once",
            )
        try:
            # The newest first: those that nobody needs grow old and are closed by the server, not by us.
            return self._idle.pop(), True
        except IndexError:
            pass
        try:
            return self._connect(), False
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: Any) -> None:
        """Take a connection back; one that is not idle is closed."""
        if not _is_idle(connection):
            connection.close()
        else:
            self._idle.append(connection)
        self._free.release()

    def close(self) -> None:
        """Close what is idle; a later ``take`` connects again."""
        _close_all(self._idle, self._pid)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._free = threading.BoundedSemaphore(self._most)


def _is_idle(connection: Any) -> bool:
    from psycopg.pq import TransactionStatus

    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def _close_all(connections: list[Any], pid: int) -> None:
    if pid != os.getpid():
        return
    while connections:
        connections.pop().close()
