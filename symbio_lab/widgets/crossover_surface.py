"""Who wins where: the difference of two arms over the number of failures and the relevance of the market."""

from __future__ import annotations

from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import CONFIG, SCHEMA, chart_bundle
from symbio_lab.display.numbers import pp, pp_range
from symbio_lab.errors import DataError
from symbio_lab.reports.sweep.contrasts import mean_over_incidents
from symbio_lab.reports.sweep.results import SweepResults

LOW, HIGH = "#f4a582", "#92c5de"
"""Light enough for dark words on them (ColorBrewer RdBu)."""


def surface_points(results: SweepResults, first: str, second: str) -> list[dict[str, Any]]:
    """Return one point for each number of failures and pool: the mean over incidents of first minus second.

    Args:
        results: of a sweep.
        first: arm; one that reads no market is there once for all pools.
        second: arm.
    """
    points = []
    for pool in results.pools:
        for size in results.sizes:
            where = {"pool": pool, "n_repair": size}
            found = results.differences(results.metric, first, second, where)
            if not found:
                continue
            figure = mean_over_incidents(found, f"surface {first} {second} {pool} {size}")
            points.append(
                {
                    "pool": pool,
                    "failures": size,
                    "difference": figure.value,
                    "low": figure.low,
                    "high": figure.high,
                    "incidents": len(found),
                    "mean": pp(figure.value),
                    "said": f"{pp_range(figure.low, figure.high)} n={len(found)}".strip(),
                }
            )
    return points


def surface_chart(results: SweepResults, first: str, second: str) -> Bundle:
    """Return the surface as coloured cells with their figures in them.

    Raises:
        DataError: the two arms share no incident.
    """
    points = surface_points(results, first, second)
    if not points:
        raise DataError(f"{first} and {second} share no incident", hint="choose two other arms")
    most = max(abs(float(p["difference"])) for p in points) or 1.0
    x = {"field": "failures", "type": "ordinal", "title": "labelled failures given", "axis": {"labelAngle": 0}}
    y = {"field": "pool", "type": "nominal", "title": "relevance of the market", "sort": list(results.pools)}
    colour = {
        "field": "difference",
        "type": "quantitative",
        "title": f"{first} minus {second} (pp)",
        "scale": {"domain": [-most, 0, most], "range": [LOW, "#f7f7f7", HIGH]},
    }
    spec = {
        "$schema": SCHEMA,
        "config": CONFIG,
        "width": 150 * len(results.sizes),
        "height": 54 * len(results.pools),
        "data": {"values": points},
        "layer": [
            {"mark": "rect", "encoding": {"x": x, "y": y, "color": colour}},
            _words(x, y, "mean", -7, 12, "bold"),
            _words(x, y, "said", 9, 10, "normal"),
        ],
    }
    said = "; ".join(f"{p['pool']} pool, {p['failures']} failures: {p['mean']} {p['said']}" for p in points)
    return chart_bundle(spec, f"{first} minus {second}, mean over incidents with 95 % interval. {said}.")


def _words(x: Any, y: Any, name: str, dy: int, size: int, weight: str) -> dict[str, Any]:
    mark = {"type": "text", "fontSize": size, "dy": dy, "fontWeight": weight, "color": "#1a1a1a"}
    return {"mark": mark, "encoding": {"x": x, "y": y, "text": {"field": name}}}
