"""One run of a sweep, wherever an engine executes it: lease, notebook, results, one rename.

Layout of a sweep's folder::

    sweep.json                what was asked for, the runs and their keys
    notebook.ipynb            the source that all runs are made from
    events.jsonl              starts, ends and retries of runs, as they happen
    sweep.db                  leases
    shared/                   results that no factor of some runs decides, computed once (notebooks with ``shared``)
    work/<key>/               what a run has written so far; kept when it fails, so that it can go on
    runs/<key>/               a finished run: notebook.ipynb, record.json, events.jsonl, results.parquet
    failed/<key>/             the last failed attempt: notebook.ipynb, record.json, events.jsonl

Rules:
    1. ``runs/<key>`` appears whole, by a rename; whoever finds it does not run it again.
    2. One worker at a time has the lease of a run. A worker that lost it stops.
    3. What went wrong comes back as a record, never as an exception: one failing run loses no other.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from symbio_lab.codec import build_folder, read_json, write_json
from symbio_lab.errors import SymbioError
from symbio_lab.events import Event
from symbio_lab.kernels.executing import execute_notebook
from symbio_lab.kernels.managing import KernelMode, StopSwitch
from symbio_lab.kernels.parameters import parameter_problems
from symbio_lab.store.database import Database
from symbio_lab.store.leases import Leases
from symbio_lab.sweeps.failing import FailureClass, failure_class
from symbio_lab.sweeps.keys import versions

logger = logging.getLogger(__name__)
HEARTBEAT_S = 5.0
RESULT_FILES = ("results.parquet", "summary.json", "world.json", "plan.json")
"""What is kept of a run's output folder."""
PRELOAD = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.linear_model",
    "torch",
    "transformers",
    "peft",
    "datasets",
    "symbio_lab.comparison.compare",
)
"""What a warm process imports before it forks kernels: imports only, no model and no device."""
Status = Literal["finished", "failed", "held"]


@dataclass(frozen=True, slots=True)
class RunTask:
    """What an engine is given: plain values only, so that it travels to other processes and machines."""

    key: str
    folder: str
    """Of the sweep."""
    parameters: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the kernel."""
    timeout_s: float | None = None
    kernels: KernelMode = "spawn"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What became of one attempt."""

    key: str
    status: Status
    failure: FailureClass | None = None
    reason: str = ""
    """One line."""
    wall_s: float = 0.0
    started_at: str = ""
    host: str = ""
    pid: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    kernel_mode: KernelMode = "spawn"
    computed_on: tuple[str, ...] = ()
    """Device and number format of its rows, such as ``cuda float32``; empty where the rows do not say."""


def computed_on(rows: Path) -> tuple[str, ...]:
    """Return device and number format of a results file, sorted; empty where it does not say."""
    import pyarrow.parquet

    named = ("device", "dtype")
    if not rows.is_file() or not {*named} <= {*pyarrow.parquet.read_schema(rows).names}:
        return ()
    table = pyarrow.parquet.read_table(rows, columns=list(named)).to_pylist()
    return tuple(sorted({" ".join(str(row[name]) for name in named) for row in table}))


def run_once(task: RunTask) -> RunRecord:
    """Execute one run, unless it is finished or another worker has it.

    Args:
        task: the run.

    Returns:
        Its record, ``held`` when another worker has the lease.
    """
    folder = Path(task.folder)
    done = finished_record(folder, task.key)
    if done is not None:
        return done
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"
    leases = Leases(Database(folder / "sweep.db"))
    if not leases.take(task.key, owner):
        return RunRecord(task.key, "held", reason="another worker has it")
    try:
        # Between the look and the lease another worker may have finished.
        return finished_record(folder, task.key) or _attempt(task, folder, leases, owner)
    finally:
        leases.release(task.key, owner)


def finished_record(folder: Path, key: str) -> RunRecord | None:
    """Return the record of a finished run; None when it is not finished."""
    path = folder / "runs" / key / "record.json"
    return _read_record(path) if path.is_file() else None


def failed_record(folder: Path, key: str) -> RunRecord | None:
    """Return the record of the last failed attempt of a run; None when there is none."""
    path = folder / "failed" / key / "record.json"
    return _read_record(path) if path.is_file() else None


def _read_record(path: Path) -> RunRecord:
    data = read_json(path)
    known = {name: data[name] for name in RunRecord.__dataclass_fields__ if name in data}
    return RunRecord(**{**known, "computed_on": tuple(known.get("computed_on", ()))})


