"""Runs on this machine: one thread and one kernel for each, on slots of its devices.

Rules:
    1. A slot is a device with a share of its memory, or a share of the CPU's cores. Kernels see their own device only
       (``CUDA_VISIBLE_DEVICES``) and take at most their share of its memory.
    2. Tensor threads of all slots together are the cores there are: more costs ten times.
    3. Without a GPU runs go to the CPU, and the engine says so.
"""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Self

from symbio_lab.config import available_threads
from symbio_lab.models.devices import MEMORY_FRACTION, num_cuda_devices
from symbio_lab.sweeps.engines.protocol import Work, thread_environment
from symbio_lab.sweeps.tasks import RunRecord, RunTask, run_once


class LocalEngine:
    """Threads of this process, a kernel process for each run."""

    name = "local"

    def __init__(self, slots: int | None = None, threads: int | None = None, *, work: Work = run_once) -> None:
        """Lay the slots out.

        Args:
            slots: runs at once; None takes one for each CUDA device, or one on the CPU.
            threads: CPU threads of each run; None divides the cores.
            work: what is called for each run.
        """
        devices = cuda_devices()
        self.slots = slots or max(1, len(devices))
        self._work = work
        threads = threads or max(1, available_threads() // self.slots)
        self._free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for number in range(self.slots):
            self._free.put(slot_environment(number, self.slots, devices, threads))
        where = f"{len(devices)} CUDA device(s)" if devices else "the CPU (there is no CUDA device)"
        self.notes: tuple[str, ...] = (f"{self.slots} slot(s) on {where}, {threads} thread(s) each",)
        self._lock = threading.Lock()
        self._num_to_drop = 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(max_workers=self.slots, thread_name_prefix="sweep")
        return self

    def submit(self, task: RunTask) -> Future[RunRecord]:
        """Start a run as soon as a slot is free."""
        assert self._pool is not None, "use the engine as a context manager"
        return self._pool.submit(self._run, task)

    def shrink(self) -> bool:
        """Use one slot fewer from now on; False when only one is left."""
        with self._lock:
            if self.slots == 1:
                return False
            self.slots -= 1
            self._num_to_drop += 1
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what runs; nothing new starts."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: RunTask) -> RunRecord:
        slot = self._free.get()
        try:
            return self._work(replace(task, env={**slot, **task.env}))
        finally:
            with self._lock:
                dropped = self._num_to_drop > 0
                self._num_to_drop -= dropped
            if not dropped:
                self._free.put(slot)


def slot_environment(number: int, slots: int, devices: tuple[str, ...], threads: int) -> dict[str, str]:
    """Return the environment of one slot.

    Args:
        number: of the slot, from 0.
        slots: of the engine.
        devices: CUDA devices as ``CUDA_VISIBLE_DEVICES`` names them.
        threads: CPU threads of a run.

    >>> slot_environment(1, 2, ("0",), 4)["SYMBIO_LAB_CUDA_MEMORY_FRACTION"]
    '0.5000'
    """
    found = thread_environment(threads)
    if devices:
        device = devices[number % len(devices)]
        sharing = sum(n % len(devices) == number % len(devices) for n in range(slots))
        found["CUDA_VISIBLE_DEVICES"] = device
        found[MEMORY_FRACTION] = f"{1 / sharing:.4f}"
    return found


def cuda_devices() -> tuple[str, ...]:
    """Return the CUDA devices that this process may use; asking starts no CUDA context."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name for name in (part.strip() for part in given.split(",")) if name and name != "-1")
    return tuple(map(str, range(num_cuda_devices())))
