"""A sweep's rows as the report reads them: incidents are the unit, seeds of an incident are averaged.

Rules:
    1. An incident is a world and its world seed. Whatever is said beyond the incidents at hand has them as its n.
    2. Only rows of finished runs count; what is missing is said, never filled in.
    3. An arm enters a comparison with the incidents that both sides have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError
from symbio_lab.sweeps.results import SweepRows, read_rows

INCIDENT = ("scenario", "world_seed")
NEEDED = (*INCIDENT, "strategy", "seed", "pool", "n_repair", "deployed", "harmful")
PRIMARY = "deployed_net_gain_pp"
POOLS = ("high", "medium", "low", "null")
"""Order of display."""
Where = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SweepResults:
    """A sweep as the report reads it."""

    rows: SweepRows
    arms: tuple[str, ...]
    """In the order in which they ran."""
    metric: str
    """The primary metric."""

    @property
    def frame(self) -> Any:
        """All rows, a pandas frame."""
        return self.rows.frame

    @property
    def pools(self) -> tuple[str, ...]:
        """Pools with results, the most relevant first."""
        found = [str(p) for p in self.frame["pool"].unique()]
        return tuple([p for p in POOLS if p in found] + sorted(set(found) - set(POOLS)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of failures with results, ascending."""
        return tuple(sorted(int(n) for n in self.frame["n_repair"].unique()))

    def incidents(self) -> tuple[str, ...]:
        """Return the names of all incidents."""
        return tuple(sorted({incident_name(*key) for key in self.frame[list(INCIDENT)].itertuples(index=False)}))

    def blocks(self, column: str, arm: str, where: Where) -> dict[str, NDArray[np.float64]]:
        """Return incident -> an arm's values of a column, one for each seed; rows without a value are left out.

        Args:
            column: numeric or boolean.
            arm: strategy.
            where: column -> a value, or a list of values.
        """
        chosen = select(self.frame, {**where, "strategy": arm})
        chosen = chosen[chosen[column].notna()]
        found: dict[str, NDArray[np.float64]] = {}
        for key, part in chosen.sort_values("seed").groupby(list(INCIDENT), sort=True):
            # The seeds in order: differences are taken seed by seed.
            found[incident_name(*key)] = part[column].to_numpy(dtype=np.float64)
        return found

    def means(self, column: str, arm: str, where: Where) -> dict[str, float]:
        """Return incident -> an arm's mean over seeds."""
        return {name: float(values.mean()) for name, values in self.blocks(column, arm, where).items()}

    def differences(self, column: str, first: str, second: str, where: Where) -> dict[str, NDArray[np.float64]]:
        """Return incident -> first arm minus second, seed by seed, for incidents that both have in full."""
        a, b = self.blocks(column, first, where), self.blocks(column, second, where)
        return {name: a[name] - b[name] for name in a if name in b and a[name].shape == b[name].shape}


def panel(size: int) -> str:
    """Return the title of a figure's panel for one number of failures."""
    return f"{size} failures"


def in_panels(values: Sequence[Mapping[str, Any]], sizes: Sequence[int], view: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Vega-Lite figure with one panel for each number of failures, two side by side.

    Args:
        values: data; ``panel`` in each says where it belongs.
        sizes: in the order of the panels.
        view: of one panel: its width, height and layers.
    """
    facet = {"field": "panel", "type": "nominal", "title": None, "sort": [panel(size) for size in sizes]}
    return {"data": {"values": list(values)}, "facet": facet, "columns": 2, "spec": dict(view)}


def collect_sweep(folder: Path | str) -> SweepResults:
    """Read a sweep, or an experiment's committed results, for its report.

    Raises:
        NotFoundError: there is no sweep, or no results yet.
        DataError: its rows are not those of comparisons.
    """
    rows = read_rows(Path(folder))
    metric = rows.spec.primary_metric or PRIMARY
    missing = [name for name in (*NEEDED, metric) if name not in rows.frame.columns]
    if missing:
        hint = "the report is for sweeps of the notebook heal; read results.parquet of others yourself"
        raise DataError(f"the sweep's rows have no column {', '.join(missing)}", hint=hint)
    given = [*rows.spec.parameters.get("strategies", ()), *rows.spec.parameters.get("reference_arms", ())]
    found = [str(name) for name in rows.frame["strategy"].unique()]
    arms = [name for name in dict.fromkeys(given) if name in found]
    return SweepResults(rows, tuple([*arms, *(name for name in found if name not in arms)]), metric)


def select(frame: Any, where: Where) -> Any:
    """Return the rows where every column has the value, or one of the values.

    Raises:
        DataError: there is no such column.
    """
    for column, wanted in where.items():
        if column not in frame.columns:
            raise DataError(f"the sweep's rows have no column {column!r}")
        frame = frame[frame[column].isin(wanted if isinstance(wanted, list | tuple) else [wanted])]
    return frame


def incident_name(scenario: Any, world_seed: Any) -> str:
    """Return the name of an incident: its world, and the world's seed unless it is 0."""
    return str(scenario) if int(world_seed) == 0 else f"{scenario} (world {int(world_seed)})"
