"""How far a sweep is, read from its folder: no process of the sweep need be there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.store.database import Database
from symbio_lab.store.leases import Leases
from symbio_lab.sweeps.plan import read_plan
from symbio_lab.sweeps.tasks import failed_record, finished_record


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """Counts, running runs, and failures by reason."""

    name: str
    num_runs: int
    num_finished: int
    running: tuple[str, ...]
    """Keys that a worker has a lease on."""
    failed: tuple[tuple[str, str, str], ...]
    """(key, class, reason) of runs whose last attempt failed."""
    num_waiting: int
    cancelled: bool
    finished_wall_s: float
    """Seconds that finished runs took, together."""

    @property
    def reasons(self) -> tuple[tuple[str, int], ...]:
        """Reasons of failure, the most frequent first."""
        return tuple(Counter(f"{kind}: {reason}" for _, kind, reason in self.failed).most_common())


def sweep_status(folder: Path) -> SweepStatus:
    """Return how far a sweep is.

    Raises:
        NotFoundError: the folder holds no sweep.
        ConfigError: its plan is damaged.
    """
    plan = read_plan(folder)
    finished = [found for key in plan.runs if (found := finished_record(plan.folder, key)) is not None]
    done = {found.key for found in finished}
    held = Leases(Database(plan.folder / "sweep.db")).held() if (plan.folder / "sweep.db").is_file() else {}
    running = tuple(key for key in plan.runs if key in held and key not in done)
    failed = tuple(
        (key, str(found.failure), found.reason)
        for key in plan.runs
        if key not in done and key not in running and (found := failed_record(plan.folder, key)) is not None
    )
    return SweepStatus(
        plan.spec.name,
        len(plan.runs),
        len(finished),
        running,
        failed,
        len(plan.runs) - len(finished) - len(running) - len(failed),
        (plan.folder / "cancelled").exists(),
        sum(found.wall_s for found in finished),
    )
