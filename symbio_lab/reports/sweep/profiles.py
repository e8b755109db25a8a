"""How gains are spread over incidents: performance profiles, and aggregates that one outlier cannot decide.

References:
    Agarwal et al. 2021, sections 4.2 and 4.3 (profiles, interquartile mean, probability of improvement).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import arm_scales, chart_bundle
from symbio_lab.display.numbers import NONE, percent, pp
from symbio_lab.display.prose import fold, prose
from symbio_lab.display.table import Column, TableRow, name, table
from symbio_lab.reports.sweep.crossover import SHOWN
from symbio_lab.reports.sweep.results import SweepResults, in_panels, panel
from symbio_lab.stats.aggregates import interquartile_mean, performance_profile, probability_of_improvement

REFERENCE = "surgery_only"
"""Arm that the others are held against."""
NUM_THRESHOLDS = 60


def profiles_figure(results: SweepResults, where: Mapping[str, Any]) -> Bundle:
    """Return, for each arm, the share of incidents that gain more than a threshold; one panel for each size."""
    arms = [arm for arm in results.arms if arm in SHOWN]
    means = {(n, a): results.means(results.metric, a, {**where, "n_repair": n}) for n in results.sizes for a in arms}
    gains = [value for found in means.values() for value in found.values()]
    if not gains:
        return prose("No arm has results to draw a profile of.", tone="note")
    cuts = np.linspace(min(0.0, *gains) - 0.05, max(gains) + 0.05, NUM_THRESHOLDS)
    values = [
        {"panel": panel(size), "arm": arm, "gain": float(cut), "share": 100 * share}
        for (size, arm), found in means.items()
        if found
        for cut, share in zip(cuts, performance_profile(list(found.values()), cuts), strict=True)
    ]
    scales = arm_scales(arms)
    legend = {"title": None, "orient": "top", "columns": 5, "symbolType": "stroke", "symbolStrokeWidth": 2}
    layer = {
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.8},
        "encoding": {
            "x": {"field": "gain", "type": "quantitative", "title": "net gain, deployed (pp)"},
            "y": {"field": "share", "type": "quantitative", "title": "incidents above (%)"},
            "color": {"field": "arm", "type": "nominal", "scale": scales["color"], "legend": legend},
            "strokeDash": {"field": "arm", "type": "nominal", "scale": scales["strokeDash"], "legend": legend},
        },
    }
    spec = in_panels(values, results.sizes, {"width": 340, "height": 180, "layer": [layer]})
    return chart_bundle(spec, _words(means))


def aggregates_table(results: SweepResults, where: Mapping[str, Any]) -> Bundle:
    """Return, folded, mean, interquartile mean, worst and best incident of each arm, and how often it beats surgery."""
    columns = [Column("arm"), Column("failures", number=True), Column("mean", number=True)]
    columns += [Column("interquartile mean", number=True), Column("worst, best incident", number=True)]
    columns += [Column(f"beats {REFERENCE}", number=True), Column("incidents", number=True)]
    rows: list[TableRow] = []
    for arm in results.arms:
        for size in results.sizes:
            at = {**where, "n_repair": size}
            found = list(results.means(results.metric, arm, at).values())
            if not found:
                continue
            row: TableRow = [name(arm), str(size), pp(float(np.mean(found))), pp(interquartile_mean(found))]
            row += [f"{pp(min(found))}, {pp(max(found))}", _improvement(results, arm, at), str(len(found))]
            rows.append(row)
    caption = (
        f"{results.metric} over incidents. Interquartile mean: without the lowest and the highest quarter. Beats: "
        "probability that a run of this arm gains more than one of the other on the same incident, ties counted one "
        "half, mean over the incidents that both have."
    )
    return fold("Every arm: mean, interquartile mean, worst and best incident", [table(columns, rows, caption)])


def _improvement(results: SweepResults, arm: str, where: Mapping[str, Any]) -> str:
    if arm == REFERENCE or REFERENCE not in results.arms:
        return NONE
    own, other = (results.blocks(results.metric, a, where) for a in (arm, REFERENCE))
    shares = [probability_of_improvement(own[incident], other[incident]) for incident in own if incident in other]
    return percent(float(np.mean(shares))) if shares else NONE


def _words(means: Mapping[tuple[int, str], Mapping[str, float]]) -> str:
    parts = []
    for (size, arm), found in means.items():
        if found:
            above = sum(value > 0 for value in found.values())
            parts.append(f"{size} failures, {arm}: {above} of {len(found)} gain, interquartile mean ")
            parts[-1] += pp(interquartile_mean(list(found.values())))
    return "Share of incidents whose net gain lies above a threshold. " + "; ".join(parts) + "."
