"""Run a sweep to its end: what is missing is started, what failed for a passing reason is started again.

Rules:
    1. Finished runs are never started again; failed ones only by resuming, or while their class has retries left.
    2. One failing run loses no other; a killed sweep loses the runs in flight, and they go on where they were.
    3. Everything that happens is one line of ``events.jsonl`` and one event to the listener, from the same object.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.errors import StorageError
from symbio_lab.events import Event, Listener, RunEnded, RunStarted, SweepEnded, SweepStarted, emit
from symbio_lab.sweeps.engines.choosing import choose_engine
from symbio_lab.sweeps.engines.protocol import Engine
from symbio_lab.sweeps.plan import SweepPlan
from symbio_lab.sweeps.tasks import RunRecord, RunTask, finished_record

logger = logging.getLogger(__name__)
_POLL_S = 1.0
"""How often a run that another sweep process has is looked at."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What became of a sweep."""

    folder: Path
    finished: tuple[RunRecord, ...]
    failed: tuple[RunRecord, ...]
    missing: tuple[str, ...]
    """Keys of runs that were never started, because the sweep was cancelled."""


def run_sweep(
    plan: SweepPlan,
    *,
    engine: Engine | None = None,
    listener: Listener | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> SweepResult:
    """Run what is missing of a sweep.

    Args:
        plan: from ``make_plan`` or ``read_plan``.
        engine: where runs execute; None takes the one that the file names.
        listener: told about every run.
        sleep: waits a number of seconds.

    Returns:
        Records of all runs.

    Raises:
        MissingExtraError: the engine's package is not installed.
        StorageError: the folder cannot be written.
    """
    folder = plan.folder
    (folder / "cancelled").unlink(missing_ok=True)
    engine = engine or choose_engine(plan.spec.engine)
    tell = _told(folder / "events.jsonl", listener)
    records = {key: found for key in plan.runs if (found := finished_record(folder, key)) is not None}
    waiting = deque(key for key in plan.runs if key not in records)
    tell(SweepStarted(plan.spec.name, len(plan.runs), len(records), engine.name, engine.slots, "; ".join(engine.notes)))
    attempts: Counter[str] = Counter()
    failures: Counter[tuple[str, str]] = Counter()
    flying: dict[Future[RunRecord], str] = {}
    with engine:
        while flying or (waiting and not _cancelled(folder)):
            while waiting and len(flying) < engine.slots and not _cancelled(folder):
                key = waiting.popleft()
                attempts[key] += 1
                tell(RunStarted(key, attempts[key]))
                task = RunTask(
                    key, str(folder), plan.runs[key], timeout_s=plan.spec.timeout_s, kernels=plan.spec.engine.kernels
                )
                flying[engine.submit(task)] = key
            done, _ = wait(flying, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                key = flying.pop(future)
                found = _result(future, key)
                if found.status == "held":
                    # Another process of this sweep has it; its end is ours too.
                    attempts[key] -= 1
                    waiting.append(key)
                    if not flying:
                        sleep(_POLL_S)
                    continue
                again = _may_retry(plan, found, failures, engine)
                if again:
                    waiting.append(key)
                else:
                    records[key] = found
                tell(
                    RunEnded(
                        key,
                        found.status,
                        found.failure,
                        found.reason,
                        found.wall_s,
                        again,
                        len(records),
                        len(plan.runs),
                    )
                )
    ended = [records[key] for key in plan.runs if key in records]
    result = SweepResult(
        folder,
        tuple(r for r in ended if r.status == "finished"),
        tuple(r for r in ended if r.status != "finished"),
        tuple(key for key in plan.runs if key not in records),
    )
    tell(SweepEnded(len(result.finished), len(result.failed), _cancelled(folder)))
    return result


def cancel_sweep(folder: Path) -> None:
    """Ask whoever runs the sweep to stop: runs in flight are killed, finished ones stay."""
    try:
        (Path(folder) / "cancelled").touch()
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error


def _cancelled(folder: Path) -> bool:
    return (folder / "cancelled").exists()


def _result(future: Future[RunRecord], key: str) -> RunRecord:
    try:
        return future.result()
    except Exception as error:
        # An engine's fault must not lose the other runs.
        logger.exception("run %s", key)
        return RunRecord(key, "failed", "permanent", f"{type(error).__name__}: {' '.join(str(error).split())}")


def _may_retry(plan: SweepPlan, found: RunRecord, failures: Counter[tuple[str, str]], engine: Engine) -> bool:
    if found.status != "failed" or found.failure not in ("dead_kernel", "out_of_memory", "transient"):
        return False
    failures[found.key, found.failure] += 1
    if failures[found.key, found.failure] > getattr(plan.spec.retries, found.failure):
        return False
    # Alone on the machine already, the next attempt would need as much memory as this one.
    return found.failure != "out_of_memory" or engine.shrink()


def _told(path: Path, listener: Listener | None) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        line: dict[str, Any] = {**event.to_json(), "at": round(time.time(), 3)}
        try:
            # One write of one line: processes that append at once do not mix them.
            with path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        emit(listener, event)

    return tell
