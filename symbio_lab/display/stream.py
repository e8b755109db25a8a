"""A stream of answers over time: the error rate, where something set in, the alarm, and what healing changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.charts import CONFIG, SCHEMA, chart_bundle
from symbio_lab.display.palette import BLUE, GREEN, GREY, INK, VERMILION
from symbio_lab.stats.intervals import wilson

WINDOW = 100
"""Requests over which a rate is taken."""


def rolling_rates(failed: Sequence[bool], window: int = WINDOW, step: int = 25) -> list[dict[str, float]]:
    """Return the share of wrong answers over the latest ``window`` requests, with Wilson intervals.

    Args:
        failed: whether each answer was wrong, (N,).
        window: requests.
        step: requests between two points.

    >>> rolling_rates([False, True] * 4, window=4, step=4)[0]["rate"]
    0.5
    """
    counts = np.concatenate([[0], np.cumsum(np.asarray(failed, dtype=np.int64))])
    points = []
    for end in range(window, len(failed) + 1, step):
        wrong = int(counts[end] - counts[end - window])
        low, high = wilson(wrong, window)
        points.append({"request": float(end), "rate": wrong / window, "low": low, "high": high})
    return points


def stream_chart(failed: Sequence[bool], marks: Mapping[str, int | None], title: str = "") -> Bundle:
    """Return the error rate over the stream with a line for each event that happened.

    Args:
        failed: whether each answer was wrong, (N,).
        marks: what happened -> request at which it did; None is left out. ``shift``, ``alarm``, ``pattern`` and
            ``healed`` have colours of their own.
        title: of the figure.
    """
    points = rolling_rates(failed)
    happened = [{"what": name, "request": at} for name, at in marks.items() if at is not None]
    colours = {"shift": GREY, "alarm": VERMILION, "pattern": INK, "healed": GREEN}
    x = {"field": "request", "type": "quantitative", "title": "requests"}
    x["scale"] = {"domain": [0, len(failed)], "nice": False}  # type: ignore[assignment]
    rate = {"type": "quantitative", "axis": {"format": "%"}, "scale": {"domainMin": 0}}
    names = [mark["what"] for mark in happened]
    colour: dict[str, Any] = {
        "field": "what",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names, "range": [colours.get(str(name), INK) for name in names]},
        "legend": None,
    }
    lines = {
        "data": {"values": [{**mark, "level": i} for i, mark in enumerate(happened)]},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 1.5, "strokeDash": [5, 3]}, "encoding": {"x": x, "color": colour}},
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 11, "baseline": "top"},
                "encoding": {
                    "x": x,
                    "y": {"field": "level", "type": "quantitative", "axis": None, "scale": {"domain": [12, 0]}},
                    "text": {"field": "what"},
                    "color": colour,
                },
            },
        ],
        "resolve": {"scale": {"y": "independent"}},
    }
    spec = {
        "$schema": SCHEMA,
        "config": CONFIG,
        "width": 720,
        "height": 260,
        **({"title": title} if title else {}),
        "layer": [
            {
                "data": {"values": points},
                "mark": {"type": "area", "opacity": 0.2, "color": BLUE},
                "encoding": {
                    "x": x,
                    "y": {"field": "low", "title": f"wrong answers, last {WINDOW} requests", **rate},
                    "y2": {"field": "high"},
                },
            },
            {
                "data": {"values": points},
                "mark": {"type": "line", "color": BLUE, "strokeWidth": 2},
                "encoding": {"x": x, "y": {"field": "rate", **rate}},
            },
            lines,
        ],
        "resolve": {"scale": {"y": "independent"}},
    }
    # The band and the line share one scale; only the labels have their own.
    spec["layer"] = [{"layer": spec["layer"][:2]}, lines]  # type: ignore[index]
    return chart_bundle(spec, _in_words(points, happened))


def _in_words(points: Sequence[Mapping[str, float]], happened: Sequence[Mapping[str, Any]]) -> str:
    if not points:
        return f"Fewer than {WINDOW} requests: no rate is shown."
    worst = max(points, key=lambda p: p["rate"])
    text = (
        f"Share of wrong answers over the latest {WINDOW} requests: {100 * points[0]['rate']:.0f} % at first, at most "
        f"{100 * worst['rate']:.0f} % (request {worst['request']:.0f}), {100 * points[-1]['rate']:.0f} % at the end."
    )
    return " ".join([text, *(f"{str(m['what']).capitalize()}: request {m['request']}." for m in happened)])
