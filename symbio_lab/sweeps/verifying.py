"""Run some of a sweep's cells again, from nothing, and compare their rows: is what was reported what comes out?

Rules:
    1. Runs are drawn at random from an explicit seed, among those that have results.
    2. They run in a folder of their own: neither the sweep's shared results nor its finished runs are looked at.
    3. Every column must be equal, but for those that measure time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import write_json
from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.events import Listener
from symbio_lab.seeding import numpy_generator
from symbio_lab.sweeps.collecting import collect_runs
from symbio_lab.sweeps.keys import notebook_digest, run_key
from symbio_lab.sweeps.plan import SCHEMA, SweepPlan, copy_notebook
from symbio_lab.sweeps.results import TIMING_SUFFIXES, SweepRows, rows_of
from symbio_lab.sweeps.runner import run_sweep
from symbio_lab.sweeps.spec import find_notebook

IDENTITY = ("strategy", "seed")
"""Columns that tell the rows of one run apart, where there are such columns."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that came out otherwise."""

    parameters: Mapping[str, Any]
    row: str
    column: str
    reported: Any
    again: Any


@dataclass(frozen=True, slots=True)
class Verification:
    """What running some cells again has shown."""

    num_drawn: int
    num_finished: int
    """Runs of the sweep that have results."""
    num_rows: int
    """Rows compared."""
    num_figures: int
    """Values compared."""
    differences: tuple[Difference, ...]
    failed: tuple[str, ...]
    """Reasons of runs that did not finish this time."""

    @property
    def equal(self) -> bool:
        """Whether everything that was drawn came out again."""
        return not self.differences and not self.failed


def verify_sweep(
    rows: SweepRows, out: Path, *, share: float = 0.05, seed: int = 0, listener: Listener | None = None
) -> Verification:
    """Run a random share of a sweep's runs again and compare.

    Args:
        rows: of the sweep, from ``read_rows``.
        out: a new folder, for the repeated runs; started again, it goes on.
        share: of the finished runs, in (0, 1]; at least one is drawn.
        seed: draws them.
        listener: told about every run.

    Raises:
        ConfigError: a share that is none, or ``out`` holds something else.
        NotFoundError: no run has results.
    """
    if not 0 < share <= 1:
        raise ConfigError([f"share must be above 0 and at most 1, not {share}"])
    points = [{**rows.spec.parameters, **point} for point in rows.spec.grid.points()]
    varied = [name for _, name in rows.spec.grid.names]
    finished = [point for point in points if len(rows_of(rows.frame, point, varied))]
    if not finished:
        raise NotFoundError(f"no run of {rows.folder} has results")
    order = numpy_generator(seed, "verify").permutation(len(finished))
    drawn = [finished[i] for i in sorted(order[: math.ceil(share * len(finished))])]
    plan = _plan(rows, drawn, Path(out))
    done = run_sweep(plan, listener=listener)
    failed = tuple(f"{r.key}: {r.failure}: {r.reason}" for r in done.failed)
    again = collect_runs(plan) if done.finished else None
    num_rows = num_figures = 0
    differences: list[Difference] = []
    keys = {r.key for r in done.finished}
    for key, parameters in plan.runs.items():
        if key not in keys or again is None:
            continue
        old, new = rows_of(rows.frame, parameters, varied), again[again["run_key"] == key]
        point = {name: parameters[name] for name in varied if name in parameters}
        compared, found = compare_rows(old, new, point)
        num_rows += len(new)
        num_figures += compared
        differences += found
    return Verification(len(drawn), len(finished), num_rows, num_figures, tuple(differences), failed)


def compare_rows(old: Any, new: Any, parameters: Mapping[str, Any]) -> tuple[int, list[Difference]]:
    """Return how many values of two frames were compared, and which differ.

    Args:
        old: rows as reported.
        new: rows of the same cells, run again.
        parameters: of the run, for whoever reads the differences.
    """
    by = [name for name in IDENTITY if name in old.columns and name in new.columns]
    first, second = _by_identity(old, by), _by_identity(new, by)
    differences = [
        Difference(parameters, " ".join(map(str, name)), "row", name in first, name in second)
        for name in sorted({*first} ^ {*second}, key=str)
    ]
    columns = [c for c in dict.fromkeys([*old.columns, *new.columns]) if not _is_time(str(c)) and c != "run_key"]
    compared = 0
    for name in first.keys() & second.keys():
        for column in columns:
            compared += 1
            a, b = first[name].get(column), second[name].get(column)
            if not _same(a, b):
                differences.append(Difference(parameters, " ".join(map(str, name)), str(column), a, b))
    return compared, differences


def _plan(rows: SweepRows, drawn: list[Mapping[str, Any]], out: Path) -> SweepPlan:
    """Lay out a sweep of the drawn runs alone."""
    source = rows.folder / "notebook.ipynb"
    notebook = source if source.is_file() else find_notebook(rows.spec.notebook, rows.folder)
    digest = notebook_digest(notebook)
    runs = {run_key(point, digest): point for point in drawn}
    out = out.absolute()
    if (out / "sweep.json").is_file():
        found = {run["key"] for run in json.loads((out / "sweep.json").read_text(encoding="utf-8"))["runs"]}
        if found != set(runs):
            raise ConfigError([f"{out} holds other runs; use another folder"])
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigError([f"{out} is not empty and holds no sweep; use another folder"])
    copy_notebook(notebook, out)
    listed = [{"key": key, "parameters": dict(parameters)} for key, parameters in runs.items()]
    spec = rows.spec.model_dump(mode="json", by_alias=True)
    write_json(out / "sweep.json", {"schema": SCHEMA, "spec": spec, "notebook_digest": digest, "runs": listed})
    return SweepPlan(out, rows.spec, runs)


def _by_identity(frame: Any, by: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, row in enumerate(frame.to_dict("records")):
        found[tuple(row[name] for name in by) or (number,)] = row
    return found


def _is_time(column: str) -> bool:
    return column.endswith(TIMING_SUFFIXES)


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last digit; what is missing equals what is missing."""
    if _missing(a) or _missing(b):
        return _missing(a) and _missing(b)
    return bool(a == b)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
