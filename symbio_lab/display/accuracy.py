"""How often a model is right, group by group: the first look at a failing slice."""

from __future__ import annotations

from collections.abc import Sequence

from symbio_lab.display.bundles import Bundle, figure_bundle
from symbio_lab.display.numbers import percent, percent_range
from symbio_lab.display.palette import BLUE, VERMILION, new_figure
from symbio_lab.records import Interval


def accuracy_figure(groups: Sequence[tuple[str, Interval, bool]], title: str = "") -> Bundle:
    """Return a dot with its interval for each group.

    Args:
        groups: name, accuracy in [0, 1] with interval and n, and whether this is the failing slice.
        title: of the figure.
    """
    figure, (axis,) = new_figure(8.6, 1.0 + 0.3 * len(groups))
    for y, (_, rate, is_slice) in enumerate(groups):
        if rate.value is None or rate.low is None or rate.high is None:
            continue
        colour, marker = (VERMILION, "D") if is_slice else (BLUE, "o")
        axis.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.8)
        axis.plot([100 * rate.value], [y], marker=marker, markersize=6, color=colour)
    axis.set_yticks(range(len(groups)), [f"{label} (n = {rate.n})" for label, rate, _ in groups])
    axis.set_ylim(len(groups) - 0.4, -0.6)
    axis.set_xlim(-3, 103)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("right answers (%), with 95 % intervals")
    if title:
        axis.set_title(title, loc="left", fontsize=10)
    parts = [f"{label}: {percent(r.value)} {percent_range(r.low, r.high)}, n = {r.n}" for label, r, _ in groups]
    return figure_bundle(figure, "Right answers by group. " + "; ".join(parts) + ".")
