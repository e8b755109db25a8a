"""Two sweeps side by side: which cells they share, which figures differ, and by how much.

Rules:
    1. Cells are joined by what was asked (world, pool, failures, seed, arm), not by when or where they ran.
    2. Times are not compared.
    3. A mean difference over fewer than ``MIN_BLOCKS`` incidents has no interval.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import plural, pp, pp_range
from symbio_lab.display.prose import code, esc, prose, strong
from symbio_lab.display.table import Cell, Column, TableRow, name, table
from symbio_lab.errors import DataError
from symbio_lab.records import Interval
from symbio_lab.reports.exporting import write_page
from symbio_lab.reports.sweep.contrasts import mean_over_incidents
from symbio_lab.reports.sweep.results import INCIDENT, SweepResults, collect_sweep
from symbio_lab.sweeps.results import TIMING_SUFFIXES

CELL = (*INCIDENT, "pool", "n_repair", "contributor_size", "base_per_label", "gate", "seed", "strategy")
"""Columns that say which cell a row is, where both sweeps have them."""
MOST_SHOWN = 40
"""Cells listed one by one."""


@dataclass(frozen=True, slots=True)
class SweepDifference:
    """What two sweeps say of the same cells."""

    first: SweepResults
    second: SweepResults
    joined: Any
    """Pandas frame of the common cells: columns of the second sweep end in ``_2``."""
    num_only_first: int
    num_only_second: int
    differing: dict[str, int]
    """Column -> common cells where it differs; columns that never do are left out."""


def sweep_difference(first: SweepResults, second: SweepResults) -> SweepDifference:
    """Join two sweeps cell by cell.

    Raises:
        DataError: cells of one sweep are not unique, or there is no common one.
    """
    by = [c for c in CELL if c in first.frame.columns and c in second.frame.columns]
    a, b = (_with_key(results.frame, by) for results in (first, second))
    # A copy in one piece: pandas warns of frames put together column by column.
    joined = a.merge(b, on="cell", suffixes=("", "_2")).copy()
    if not len(joined):
        raise DataError("the two sweeps have no cell in common", hint="compare sweeps over the same worlds and sizes")
    figures = [c for c in first.frame.columns if c in second.frame.columns and c not in (*by, "run_key")]
    differing = {}
    for column in figures:
        if str(column).endswith(TIMING_SUFFIXES):
            continue
        x, y = joined[column], joined[f"{column}_2"]
        count = int((~((x == y) | (x.isna() & y.isna()))).sum())
        if count:
            differing[str(column)] = count
    return SweepDifference(first, second, joined, len(a) - len(joined), len(b) - len(joined), differing)


def arm_differences(found: SweepDifference) -> dict[str, Interval]:
    """Return arm -> second minus first on the primary metric of the first, a mean over incidents."""
    metric = found.first.metric
    result = {}
    for arm in found.first.arms:
        rows = found.joined[found.joined["strategy"] == arm]
        blocks = {}
        for key, part in rows.groupby(list(INCIDENT), sort=True):
            values = (part[f"{metric}_2"] - part[metric]).dropna().to_numpy(dtype=np.float64)
            if values.size:
                blocks[str(key)] = values
        if blocks:
            result[arm] = mean_over_incidents(blocks, f"compare {arm}")
    return result


def write_difference(first: Path, second: Path, out: Path) -> Path:
    """Write the page that compares two sweeps.

    Raises:
        NotFoundError: a folder holds no sweep, or no results.
        DataError: their rows are not those of comparisons, or they have no cell in common.
        StorageError: the page cannot be written.
    """
    found = sweep_difference(collect_sweep(first), collect_sweep(second))
    names = Path(first).absolute().name, Path(second).absolute().name
    parts = [_summary(found, names), _arms(found), _columns(found), _cells(found)]
    title = f"{found.first.rows.spec.name}: {names[0]} against {names[1]}"
    body = f"<h1>{html.escape(title)}</h1>" + "".join(part.html for part in parts)
    return write_page(Path(out).absolute(), title, body)


def _with_key(frame: Any, by: Sequence[str]) -> Any:
    keys = ["|".join(str(_plain(v)) for v in values) for values in frame[list(by)].itertuples(index=False)]
    keyed = frame.assign(cell=keys)
    if keyed["cell"].duplicated().any():
        again = keyed.loc[keyed["cell"].duplicated(), "cell"].iloc[0]
        raise DataError(f"a sweep has two rows of the cell {again}")
    return keyed


def _plain(value: Any) -> Any:
    # A column with gaps is one of floats: 20 and 20.0 are the same setting.
    return int(value) if isinstance(value, float) and value == int(value if value == value else 0) else value


def _summary(found: SweepDifference, names: tuple[str, str]) -> Bundle:
    common = len(found.joined)
    said = (
        f"{strong(plural(common, 'common cell'))}; {found.num_only_first:,} only in {code(names[0])}, "
        f"{found.num_only_second:,} only in {code(names[1])}. "
    )
    if not found.differing:
        return prose(said + "Every figure but times is equal, to the last digit.", tone="headline")
    most = max(found.differing.values())
    return prose(
        said + f"{plural(len(found.differing), 'column')} differ, in up to {plural(most, 'cell')}.", tone="headline"
    )


def _arms(found: SweepDifference) -> Bundle:
    rows: list[TableRow] = [
        [name(arm), Cell(pp(mean.value), f"{pp_range(mean.low, mean.high)}\nn = {mean.n}".strip())]
        for arm, mean in arm_differences(found).items()
    ]
    caption = (
        f"{found.first.metric}, second minus first, mean over incidents; in brackets 95 % intervals from resampling "
        "incidents, none where there are fewer than eight."
    )
    return table([Column("arm"), Column("difference", number=True)], rows, caption)


def _columns(found: SweepDifference) -> Bundle:
    if not found.differing:
        return prose()
    rows: list[TableRow] = [
        [name(column), f"{count:,}"] for column, count in sorted(found.differing.items(), key=lambda item: -item[1])
    ]
    return table([Column("column"), Column("cells that differ", number=True)], rows, "Which figures differ.")


def _cells(found: SweepDifference) -> Bundle:
    metric = found.first.metric
    gaps = (found.joined[f"{metric}_2"] - found.joined[metric]).abs()
    # Filtered after: pandas gives a frame without rows all rows of a column that is assigned to it.
    changed = found.joined.assign(gap=gaps).query("gap > 0").sort_values("gap", ascending=False, kind="stable")
    if not len(changed):
        return prose()
    rows: list[TableRow] = [
        [
            name(f"{row['scenario']}, {row['pool']}, {row['n_repair']}, seed {row['seed']}"),
            name(row["strategy"]),
            pp(float(row[metric])),
            pp(float(row[f"{metric}_2"])),
        ]
        for row in changed.head(MOST_SHOWN).to_dict("records")
    ]
    columns = [Column("cell"), Column("arm"), Column("first", number=True), Column("second", number=True)]
    more = f" {len(changed) - MOST_SHOWN:,} more are not listed." if len(changed) > MOST_SHOWN else ""
    return table(columns, rows, f"Cells whose {esc(metric)} differs, the largest differences first.{more}")
