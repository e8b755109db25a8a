"""Time to heal: the share of incidents still unhealed as work is spent.

The clock is the forward-equivalent: it counts the same on every machine. A run that deployed nothing is censored at
what it had spent: it might have healed later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import arm_scales, chart_bundle
from symbio_lab.display.numbers import count
from symbio_lab.reports.sweep.crossover import SHOWN
from symbio_lab.reports.sweep.results import SweepResults, in_panels, panel, select
from symbio_lab.stats.survival import SurvivalCurve, kaplan_meier

CLOCK = "cost_forwards_equivalent"
HINDSIGHT = ("oracle_best",)
"""Arms that spend nothing, since they do not search."""


def curves(results: SweepResults, where: Mapping[str, Any]) -> dict[tuple[int, str], SurvivalCurve]:
    """Return (number of failures, arm) -> the share unhealed over forwards-equivalent; one run an incident and seed."""
    found = {}
    arms = [name for name in results.arms if name in SHOWN and name not in HINDSIGHT]
    for size in results.sizes:
        for arm in arms:
            rows = select(results.frame, {**where, "n_repair": size, "strategy": arm})
            if len(rows):
                times = rows[CLOCK].to_numpy(dtype=np.float64)
                found[size, arm] = kaplan_meier(times, rows["deployed"].to_numpy(dtype=bool))
    return found


def healing_time_figure(results: SweepResults, where: Mapping[str, Any]) -> Bundle:
    """Return the curves, one panel for each number of failures."""
    found = curves(results, where)
    values, end = [], _longest(results, where)
    for (size, arm), curve in found.items():
        steps = [(0.0, 1.0), *zip(curve.times, curve.unhealed, strict=True)]
        steps.append((end, steps[-1][1]))
        values += [{"panel": panel(size), "arm": arm, "spent": t, "unhealed": 100 * s} for t, s in steps]
    arms = list(dict.fromkeys(arm for _, arm in found))
    scales = arm_scales(arms)
    legend = {"title": None, "orient": "top", "columns": 4, "symbolType": "stroke", "symbolStrokeWidth": 2}
    view = {
        "width": 340,
        "height": 190,
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": {
                "field": "spent",
                "type": "quantitative",
                "title": "forwards-equivalent spent",
                "axis": {"format": "~s", "tickCount": 5},
            },
            "y": {
                "field": "unhealed",
                "type": "quantitative",
                "title": "incidents unhealed (%)",
                "scale": {"domain": [0, 100]},
            },
            "color": {"field": "arm", "type": "nominal", "scale": scales["color"], "legend": legend},
            "strokeDash": {"field": "arm", "type": "nominal", "scale": scales["strokeDash"], "legend": legend},
        },
    }
    return chart_bundle(in_panels(values, results.sizes, view), _words(found))


def median_time(curve: SurvivalCurve) -> float | None:
    """Return when half of the runs had healed; None when fewer than half did."""
    return next((t for t, share in zip(curve.times, curve.unhealed, strict=True) if share <= 0.5), None)


def _longest(results: SweepResults, where: Mapping[str, Any]) -> float:
    return float(select(results.frame, where)[CLOCK].max())


def _words(found: Mapping[tuple[int, str], SurvivalCurve]) -> str:
    parts = []
    for (size, arm), curve in found.items():
        half = median_time(curve)
        left = curve.unhealed[-1] if curve.unhealed else 1.0
        said = f"half healed after {count(half)}" if half is not None else "fewer than half healed"
        parts.append(f"{size} failures, {arm}: {said}, {100 * left:.0f} % unhealed in the end (n = {curve.n})")
    return "Share of incidents unhealed over forwards-equivalent spent. " + "; ".join(parts) + "."


def sizes_of(found: Mapping[tuple[int, str], SurvivalCurve]) -> Sequence[int]:
    """Return the numbers of failures with curves."""
    return sorted({size for size, _ in found})
