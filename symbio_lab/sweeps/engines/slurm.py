"""Runs as Slurm jobs, one job each, through submitit.

Rules:
    1. A job that Slurm preempts is put back into the queue (``checkpoint``) and goes on in the run's work folder.
    2. A job that is lost otherwise is a record of class ``dead_kernel``; the sweep decides whether to start it again.
    3. A job runs one notebook, so that a warm process would be warmed for nothing: kernels are spawned.
    4. Job scripts, pickles and logs lie in ``slurm/`` of the sweep's folder, which all nodes must see.

``cluster: local`` runs the same jobs as processes of this machine: to try a sweep file before queueing it.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from symbio_lab.errors import ConfigError, MissingExtraError
from symbio_lab.sweeps.engines.protocol import Work, thread_environment
from symbio_lab.sweeps.tasks import RunRecord, RunTask, run_once

CLUSTERS = ("slurm", "local")
MOST_JOBS = 64
"""Jobs in the queue at once where the sweep file gives no slots."""
OPTIONS = ("cluster", "timeout_min", "mem_gb", "gpus_per_node", "name", "stderr_to_stdout")
"""And every ``slurm_*`` parameter that submitit knows: ``slurm_partition``, ``slurm_account`` ..."""
_LOOK_S = 0.2
_LOOK_AT_QUEUE_S = 10.0


class Requeued:
    """The work of one job; submitit asks it what to do when the job is preempted."""

    def __init__(self, work: Work) -> None:
        """Keep what is called."""
        self._work = work

    def __call__(self, task: RunTask) -> RunRecord:
        """Execute the run."""
        return self._work(task)

    def checkpoint(self, task: RunTask) -> Any:
        """Return the job that goes on: the same run, whose finished work is found again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)


class SlurmEngine:
    """Jobs of a Slurm cluster."""

    name = "slurm"

    def __init__(
        self,
        slots: int | None = None,
        threads: int | None = None,
        *,
        cluster: str = "slurm",
        work: Work = run_once,
        **parameters: Any,
    ) -> None:
        """Check that submitit is there; the executor is made with the first run, which names the folder.

        Args:
            slots: jobs in the queue at once; None takes ``MOST_JOBS``, or one on this machine.
            threads: CPU threads of each run; None takes one.
            cluster: ``slurm``, or ``local`` for processes of this machine.
            work: what is called for each run.
            parameters: of submitit's executor.

        Raises:
            MissingExtraError: submitit is not installed.
        """
        try:
            import submitit
        except ImportError as error:
            raise MissingExtraError("submitit", "slurm") from error
        self._submitit: Any = submitit
        self._cluster, self._work, self._parameters = cluster, work, parameters
        self._threads = threads or 1
        self.slots = slots or (MOST_JOBS if cluster == "slurm" else 1)
        self.notes: tuple[str, ...] = (f"{self.slots} job(s) at once on {cluster}, {self._threads} thread(s) each",)
        self._executor: Any = None
        self._jobs: dict[Any, tuple[str, Future[RunRecord]]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the thread that looks after the jobs."""
        self._watcher = threading.Thread(target=self._watch, name="slurm", daemon=True)
        self._watcher.start()
        return self

    def submit(self, task: RunTask) -> Future[RunRecord]:
        """Queue a run.

        Raises:
            ConfigError: submitit or Slurm refuses the parameters.
        """
        if self._executor is None:
            self._executor = self._make(Path(task.folder) / "slurm")
        env = thread_environment(self._threads)
        found: Future[RunRecord] = Future()
        job = self._executor.submit(Requeued(self._work), replace(task, env={**env, **task.env}, kernels="spawn"))
        with self._lock:
            self._jobs[job] = (task.key, found)
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
        """Cancel what is queued or runs."""
        self._over.set()
        if self._watcher is not None:
            self._watcher.join()
        for job in list(self._jobs):
            job.cancel()

    def _make(self, folder: Path) -> Any:
        try:
            executor = self._submitit.AutoExecutor(folder=folder, cluster=self._cluster)
            executor.update_parameters(**{"cpus_per_task": self._threads, "timeout_min": 24 * 60, **self._parameters})
        except (NameError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError([f"engine slurm: {' '.join(str(error).split())}"]) from error
        return executor

    def _watch(self) -> None:
        """Give every job's future its record as soon as the job ends."""
        pause = _LOOK_S if self._cluster == "local" else _LOOK_AT_QUEUE_S
        while not self._over.wait(_LOOK_S):
            with self._lock:
                jobs = dict(self._jobs)
            for job, (key, found) in jobs.items():
                if job.done():
                    with self._lock:
                        del self._jobs[job]
                    found.set_result(self._record(key, job))
            if pause > _LOOK_S and jobs:
                # Slurm's controller is shared by everybody: it is not asked more often than this.
                time.sleep(pause)

    def _record(self, key: str, job: Any) -> RunRecord:
        try:
            record: RunRecord = job.result()
        except self._submitit.core.utils.UncompletedJobError as error:
            return RunRecord(key, "failed", "dead_kernel", f"the job was lost: {' '.join(str(error).split())[:300]}")
        except self._submitit.core.utils.FailedJobError as error:
            return RunRecord(key, "failed", "permanent", f"the job failed: {' '.join(str(error).split())[:300]}")
        return record


def slurm_engine(slots: int | None, threads: int | None, options: dict[str, Any]) -> SlurmEngine:
    """Return the engine of a sweep file.

    Raises:
        ConfigError: unknown options.
        MissingExtraError: submitit is not installed.
    """
    known = ", ".join((*OPTIONS, "slurm_*"))
    problems = [
        f"engine slurm has no option {name!r}; it has {known}"
        for name in options
        if name not in OPTIONS and not name.startswith("slurm_")
    ]
    if options.get("cluster", "slurm") not in CLUSTERS:
        problems.append(f"engine slurm: cluster must be one of {', '.join(CLUSTERS)}")
    if problems:
        raise ConfigError(problems)
    return SlurmEngine(slots, threads, **options)
