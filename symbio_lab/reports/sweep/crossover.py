"""The crossover: what each arm gains as failures become more, one panel for each pool.

Few failures leave surgery little to learn from, and a patch of somebody else needs none of them; many failures turn
that round. Where the lines cross is the answer to "adopt or operate?".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import arm_scales, chart_bundle
from symbio_lab.display.numbers import pp, pp_range
from symbio_lab.reports.sweep.contrasts import mean_over_incidents
from symbio_lab.reports.sweep.results import SweepResults

SHOWN = ("best_single", "surgery_only", "marketplace_first", "null_pool", "oracle_best")
"""Arms drawn where they ran: more lines than these cannot be told apart."""


def crossover_points(results: SweepResults, arms: Sequence[str], column: str) -> list[dict[str, Any]]:
    """Return one point for each arm, pool and number of failures: mean over incidents, bounds, n."""
    points = []
    for pool in results.pools:
        for arm in arms:
            for size in results.sizes:
                blocks = results.blocks(column, arm, {"pool": pool, "n_repair": size, **_worlds(results)})
                if not blocks:
                    continue
                mean = mean_over_incidents(blocks, f"{column} {arm} {pool} {size}")
                points.append(
                    {
                        "pool": f"pool {pool}",
                        "arm": arm,
                        "failures": size,
                        "value": mean.value,
                        "low": mean.low,
                        "high": mean.high,
                        "incidents": mean.n,
                    }
                )
    return points


def crossover_figure(results: SweepResults) -> Bundle:
    """Return the primary metric against the number of failures, one panel a pool, with intervals over incidents."""
    arms = [name for name in results.arms if name in SHOWN] or list(results.arms)
    points = _spread(crossover_points(results, arms, results.metric), arms)
    scales = arm_scales(arms)
    legend = {"title": None, "orient": "top", "columns": 3, "symbolStrokeWidth": 2}
    colour = {"field": "arm", "type": "nominal", "scale": scales["color"], "legend": legend}
    x = {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "domain": [min(results.sizes) / 1.3, max(results.sizes) * 1.3]},
        "axis": {"values": list(results.sizes), "title": "labelled failures given", "grid": False},
    }
    y = {"field": "value", "type": "quantitative", "title": "net gain, deployed (pp)"}
    marks = [
        {"mark": {"type": "rule", "color": "#767676"}, "encoding": {"y": {"datum": 0}}},
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "strokeWidth": 1.4, "opacity": 0.75},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.8},
            "encoding": {
                "x": x,
                "y": y,
                "color": colour,
                "strokeDash": {"field": "arm", "type": "nominal", "scale": scales["strokeDash"], "legend": legend},
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 65, "opacity": 1},
            "encoding": {
                "x": x,
                "y": y,
                "color": colour,
                "shape": {"field": "arm", "type": "nominal", "scale": scales["shape"], "legend": legend},
            },
        },
    ]
    pools = [f"pool {name}" for name in results.pools]
    spec = {
        "data": {"values": points},
        "facet": {"field": "pool", "type": "nominal", "title": None, "sort": pools},
        "columns": 2,
        "spec": {"width": 340, "height": 210, "layer": marks},
    }
    return chart_bundle(spec, _words(results, points, arms))


def _worlds(results: SweepResults) -> dict[str, Any]:
    """Return the worlds that registered contrasts read: the figure shows the same ones."""
    where = results.rows.spec.contrasts_where
    return {name: where[name] for name in ("scenario", "world_seed") if name in where}


def _spread(points: list[dict[str, Any]], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Give arms a small step to the side, so that intervals at one number of failures do not cover each other."""
    middle = (len(arms) - 1) / 2
    return [{**p, "x": p["failures"] * 1.06 ** (arms.index(p["arm"]) - middle)} for p in points]


def _words(results: SweepResults, points: list[dict[str, Any]], arms: Sequence[str]) -> str:
    parts = []
    for pool in results.pools:
        for arm in arms:
            own = [p for p in points if p["arm"] == arm and p["pool"] == f"pool {pool}"]
            if own:
                values = ", ".join(
                    f"{p['failures']}: {pp(p['value'])} {pp_range(p['low'], p['high'])}".rstrip() for p in own
                )
                parts.append(f"pool {pool}, {arm} at {values}")
    most = max((p["incidents"] for p in points), default=0)
    return f"Mean net gain over up to {most} incidents by number of failures, with 95 % intervals. {'; '.join(parts)}."
