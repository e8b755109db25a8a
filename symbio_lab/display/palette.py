"""Colours, markers and hatches: safe for colour-blind readers, and readable with no colour at all.

References:
    Okabe and Ito 2008, Color Universal Design.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1a1a1a"
GREY = "#767676"
LIGHT = "#d9d9d9"
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#8E5A8A"
ORANGE = "#E69F00"
SKY = "#56B4E9"
YELLOW = "#F0E442"
FAMILIES = {
    "marketplace": (BLUE, "o"),
    "surgery": (VERMILION, "s"),
    "hybrid": (GREEN, "D"),
    "control": (GREY, "^"),
    "reference": (PURPLE, "v"),
}
"""Family -> (colour, marker); the marker says the same as the colour."""
FILLS = (
    (SKY, ""),
    (BLUE, "///"),
    (ORANGE, "..."),
    (GREEN, "\\\\\\"),
    (VERMILION, "xxx"),
    (YELLOW, "---"),
    (PURPLE, "+++"),
    (LIGHT, "ooo"),
    (GREY, "**"),
)
"""(colour, hatch) of stacked bars; the hatch says the same as the colour."""
FONT: Any = {"font.size": 10.0, "axes.edgecolor": GREY, "hatch.linewidth": 0.5, "font.family": "DejaVu Sans"}


def new_figure(width: float, height: float, columns: int = 1, **kwargs: Any) -> tuple[Figure, Sequence[Axes]]:
    """Return an empty figure of this size in inches and its axes, outside pyplot's global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(FONT):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False, **kwargs)[0]
    for axis in axes:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.tick_params(colors=INK, labelsize=9)
        axis.grid(axis="x", color=LIGHT, linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, list(axes)
