"""What is fixed against what is broken: the arms that no other arm beats on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import arm_scales, chart_bundle
from symbio_lab.display.numbers import percent
from symbio_lab.display.words import REFERENCES
from symbio_lab.reports.sweep.results import SweepResults, in_panels, panel

FIXED, BROKEN = "deployed_fix_rate", "deployed_negative_flip_rate"


def pareto_front(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Return the names that no other dominates: fixes no less and breaks no more, and one of them strictly.

    Args:
        points: name -> (fixed, broken).

    >>> pareto_front({"a": (0.9, 0.02), "b": (0.5, 0.00), "c": (0.4, 0.01)})
    ('a', 'b')
    """

    def beaten(name: str) -> bool:
        fixed, broken = points[name]
        others = (value for other, value in points.items() if other != name)
        return any(f >= fixed and b <= broken and (f > fixed or b < broken) for f, b in others)

    return tuple(name for name in points if not beaten(name))


def pareto_figure(results: SweepResults, where: Mapping[str, Any]) -> Bundle:
    """Return fix rate against right answers broken, one panel for each number of failures.

    Args:
        results: of the sweep.
        where: rows that count, such as ``{"pool": ["high"]}``.
    """
    arms = [name for name in results.arms if name != "noop" and name not in REFERENCES]
    small: list[dict[str, Any]] = []
    means: dict[int, dict[str, tuple[float, float]]] = {}
    for size in results.sizes:
        for arm in arms:
            at = {**where, "n_repair": size}
            fixed, broken = results.means(FIXED, arm, at), results.means(BROKEN, arm, at)
            both = [name for name in fixed if name in broken]
            if not both:
                continue
            small += [_point(size, arm, name, fixed[name], broken[name]) for name in both]
            centre = float(np.mean([fixed[n] for n in both])), float(np.mean([broken[n] for n in both]))
            means.setdefault(size, {})[arm] = centre
    fronts = {size: pareto_front(points) for size, points in means.items()}
    large = [
        {**_point(size, arm, "mean", *value), "front": arm in fronts[size]}
        for size, points in means.items()
        for arm, value in points.items()
    ]
    return chart_bundle(_spec(results.sizes, arms, small, large), _words(means, fronts))


def _point(size: int, arm: str, incident: str, fixed: float, broken: float) -> dict[str, Any]:
    return {"panel": panel(size), "arm": arm, "incident": incident, "fixed": 100 * fixed, "broken": 100 * broken}


def _spec(
    sizes: Sequence[int], arms: list[str], small: list[dict[str, Any]], large: list[dict[str, Any]]
) -> dict[str, Any]:
    scales = arm_scales(arms)
    legend = {"title": None, "orient": "top", "columns": 4}
    encoding = {
        "x": {"field": "fixed", "type": "quantitative", "title": "failures fixed (%)", "scale": {"domain": [0, 100]}},
        "y": {"field": "broken", "type": "quantitative", "title": "right answers broken (%)"},
        "color": {"field": "arm", "type": "nominal", "scale": scales["color"], "legend": legend},
        "shape": {"field": "arm", "type": "nominal", "scale": scales["shape"], "legend": legend},
    }
    # One table: a facet divides one data set, not several.
    values = [{**p, "kind": "incident"} for p in small] + [
        {**p, "kind": "front" if p["front"] else "mean"} for p in large
    ]
    layers = [
        {
            "transform": [{"filter": "datum.kind == 'incident'"}],
            "mark": {"type": "point", "filled": True, "size": 16, "opacity": 0.35},
            "encoding": encoding,
        },
        {
            "transform": [{"filter": "datum.kind == 'mean'"}],
            "mark": {"type": "point", "filled": False, "size": 110, "strokeWidth": 1.8},
            "encoding": encoding,
        },
        {
            "transform": [{"filter": "datum.kind == 'front'"}],
            "mark": {"type": "point", "filled": True, "size": 130, "opacity": 1},
            "encoding": encoding,
        },
    ]
    return in_panels(values, sizes, {"width": 340, "height": 220, "layer": layers})


def _words(means: Mapping[int, Mapping[str, tuple[float, float]]], fronts: Mapping[int, Sequence[str]]) -> str:
    parts = []
    for size, points in means.items():
        listed = ", ".join(f"{arm} fixes {percent(f)} and breaks {percent(b)}" for arm, (f, b) in points.items())
        parts.append(f"{size} failures: {listed}; not beaten on both: {', '.join(fronts[size])}")
    return "Failures fixed against right answers broken, deployed, means over incidents. " + ". ".join(parts) + "."
