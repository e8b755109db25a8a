"""Registered contrasts by family of worlds: does one data set with many incidents decide for all?

Worlds of one family share a data set and an encoder, so that they are fewer than as many independent incidents.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import NONE, pp
from symbio_lab.display.prose import prose
from symbio_lab.display.table import Cell, Column, TableRow, name, table
from symbio_lab.reports.sweep.contrasts import Contrast, registered_contrasts
from symbio_lab.reports.sweep.headline import stratum_words
from symbio_lab.reports.sweep.results import SweepResults


def family_means(contrast: Contrast) -> dict[str, tuple[float, int]]:
    """Return family -> mean difference over its incidents, and how many they are."""
    groups: dict[str, list[float]] = {}
    for incident, difference in contrast.differences.items():
        groups.setdefault(_family(incident), []).append(difference)
    return {family: (float(np.mean(values)), len(values)) for family, values in sorted(groups.items())}


def without_each_family(contrast: Contrast) -> tuple[float, float] | None:
    """Return the lowest and the highest mean when one family is left out; None where there is only one family."""
    families = {_family(incident) for incident in contrast.differences}
    if len(families) < 2:
        return None
    means = [
        float(np.mean([d for incident, d in contrast.differences.items() if _family(incident) != left]))
        for left in families
    ]
    return min(means), max(means)


def families_table(results: SweepResults) -> Bundle:
    """Return the registered contrasts with one column for each family of worlds."""
    contrasts = registered_contrasts(results)
    found = [family_means(contrast) for contrast in contrasts]
    families = sorted({family for means in found for family in means})
    if len(families) < 2:
        return prose("All incidents are of one family of worlds: what is said here may hold for no other.", tone="note")
    columns = [Column("contrast"), Column("where"), *(Column(family, number=True) for family in families)]
    columns += [Column("mean of families", number=True), Column("mean without one family", number=True)]
    rows: list[TableRow] = []
    for contrast, means in zip(contrasts, found, strict=True):
        left_out = without_each_family(contrast)
        row: TableRow = [name(f"{contrast.first} - {contrast.second}"), stratum_words(contrast)]
        row += [_cell(means, family) for family in families]
        row.append(pp(float(np.mean([mean for mean, _ in means.values()]))))
        row.append(NONE if left_out is None else f"{pp(left_out[0])} to {pp(left_out[1])}")
        rows.append(row)
    caption = (
        f"{results.metric}, first minus second, mean over the incidents of a family (n: how many). Mean of families: "
        "each counts the same, however many incidents it has. Mean without one family: lowest and highest."
    )
    return table(columns, rows, caption)


def _family(incident: str) -> str:
    return incident.split("/")[0].split(" (world ")[0]


def _cell(means: Mapping[str, tuple[float, int]], family: str) -> Cell:
    if family not in means:
        return Cell(NONE)
    mean, n = means[family]
    return Cell(pp(mean), f"n = {n}")
