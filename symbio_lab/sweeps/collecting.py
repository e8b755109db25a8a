"""The results of all finished runs as one table: every row of every run, with the run's key and parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from symbio_lab.codec import write_atomic
from symbio_lab.errors import NotFoundError
from symbio_lab.sweeps.plan import SweepPlan
from symbio_lab.sweeps.tasks import finished_record


def collect_runs(plan: SweepPlan) -> Any:
    """Return the rows of all finished runs in the plan's order.

    Args:
        plan: a sweep.

    Returns:
        A pandas frame: ``run_key``, then the columns of the runs' ``results.parquet``; a scalar parameter that the
        results do not hold is a column too.

    Raises:
        NotFoundError: no run with results is finished.
    """
    import pandas as pd

    frames = []
    for key, parameters in plan.runs.items():
        path = plan.folder / "runs" / key / "results.parquet"
        if finished_record(plan.folder, key) is None or not path.is_file():
            continue
        frame = pd.read_parquet(path)
        for name, value in parameters.items():
            if name not in frame.columns and (value is None or isinstance(value, str | int | float | bool)):
                frame[name] = value
        frame.insert(0, "run_key", key)
        frames.append(frame)
    if not frames:
        raise NotFoundError(
            f"no finished run of {plan.folder} has results", hint="look at symbio sweep status, then resume it"
        )
    # Columns that are empty in one run and full in another keep the type of the full one.
    return pd.concat([frame.dropna(axis="columns", how="all") for frame in frames], ignore_index=True)


def write_results(plan: SweepPlan) -> Path:
    """Write the collected rows to ``results.parquet`` in the sweep's folder and return its path."""
    frame = collect_runs(plan)
    path = plan.folder / "results.parquet"
    write_atomic(path, lambda temporary: frame.to_parquet(temporary, index=False))
    return path
