"""Take finished runs over from an experiment's committed results: what is in version control is not computed again.

Rules:
    1. A run is taken when its key is the same: same parameters, notebook, versions and data.
    2. It comes without its notebook and events; its record says where it came from.
    3. What is finished in the sweep's folder already stays as it is.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from symbio_lab.codec import build_folder, write_json
from symbio_lab.kernels.managing import KernelMode
from symbio_lab.sweeps.plan import SweepPlan
from symbio_lab.sweeps.results import committed_rows, has_committed_rows, made_with
from symbio_lab.sweeps.tasks import RunRecord, computed_on, finished_record

REASON = "taken from committed results"


def adopt_runs(plan: SweepPlan, experiment: Path) -> int:
    """Mark the runs of a sweep as finished that an experiment's committed results hold.

    Args:
        plan: of the sweep.
        experiment: folder with ``results/``; one without is no error.

    Returns:
        How many runs were taken.

    Raises:
        DataError: a file of results is damaged.
        StorageError: the sweep's folder cannot be written.
    """
    experiment = Path(experiment)
    missing = [key for key in plan.runs if finished_record(plan.folder, key) is None]
    if not missing or not has_committed_rows(experiment):
        return 0
    known = dict(iter(committed_rows(experiment).groupby("run_key", sort=False)))
    made = made_with(experiment)
    versions = made["versions"][0] if len(made["versions"]) == 1 else {}
    mode: KernelMode = made["kernel_modes"][0] if len(made["kernel_modes"]) == 1 else "spawn"
    taken = [key for key in missing if key in known]
    for key in taken:
        parameters = dict(plan.runs[key])
        record = RunRecord(key, "finished", reason=REASON, parameters=parameters, versions=versions, kernel_mode=mode)
        build_folder(plan.folder / "runs" / key, partial(_fill, rows=known[key], record=record))
    return len(taken)


def _fill(folder: Path, rows: Any, record: RunRecord) -> None:
    rows = rows.drop(columns="run_key").dropna(axis="columns", how="all").reset_index(drop=True)
    rows.to_parquet(folder / "results.parquet", index=False)
    write_json(folder / "record.json", asdict(replace(record, computed_on=computed_on(folder / "results.parquet"))))
