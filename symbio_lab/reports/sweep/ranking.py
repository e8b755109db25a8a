"""The critical-difference diagram: arms by mean rank over incidents, and which of them cannot be told apart.

References:
    Demsar 2006, section 3.2.2 and figure 1 (Nemenyi's critical difference).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import chart_bundle
from symbio_lab.display.palette import GREY, INK
from symbio_lab.display.prose import prose
from symbio_lab.display.words import REFERENCES
from symbio_lab.reports.sweep.results import SweepResults
from symbio_lab.stats.bootstrap import MIN_BLOCKS
from symbio_lab.stats.ranks import FriedmanResult, friedman


def rank_arms(results: SweepResults, where: Mapping[str, Any]) -> FriedmanResult | None:
    """Return the arms' mean ranks on the primary metric; None with fewer than three arms or two common incidents.

    An incident's figure is the mean over its seeds and numbers of failures: several of them would not be independent.
    """
    arms = [name for name in results.arms if name not in REFERENCES]
    by_arm: dict[str, dict[str, float]] = {}
    for arm in arms:
        sizes = [results.means(results.metric, arm, {**where, "n_repair": size}) for size in results.sizes]
        names = set.intersection(*map(set, sizes)) if sizes else set()
        if names:
            by_arm[arm] = {name: float(np.mean([found[name] for found in sizes])) for name in names}
    common = sorted(set.intersection(*(set(found) for found in by_arm.values()))) if by_arm else []
    if len(by_arm) < 3 or len(common) < 2:
        return None
    return friedman({arm: [found[name] for name in common] for arm, found in by_arm.items()})


def cliques(ranks: Mapping[str, float], distance: float) -> list[tuple[str, ...]]:
    """Return the largest groups of arms whose mean ranks lie within a distance.

    >>> cliques({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.0}, 1.0)
    [('a', 'b'), ('b', 'c')]
    """
    order = sorted(ranks, key=lambda name: ranks[name])
    groups: list[tuple[str, ...]] = []
    for start in range(len(order)):
        group = tuple(name for name in order[start:] if ranks[name] - ranks[order[start]] <= distance)
        if len(group) > 1 and not any(set(group) <= set(other) for other in groups):
            groups.append(group)
    return groups


def ranking_figure(results: SweepResults, where: Mapping[str, Any]) -> Bundle:
    """Return the critical-difference diagram, or a sentence that says why there is none."""
    found = rank_arms(results, where)
    if found is None:
        return prose("Ranks need three arms and two incidents with results at every number of failures.", tone="note")
    order = sorted(found.mean_ranks, key=lambda name: found.mean_ranks[name])
    groups = cliques(found.mean_ranks, found.critical_difference)
    return chart_bundle(_spec(found, order, groups), _words(found, order, groups))


def _spec(found: FriedmanResult, order: Sequence[str], groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    points = [{"arm": name, "rank": found.mean_ranks[name]} for name in order]
    bars = [
        {"from": found.mean_ranks[group[0]] - 0.03, "to": found.mean_ranks[group[-1]] + 0.03, "level": number}
        for number, group in enumerate(groups)
    ]
    domain = [1, len(order)]
    x = {"field": "rank", "type": "quantitative", "scale": {"domain": domain}, "title": "mean rank (1 is best)"}
    y = {"field": "arm", "type": "nominal", "sort": list(order), "title": None, "axis": {"labelLimit": 260}}
    ranked = {
        "width": 520,
        "height": {"step": 22},
        "data": {"values": points},
        "layer": [
            {"mark": {"type": "rule", "color": GREY, "strokeDash": [2, 3]}, "encoding": {"x": x, "y": y}},
            {"mark": {"type": "point", "filled": True, "size": 80, "color": INK}, "encoding": {"x": x, "y": y}},
            {
                "mark": {"type": "text", "align": "left", "dx": 8, "color": INK},
                "encoding": {"x": x, "y": y, "text": {"field": "rank", "type": "quantitative", "format": ".2f"}},
            },
        ],
    }
    joined = {
        "width": 520,
        "height": max(14 * len(bars), 14),
        "data": {"values": bars},
        "title": {
            "text": f"joined: not told apart (critical difference {found.critical_difference:.2f})",
            "fontSize": 11,
        },
        "mark": {"type": "rule", "strokeWidth": 5, "color": INK},
        "encoding": {
            "x": {**x, "field": "from", "axis": None},
            "x2": {"field": "to"},
            "y": {"field": "level", "type": "ordinal", "axis": None},
        },
    }
    return {"vconcat": [ranked, joined] if bars else [ranked], "spacing": 6}


def _words(found: FriedmanResult, order: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
    listed = ", ".join(f"{name} {found.mean_ranks[name]:.2f}" for name in order)
    alike = "; ".join(", ".join(group) for group in groups) or "none"
    few = f" Fewer than {MIN_BLOCKS} incidents: exploratory." if found.n < MIN_BLOCKS else ""
    return (
        f"Mean ranks over {found.n} incidents, 1 is best: {listed}. Critical difference "
        f"{found.critical_difference:.2f}; groups that are not told apart: {alike}. Friedman p = {found.p:.2g}.{few}"
    )
