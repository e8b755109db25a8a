"""Runs on a Ray cluster: one task for each, in worker processes that stay and are used again.

Rules:
    1. Ray retries nothing (``max_retries=0``): the sweep does, by the class of the failure.
    2. Workers are reused (``max_calls=0``): the kernel is a child process, so that what it held is free when it ends.
    3. Results are files in the sweep's folder; what travels is a task of plain values and a record.
    4. Fractions of a GPU are admission control: Ray sets ``CUDA_VISIBLE_DEVICES``, kernels keep to their share.

The workers need this package, and the sweep's folder under the same path.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from symbio_lab.config import available_threads
from symbio_lab.errors import ConfigError, MissingExtraError, NetworkUnavailableError
from symbio_lab.models.devices import MEMORY_FRACTION
from symbio_lab.sweeps.engines.protocol import Work, thread_environment
from symbio_lab.sweeps.tasks import RunRecord, RunTask, run_once

OPTIONS = ("address", "num_gpus")
"""``address`` of a running cluster (``auto``, ``ray://host:10001``); without one a cluster is started on this machine
and stopped again. ``num_gpus`` of each run, a fraction or a whole number; by default the cluster's, divided."""
_OBJECT_STORE_BYTES = 100_000_000
"""Of a cluster that we start: records are small."""


class RayEngine:
    """Tasks of a Ray cluster."""

    name = "ray"

    def __init__(
        self,
        slots: int | None = None,
        threads: int | None = None,
        *,
        address: str | None = None,
        num_gpus: float | None = None,
        work: Work = run_once,
    ) -> None:
        """Check that Ray is there; the cluster is joined on entering.

        Args:
            slots: runs at once; None takes one for each CPU of a cluster, or one on this machine.
            threads: CPU threads of each run; None divides the cores of this machine, or takes one on a cluster.
            address: of a cluster; None starts one.
            num_gpus: of each run; None divides the cluster's.
            work: what is called for each run.

        Raises:
            MissingExtraError: Ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self._ray: Any = ray
        self._address, self._num_gpus, self._work = address, num_gpus, work
        self.slots = slots or 1
        self._given_slots, self._threads = slots, threads
        self.notes: tuple[str, ...] = ()
        self._remote: Any = None
        self._started = False
        self._running: dict[Future[RunRecord], Any] = {}
        self._env: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Join the cluster, or start one.

        Raises:
            NetworkUnavailableError: no cluster answers at the address.
        """
        # Read by Ray when it starts: nothing is reported to anybody, and a run without a GPU keeps its environment.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray = self._ray
        if not ray.is_initialized():
            given: dict[str, Any] = {"address": self._address}
            if self._address is None:
                given |= {"address": "local", "num_cpus": self.slots, "object_store_memory": _OBJECT_STORE_BYTES}
                given |= {"include_dashboard": False}
            try:
                ray.init(**given, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError) as error:
                hint = "start it with ray start --head, or leave the address out"
                raise NetworkUnavailableError(f"no Ray cluster at {self._address}: {error}", hint=hint) from error
            self._started = True
        found = ray.cluster_resources()
        cpus, gpus = int(found.get("CPU", 1)), float(found.get("GPU", 0))
        self.slots = self._given_slots or (cpus if self._address else 1)
        share = self._num_gpus if self._num_gpus is not None else _gpu_share(gpus, self.slots)
        alone = self._address is None
        threads = self._threads or (max(1, available_threads() // self.slots) if alone else 1)
        self._env = thread_environment(threads)
        if 0 < share < 1:
            self._env[MEMORY_FRACTION] = f"{share:.4f}"
        self._remote = ray.remote(max_calls=0, max_retries=0, num_cpus=1, num_gpus=share)(self._work)
        where = f"{gpus:g} GPU(s), {share:g} for each run" if gpus else "no GPU"
        nodes = len(ray.nodes())
        self.notes = (f"{self.slots} slot(s) on Ray, {nodes} node(s), {where}, {threads} thread(s) each",)
        return self

    def submit(self, task: RunTask) -> Future[RunRecord]:
        """Start a run as soon as the cluster has room."""
        assert self._remote is not None, "use the engine as a context manager"
        ref = self._remote.remote(replace(task, env={**self._env, **task.env}))
        found: Future[RunRecord] = Future()
        self._running[found] = ref
        ref.future().add_done_callback(lambda done: self._ended(task.key, found, done))
        return found

    def shrink(self) -> bool:
        """Use one slot fewer from now on; False when only one is left."""
        if self.slots == 1:
            return False
        self.slots -= 1
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what runs; a cluster that we started stops with it."""
        for ref in list(self._running.values()):
            self._ray.cancel(ref, force=True)
        if self._started:
            self._ray.shutdown()
            self._started = False

    def _ended(self, key: str, found: Future[RunRecord], done: Future[RunRecord]) -> None:
        self._running.pop(found, None)
        error = done.exception()
        found.set_result(done.result() if error is None else self._record(key, error))

    def _record(self, key: str, error: BaseException) -> RunRecord:
        """Return what a lost task is: its worker or node is gone, or Ray killed it for memory."""
        gone = self._ray.exceptions
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, gone.OutOfMemoryError):
            return RunRecord(key, "failed", "out_of_memory", f"Ray stopped the worker: {reason}")
        if isinstance(error, gone.WorkerCrashedError | gone.NodeDiedError | gone.RaySystemError):
            return RunRecord(key, "failed", "dead_kernel", f"the worker died: {reason}")
        if isinstance(error, gone.TaskCancelledError):
            return RunRecord(key, "failed", "cancelled", "stopped: the engine was closed")
        return RunRecord(key, "failed", "permanent", f"{type(error).__name__}: {reason}")


def _gpu_share(gpus: float, slots: int) -> float:
    """Return the GPUs of one run: a whole one, or an equal share where slots are more than devices.

    >>> _gpu_share(1, 2), _gpu_share(4, 2), _gpu_share(0, 2)
    (0.5, 1.0, 0.0)
    """
    return min(1.0, gpus / slots)


def ray_engine(slots: int | None, threads: int | None, options: dict[str, Any]) -> RayEngine:
    """Return the engine of a sweep file.

    Raises:
        ConfigError: unknown options.
        MissingExtraError: Ray is not installed.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ConfigError([f"engine ray has no option {name!r}; it has {', '.join(OPTIONS)}" for name in unknown])
    return RayEngine(slots, threads, **options)
