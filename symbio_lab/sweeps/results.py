"""The rows of a sweep, from its working folder or from a folder of committed results.

Two layouts are read::

    DIR/sweep.json, DIR/runs/<key>/results.parquet     a sweep that runs or ran here
    DIR/sweep.yaml, DIR/results/*.parquet              an experiment: its plan and its results, small enough to commit
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json, write_atomic, write_json
from symbio_lab.errors import DataError, NotFoundError
from symbio_lab.sweeps.collecting import collect_runs
from symbio_lab.sweeps.plan import SweepPlan, read_plan
from symbio_lab.sweeps.spec import SweepSpec, load_spec

MADE_WITH = "made_with.json"
"""Beside committed rows: the versions that made them."""
TIMING_SUFFIXES = ("_wall_s", "_cpu_s")
"""Columns that measure time: they alone differ when a run is repeated."""


@dataclass(frozen=True, slots=True)
class SweepRows:
    """What a sweep found so far."""

    folder: Path
    spec: SweepSpec
    frame: Any
    """Pandas frame: one row a cell, ``run_key`` first."""
    num_runs: int
    """Runs that were asked for."""
    failed: tuple[tuple[str, str], ...] = ()
    """(key, reason) of runs that failed; of committed results nothing is known."""

    @property
    def num_finished(self) -> int:
        """Runs with results."""
        return int(self.frame["run_key"].nunique())


def read_rows(folder: Path) -> SweepRows:
    """Read the rows of a sweep or of an experiment's committed results.

    Args:
        folder: in one of the two layouts.

    Raises:
        NotFoundError: the folder is neither, or holds no results yet.
        ConfigError: its plan is damaged.
        DataError: a file of results is damaged.
    """
    folder = Path(folder)
    if (folder / "sweep.json").is_file():
        plan = read_plan(folder)
        return SweepRows(folder, plan.spec, collect_runs(plan), len(plan.runs), _failures(plan))
    if not (folder / "sweep.yaml").is_file():
        hint = "give the folder of symbio sweep run --out, or one with sweep.yaml and results/"
        raise NotFoundError(f"there is no sweep in {folder}", hint=hint)
    spec, _ = load_spec(folder / "sweep.yaml")
    return SweepRows(folder, spec, committed_rows(folder), len(spec.grid.points()))


def commit_rows(plan: SweepPlan, folder: Path, by: str) -> list[Path]:
    """Write the rows of finished runs as one small file for each value of a parameter.

    Args:
        plan: of a sweep.
        folder: of the experiment; files go to its ``results``.
        by: column, such as ``scenario``: a file is rewritten only when one of its runs is new.

    Returns:
        The files.

    Raises:
        NotFoundError: nothing is finished.
        DataError: the rows have no such column.
        StorageError: the folder cannot be written.
    """
    frame = collect_runs(plan)
    if by not in frame.columns:
        raise DataError(
            f"the rows have no column {by!r}", hint=f"columns: {', '.join(map(str, frame.columns[:8]))} ..."
        )
    written = []
    for value, part in frame.groupby(by, sort=True):
        path = Path(folder) / "results" / f"{str(value).replace('/', '-')}.parquet"
        part = part.reset_index(drop=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, partial(_write, part))
        written.append(path)
    write_json(Path(folder) / "results" / MADE_WITH, made_with(plan.folder))
    return written


def made_with(folder: Path) -> dict[str, list[Any]]:
    """Return the distinct versions and kernel modes of a sweep's finished runs, or what was committed of them."""
    if (folder / "results" / MADE_WITH).is_file():
        found: dict[str, list[Any]] = read_json(folder / "results" / MADE_WITH)
        return found
    records = [read_json(path) for path in sorted(folder.glob("runs/*/record.json"))]
    versions = {json.dumps(record["versions"], sort_keys=True) for record in records}
    modes = {str(record.get("kernel_mode", "spawn")) for record in records}
    return {"versions": [json.loads(text) for text in sorted(versions)], "kernel_modes": sorted(modes)}


def has_committed_rows(experiment: Path) -> bool:
    """Return whether a folder holds committed results."""
    return any((experiment / "results").glob("*.parquet"))


def committed_rows(experiment: Path) -> Any:
    """Return the committed rows of an experiment as one pandas frame, ``run_key`` first.

    Raises:
        NotFoundError: it has none yet.
        DataError: a file is damaged.
    """
    import pandas as pd

    if not has_committed_rows(experiment):
        raise NotFoundError(
            f"{experiment} holds no results yet", hint=f"symbio sweep run {experiment / 'sweep.yaml'} --out DIR"
        )
    frames = []
    for path in sorted((experiment / "results").glob("*.parquet")):
        try:
            frames.append(pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}", hint="take it from version control again") from error
    return pd.concat([frame.dropna(axis="columns", how="all") for frame in frames], ignore_index=True)


def rows_of(frame: Any, parameters: Mapping[str, Any], varied: Sequence[str]) -> Any:
    """Return the rows of one run.

    Args:
        frame: of ``SweepRows``.
        parameters: of the run.
        varied: the parameters that the grid varies; lists are not columns and are skipped.
    """
    chosen = frame
    for name in varied:
        value = parameters.get(name)
        if name not in frame.columns or isinstance(value, list | dict):
            continue
        chosen = chosen[chosen[name].isna()] if value is None else chosen[chosen[name] == value]
    return chosen


def _write(frame: Any, path: Path) -> None:
    frame.to_parquet(path, index=False, compression="zstd")


def _failures(plan: SweepPlan) -> tuple[tuple[str, str], ...]:
    from symbio_lab.sweeps.status import sweep_status

    return tuple((key, f"{kind}: {reason}") for key, kind, reason in sweep_status(plan.folder).failed)
