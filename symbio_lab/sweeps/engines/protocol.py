"""What the runner needs of an engine.

Rules:
    1. An engine starts what it is given, at most ``slots`` at once, and tells what became of it. It never retries: the
       runner does, by the class of the failure.
    2. A worker that disappears is a record of class ``dead_kernel``, not an exception.
    3. Closing stops what runs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self

from symbio_lab.sweeps.tasks import RunRecord, RunTask

Work = Callable[[RunTask], RunRecord]
"""What an engine calls for each run."""


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that hold a kernel to a number of CPU threads."""
    return {name: str(threads) for name in ("SYMBIO_LAB_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


class Engine(Protocol):
    """Executes runs."""

    name: str
    slots: int
    """Runs at once."""
    notes: tuple[str, ...]
    """What a user should know of where runs execute, one line each."""

    def submit(self, task: RunTask) -> Future[RunRecord]:
        """Start a run as soon as a slot is free."""

    def shrink(self) -> bool:
        """Use one slot fewer from now on; False when only one is left."""

    def __enter__(self) -> Self:
        """Make ready."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what runs and give everything back."""
