"""Tables of a sweep: every arm in every pool, what it gained, broke and cost, with intervals and n."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import NONE, count, percent, percent_range, pp, pp_range
from symbio_lab.display.prose import fold, stack
from symbio_lab.display.table import Cell, Column, TableRow, name, table
from symbio_lab.reports.sweep.contrasts import mean_over_incidents
from symbio_lab.reports.sweep.healing_time import curves, median_time
from symbio_lab.reports.sweep.results import SweepResults, select
from symbio_lab.stats.intervals import to_interval

GAIN, FIXED, BROKEN = "deployed_net_gain_pp", "deployed_fix_rate", "deployed_negative_flip_rate"


def arms_tables(results: SweepResults) -> Bundle:
    """Return one folded table for each pool."""
    parts = [fold(f"Every arm, pool {pool}", [arms_table(results, pool)]) for pool in results.pools]
    return stack(*parts)


def arms_table(results: SweepResults, pool: str) -> Bundle:
    """Return one row for each arm and number of failures in one pool, all worlds."""
    columns = [
        Column("arm"),
        Column("failures", number=True),
        Column("net gain, deployed", number=True),
        Column("failures fixed", number=True),
        Column("right answers broken", number=True),
        Column("deployed", number=True),
        Column("harmful", number=True),
    ]
    rows: list[TableRow] = []
    for arm in results.arms:
        for size in results.sizes:
            where = {"pool": pool, "n_repair": size}
            chosen = select(results.frame, {**where, "strategy": arm})
            if not len(chosen):
                continue
            deployed, harmful = int(chosen["deployed"].sum()), int(chosen["harmful"].sum())
            rows.append(
                [
                    name(arm),
                    str(size),
                    _mean(results, GAIN, arm, where, is_rate=False),
                    _mean(results, FIXED, arm, where, is_rate=True),
                    _mean(results, BROKEN, arm, where, is_rate=True),
                    _share(deployed, len(chosen)),
                    _share(harmful, deployed),
                ]
            )
    caption = (
        "Means over incidents; in brackets 95 % intervals from resampling incidents, none where there are fewer than "
        "eight. Deployed: runs where the gate let a patch through. Harmful: of those, runs whose net gain on held-out "
        "samples is below zero. Shares with exact 95 % intervals (Clopper-Pearson), as if runs were independent."
    )
    return table(columns, rows, caption)


def costs_table(results: SweepResults, where: Mapping[str, Any]) -> Bundle:
    """Return what arms cost in the three accounts, and how long half of the incidents took."""
    columns = [
        Column("arm"),
        Column("failures", number=True),
        Column("healer's work", number=True),
        Column("pool's training", number=True),
        Column("both, pool shared by 1 / 10 / 100", number=True),
        Column("half healed after", number=True),
        Column("wall time", number=True),
    ]
    halves = {key: median_time(curve) for key, curve in curves(results, where).items()}
    rows: list[TableRow] = []
    for arm in results.arms:
        for size in results.sizes:
            chosen = select(results.frame, {**where, "n_repair": size, "strategy": arm})
            if not len(chosen):
                continue
            shared = " / ".join(_short(chosen[f"amortised_forwards_equivalent_j{j}"].mean()) for j in (1, 10, 100))
            half = halves.get((size, arm))
            rows.append(
                [
                    name(arm),
                    str(size),
                    Cell(
                        _short(chosen["cost_forwards_equivalent"].mean()), _spread(chosen["cost_forwards_equivalent"])
                    ),
                    _short(chosen["pool_forwards_equivalent"].mean()),
                    shared,
                    NONE if half is None else _short(half),
                    f"{chosen['cost_wall_s'].median():,.0f} s",
                ]
            )
    caption = (
        "Forwards-equivalent: one is one sample through the unpatched base once (k: thousand). The healer's work: mean "
        "over incidents, in brackets the range. The pool's training: what all contributors spent on all patches. Half "
        "healed: half of the incidents had deployed a patch by then; a dash means fewer than half ever did. Wall time: "
        "median, on whatever machine ran it, beside other work."
    )
    return table(columns, rows, caption)


def worlds_table(results: SweepResults) -> Bundle:
    """Return what the incidents are: how often the base is right, and how relevant each pool turned out."""
    columns = [Column("incident"), Column("labels"), Column("base right, slice", number=True)]
    columns += [Column("base right, elsewhere", number=True)]
    columns += [Column(f"realised relevance, pool {pool}", number=True) for pool in results.pools]
    rows: list[TableRow] = []
    base = select(results.frame, {"strategy": "noop"}) if "noop" in results.arms else results.frame.iloc[0:0]
    for incident in results.incidents():
        scenario = incident.split(" (world ")[0]
        own = base[base["scenario"] == scenario]
        all_rows = results.frame[results.frame["scenario"] == scenario]
        row: TableRow = [name(incident), str(all_rows["label_shift"].iloc[0])]
        for column in ("deployed_slice_accuracy", "deployed_control_accuracy"):
            values = own[[column, f"{column}_n"]].dropna()
            row.append(
                Cell(percent(float(values[column].iloc[0])), f"n = {count(values[f'{column}_n'].iloc[0])}")
                if len(values)
                else NONE
            )
        for pool in results.pools:
            found = all_rows[all_rows["pool"] == pool]["realised_relevance_pp"].dropna()
            row.append(pp(float(found.iloc[0])) if len(found) else NONE)
        rows.append(row)
    caption = (
        "Realised relevance: net gain of the pool's best contributor on samples that no arm reads. It is the best of "
        "twelve on a small probe, and so optimistic."
    )
    return table(columns, rows, caption)


def _mean(results: SweepResults, column: str, arm: str, where: Mapping[str, Any], *, is_rate: bool) -> Cell:
    blocks = results.blocks(column, arm, where)
    if not blocks:
        return Cell(NONE)
    mean = mean_over_incidents(blocks, f"{column} {arm} {sorted(where.items())}")
    show, bounds = (percent, percent_range) if is_rate else (pp, pp_range)
    return Cell(show(mean.value), f"{bounds(mean.low, mean.high)}\nn = {mean.n}".strip())


def _share(k: int, n: int) -> Cell:
    if n == 0:
        return Cell(NONE, "0 of 0")
    found = to_interval(k, n)
    return Cell(percent(found.value), f"{percent_range(found.low, found.high)}\n{k} of {n}")


def _short(value: float) -> str:
    value = float(value)
    return NONE if np.isnan(value) else f"{value / 1000:,.1f}k" if value >= 1000 else f"{value:,.0f}"


def _spread(values: Any) -> str:
    return f"[{_short(values.min())}, {_short(values.max())}]"
