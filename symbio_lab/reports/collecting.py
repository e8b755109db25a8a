"""Reading a results folder: one frozen ``Results``, or a clear error when it is missing, unfinished or damaged.

Rules:
    1. ``results.parquet`` says which rows are the result; a folder may also hold cells of other plans.
    2. Each row has exactly one cell under ``cells/`` with the same row; else the folder is damaged.
    3. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json
from symbio_lab.comparison.plan import REFERENCE_ARMS
from symbio_lab.errors import DataError, NotFoundError

CELL_KEYS = ("attempts", "events", "examples", "pattern", "phases", "row")
SUMMARY_KEYS = ("strategies", "best_deployed", "exploratory", "exploratory_reason", "break_even_incidents")
WORLD_KEYS = ("name", "domain", "label_shift", "slice_labels", "num_base_labels", "base_digest", "pool", "pool_digest")
RESUME = "run the same 'symbio compare' again with this folder as --out: finished cells are kept"


@dataclass(frozen=True, slots=True)
class CellResult:
    """One arm on one incident."""

    row: Mapping[str, Any]
    pattern: str
    """The failure in words, as the healer saw it."""
    attempts: tuple[Mapping[str, Any], ...]
    phases: tuple[tuple[str, Mapping[str, float]], ...]
    """Cost by phase, in running order."""
    examples: tuple[Mapping[str, str], ...]
    """Held-out inputs with answers before and after the proposed patch."""

    @property
    def strategy(self) -> str:
        """Name of the arm."""
        return str(self.row["strategy"])

    @property
    def seed(self) -> int:
        """Seed of the incident."""
        return int(self.row["seed"])


@dataclass(frozen=True, slots=True)
class Results:
    """A finished comparison, as read from its folder."""

    folder: Path
    plan: Mapping[str, Any]
    world: Mapping[str, Any]
    summary: Mapping[str, Any]
    cells: tuple[CellResult, ...]
    """In the order of ``results.parquet``."""

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """All result rows."""
        return tuple(cell.row for cell in self.cells)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the incidents, in order."""
        return tuple(dict.fromkeys(cell.seed for cell in self.cells))

    @property
    def strategies(self) -> tuple[str, ...]:
        """Arms that compete, in order."""
        return tuple(name for name in self.arms if name not in REFERENCE_ARMS)

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms in order, reference arms last."""
        names = dict.fromkeys(cell.strategy for cell in self.cells)
        return tuple(sorted(names, key=lambda name: name in REFERENCE_ARMS))

    def of(self, strategy: str) -> tuple[CellResult, ...]:
        """Return the cells of one arm, one an incident."""
        return tuple(cell for cell in self.cells if cell.strategy == strategy)

    def at(self, seed: int) -> tuple[CellResult, ...]:
        """Return the cells of one incident, in the order of the arms."""
        return tuple(c for name in self.arms for c in self.cells if (c.strategy, c.seed) == (name, seed))

    def ordered_rows(self) -> tuple[Mapping[str, Any], ...]:
        """Return the rows arm by arm, reference arms last."""
        return tuple(cell.row for name in self.arms for cell in self.of(name))


def collect_results(folder: Path | str) -> Results:
    """Read a finished comparison.

    Args:
        folder: what ``symbio compare --out`` wrote.

    Raises:
        NotFoundError: there is no such folder, no comparison in it, or it is not finished.
        DataError: a file is damaged, or lacks what this version writes.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"there is no results folder {folder}", hint="name the folder given to --out")
    if not (folder / "plan.json").is_file():
        raise NotFoundError(
            f"{folder} holds no comparison: plan.json is missing", hint="name the folder given to --out"
        )
    plan = _object(folder / "plan.json", ("scenario", "pool", "strategies", "seeds", "reference_arms", "gate"))
    missing = [n for n in ("world.json", "results.parquet", "summary.json") if not (folder / n).is_file()]
    if missing:
        total = len(plan["seeds"]) * len({*plan["strategies"], *plan["reference_arms"]})
        done = len(list(folder.glob("cells/*/cell.json")))
        raise NotFoundError(
            f"the comparison in {folder} is not finished: {done} of {total} cells, {', '.join(missing)} missing",
            hint=RESUME,
        )
    world = _object(folder / "world.json", WORLD_KEYS)
    summary = _object(folder / "summary.json", SUMMARY_KEYS)
    rows = _rows(folder / "results.parquet")
    return Results(folder, plan, world, summary, _cells(folder, rows))


def _object(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    value = read_json(path)
    lacking = [key for key in keys if not isinstance(value, dict) or key not in value]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}", hint=f"it is damaged or of another version; {RESUME}")
    return dict(value)


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}", hint=RESUME) from error
    if not rows or not {"strategy", "seed", "family"} <= set(rows[0]):
        raise DataError(f"{path} holds no result rows", hint=RESUME)
    return rows


def _cells(folder: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[CellResult, ...]:
    stored: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("cells/*/cell.json")):
        cell = _object(path, CELL_KEYS)
        stored.setdefault((cell["row"]["strategy"], cell["row"]["seed"]), []).append(cell)
    found = []
    for row in rows:
        same = [c for c in stored.get((row["strategy"], row["seed"]), []) if c["row"] == row]
        if not same:
            raise DataError(
                f"no cell in {folder} belongs to the row {row['strategy']}, seed {row['seed']}", hint=RESUME
            )
        cell = same[0]
        phases = tuple((str(name), cost) for name, cost in cell["phases"])
        found.append(CellResult(row, str(cell["pattern"]), tuple(cell["attempts"]), phases, tuple(cell["examples"])))
    return tuple(found)
