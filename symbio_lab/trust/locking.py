"""One writer at a time: a lock on a file that the operating system drops when its holder dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from symbio_lab.errors import StorageError

WAIT_S = 30.0
_POLL_S = 0.02


@contextlib.contextmanager
def locked(path: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; the file stays, the lock does not.

    Args:
        path: lock file; its folder is made.
        wait_s: how long to wait for another holder, in seconds.

    Raises:
        StorageError: another process holds it for longer, or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise StorageError(f"cannot lock {path.name}: {error.strerror or error}") from error
    try:
        end = time.monotonic() + wait_s
        while not _take(descriptor):
            if time.monotonic() > end:
                raise StorageError(f"another process holds {path.name}", hint="run it again when that one ends")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Return whether the lock is ours now; closing the descriptor gives it back."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
