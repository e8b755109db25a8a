"""A sweep's rows as experiment trackers know them: parameters, figures and tags of one run each.

Rules:
    1. One tracked run is one row: one arm of one incident. Its id is a content id: sent twice, it is one run.
    2. What was asked for is a parameter, every other number a figure, every other text a tag. Missing values are left
       out, never sent as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbio_lab.records import content_id
from symbio_lab.sweeps.results import SweepRows

IDENTITY = ("strategy", "seed")
"""Columns that are parameters too: a run has one row for each of their values."""
MOST_TAG = 250
"""Characters of a tag, at most; trackers cut longer ones."""
NAMED_BY = ("scenario", "pool", "n_repair")


@dataclass(frozen=True, slots=True)
class TrackedRow:
    """One row, ready to be sent."""

    row_id: str
    """20 hex characters."""
    name: str
    """World, pool, failures and arm, for a list of runs."""
    arm: str
    parameters: dict[str, str | int | float | bool]
    figures: dict[str, float]
    tags: dict[str, str]


def tracked_rows(rows: SweepRows) -> Iterator[TrackedRow]:
    """Yield the rows of a sweep in their order.

    Args:
        rows: from ``read_rows``.
    """
    asked = {*rows.spec.parameters, *(name for _, name in rows.spec.grid.names), *IDENTITY}
    for number, row in enumerate(rows.frame.to_dict("records")):
        parameters: dict[str, str | int | float | bool] = {}
        figures: dict[str, float] = {}
        tags: dict[str, str] = {}
        for column, value in row.items():
            name = str(column)
            plain = value.item() if isinstance(value, np.generic) else value
            if plain is None or (isinstance(plain, float) and not math.isfinite(plain)):
                continue
            if name in asked:
                # A column with gaps is one of floats: 20.0 was asked for as 20.
                parameters[name] = int(plain) if isinstance(plain, float) and plain.is_integer() else plain
            elif isinstance(plain, bool | int | float):
                figures[name] = float(plain)
            else:
                tags[name] = str(plain)[:MOST_TAG]
        tags["sweep"] = rows.spec.name
        own = [parameters.get(name) for name in IDENTITY if name in parameters] or [number]
        row_id = content_id([rows.spec.name, tags.get("run_key"), own])[:20]
        shown = [str(parameters[name]) for name in NAMED_BY if name in parameters]
        arm = str(parameters.get("strategy", ""))
        yield TrackedRow(row_id, " ".join([*shown, arm]).strip() or row_id, arm, parameters, figures, tags)


def tracked_as(value: Any) -> str:
    """Return a parameter as text: ``true``, not ``True``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
