"""The forest plot: one contrast, incident by incident, and the mean over all of them.

An incident's interval combines the two arms' own intervals as if each had been judged on samples of its own (MOVER);
both were judged on the same ones, so that it is too wide, if anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import chart_bundle
from symbio_lab.display.numbers import pp, pp_range
from symbio_lab.display.palette import BLUE, GREY, INK, VERMILION
from symbio_lab.display.prose import prose
from symbio_lab.records import Interval
from symbio_lab.reports.sweep.contrasts import mean_over_incidents
from symbio_lab.reports.sweep.results import SweepResults, in_panels, panel, select
from symbio_lab.stats.paired import weighted_sum

POOLED = "mean over incidents"


def forest_rows(
    results: SweepResults, first: str, second: str, where: Mapping[str, Any], sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Return one row for each incident and number of failures, and one for their mean."""
    rows = []
    for size in sizes:
        at = {**where, "n_repair": size}
        blocks = results.differences(results.metric, first, second, at)
        for name, values in blocks.items():
            low, high = _bounds(results, name, first, second, at) if values.size == 1 else (None, None)
            rows.append(_row(size, name, float(values.mean()), low, high))
        if blocks:
            mean = mean_over_incidents(blocks, f"forest {first} {second} {at}")
            rows.append(_row(size, POOLED, mean.value or 0.0, mean.low, mean.high))
    return rows


def forest_figure(results: SweepResults, first: str, second: str, where: Mapping[str, Any]) -> Bundle:
    """Return the forest plot of one contrast, one panel for each number of failures."""
    rows = forest_rows(results, first, second, where, results.sizes)
    if not rows:
        return prose(f"No incident has results of both {first} and {second}.", tone="note")
    means: dict[str, list[float]] = {}
    for row in rows:
        means.setdefault(row["incident"], []).append(row["value"])
    order = sorted((n for n in means if n != POOLED), key=lambda n: -sum(means[n]) / len(means[n]))
    x = {"field": "value", "type": "quantitative", "title": f"{first} - {second} (pp)"}
    y = {"field": "incident", "type": "nominal", "sort": [*order, POOLED], "title": None, "axis": {"labelLimit": 240}}
    better = f"datum.incident == '{POOLED}' ? 'mean' : datum.value > 0 ? 'first' : datum.value < 0 ? 'second' : 'even'"
    kinds = {"domain": ["first", "second", "even", "mean"], "range": [BLUE, VERMILION, GREY, INK]}
    shapes = {"domain": ["first", "second", "even", "mean"], "range": ["circle", "square", "stroke", "diamond"]}
    layers = [
        {"mark": {"type": "rule", "color": GREY}, "encoding": {"x": {"datum": 0}}},
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "strokeWidth": 1.3},
            "encoding": {
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "y": y,
                "color": {"field": "kind", "type": "nominal", "scale": kinds, "legend": None},
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {
                "x": x,
                "y": y,
                "color": {"field": "kind", "type": "nominal", "scale": kinds, "legend": None},
                "shape": {"field": "kind", "type": "nominal", "scale": shapes, "legend": None},
            },
        },
    ]
    view = {"width": 250, "height": {"step": 17}, "layer": layers}
    spec = {"transform": [{"calculate": better, "as": "kind"}], **in_panels(rows, results.sizes, view)}
    return chart_bundle(spec, _words(rows, first, second))


def _bounds(
    results: SweepResults, incident: str, first: str, second: str, where: Mapping[str, Any]
) -> tuple[float | None, float | None]:
    """Return the bounds of one incident's difference; nothing where an arm has none."""
    pair = []
    for arm in (first, second):
        rows = select(results.frame, {**where, "strategy": arm})
        scenario = incident.split(" (world ")[0]
        rows = rows[rows["scenario"] == scenario]
        if f"{results.metric}_low" not in rows.columns or len(rows) != 1:
            return None, None
        row = rows.iloc[0]
        value = float(row[results.metric])
        low, high = float(row[f"{results.metric}_low"]), float(row[f"{results.metric}_high"])
        if low != low or high != high:
            # Nothing was deployed: the base against itself differs by nothing.
            low = high = value
        pair.append(Interval(value, low, high, int(row.get(f"{results.metric}_n", 0) or 0)))
    found = weighted_sum(pair, (1.0, -1.0))
    return found.low, found.high


def _row(size: int, name: str, value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"panel": panel(size), "incident": name, "value": value, "low": low, "high": high}


def _words(rows: Sequence[Mapping[str, Any]], first: str, second: str) -> str:
    parts = [f"{r['panel']}, {r['incident']}: {pp(r['value'])} {pp_range(r['low'], r['high'])}".rstrip() for r in rows]
    return f"Net gain of {first} minus that of {second}, incident by incident. " + "; ".join(parts) + "."