def _attempt(task: RunTask, folder: Path, leases: Leases, owner: str) -> RunRecord:
    work = folder / "work" / task.key
    work.mkdir(parents=True, exist_ok=True)
    switch, over = StopSwitch(), threading.Event()
    guard = threading.Thread(target=_guard, args=(task, folder, leases, owner, switch, over), daemon=True)
    begun = time.perf_counter()
    given = RunRecord(
        task.key,
        "finished",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        pid=os.getpid(),
        env=dict(task.env),
        parameters=dict(task.parameters),
        versions=dict(versions()),
    )
    failure: FailureClass | None = None
    reason = ""
    modes: list[KernelMode] = []
    # What an earlier attempt of this run wrote was told already.
    (work / "events.jsonl").unlink(missing_ok=True)
    with (work / "events.jsonl").open("a", encoding="utf-8") as log:

        def record(event: Event) -> None:
            log.write(json.dumps({**event.to_json(), "at_wall_s": round(time.perf_counter() - begun, 3)}) + "\n")
            log.flush()

        guard.start()
        try:
            execute_notebook(
                task.key,
                {**task.parameters, **_own_parameters(folder, work)},
                work / "notebook.ipynb",
                record,
                source=folder / "notebook.ipynb",
                env=task.env,
                stop=switch,
                preload=PRELOAD if task.kernels == "fork" else None,
                modes=modes,
            )
        except (SymbioError, OSError, MemoryError) as error:
            failure, reason = _why(error, switch)
        except Exception as error:
            # Rule 3.
            logger.exception("run %s", task.key)
            failure, reason = _why(error, switch)
            reason = reason if switch.reason else f"{type(error).__name__}: {reason}"
        finally:
            over.set()
    guard.join()
    given = _with(given, kernel_mode=modes[-1] if modes else "spawn")
    wall_s = round(time.perf_counter() - begun, 3)
    if failure is not None:
        found = _with(given, status="failed", failure=failure, reason=" ".join(reason.split()), wall_s=wall_s)
    elif switch.reason == "lease":
        return RunRecord(task.key, "held", reason="another worker took it over")
    else:
        found = _with(given, wall_s=wall_s, computed_on=computed_on(work / "results.parquet"))
    _keep(folder, work, found)
    return found


def _own_parameters(folder: Path, work: Path) -> dict[str, str]:
    """Return what the runner sets: where results go and, for a notebook that shares some, where those lie."""
    own = {"out": str(work)}
    shared = {"shared": str(folder / "shared")}
    return own if parameter_problems(folder / "notebook.ipynb", shared) else own | shared


def _why(error: BaseException, switch: StopSwitch) -> tuple[FailureClass, str]:
    if switch.reason == "timeout":
        return "timeout", "stopped: it took longer than timeout_s"
    if switch.reason is not None:
        return "cancelled", "stopped: the sweep was cancelled" if switch.reason == "cancel" else "stopped: lease lost"
    return failure_class(error), str(error)


def _guard(task: RunTask, folder: Path, leases: Leases, owner: str, switch: StopSwitch, over: threading.Event) -> None:
    """Keep the lease, and stop the kernel when it is lost, time is up, or the sweep is cancelled."""
    begun = beaten = time.monotonic()
    while not over.wait(0.2):
        now = time.monotonic()
        if task.timeout_s is not None and now - begun > task.timeout_s:
            switch.stop("timeout")
        if (folder / "cancelled").exists():
            switch.stop("cancel")
        if now - beaten >= HEARTBEAT_S:
            beaten = now
            try:
                if not leases.beat(task.key, owner):
                    switch.stop("lease")
            except SymbioError as error:
                # A store that is busy for a moment is no lost lease; a minute of it is, for whoever takes over.
                logger.warning("heartbeat of %s: %s", task.key, error)


def _keep(folder: Path, work: Path, found: RunRecord) -> None:
    """Move what a reader needs to its place; the work folder goes when the run is finished."""
    target = folder / ("runs" if found.status == "finished" else "failed") / found.key

    def fill(temporary: Path) -> None:
        for name in ("notebook.ipynb", "events.jsonl", *RESULT_FILES):
            if (work / name).is_file():
                shutil.copy2(work / name, temporary / name)
        write_json(temporary / "record.json", asdict(found))

    shutil.rmtree(folder / "failed" / found.key, ignore_errors=True)
    build_folder(target, fill)
    if found.status == "finished":
        shutil.rmtree(work, ignore_errors=True)


def _with(found: RunRecord, **changed: Any) -> RunRecord:
    return RunRecord(**{**asdict(found), **changed})
