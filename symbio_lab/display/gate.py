"""The gate's verdicts: one-sided bounds against their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbio_lab.display.bundles import Bundle, figure_bundle
from symbio_lab.display.numbers import percent
from symbio_lab.display.palette import GREEN, GREY, INK, VERMILION, new_figure

Look = tuple[str, Mapping[str, Any]]
"""Label (arm, incident) and the attempt that the gate made."""
STYLES = {"accepted": (GREEN, "o", GREEN), "rejected": (VERMILION, "X", VERMILION)}
UNDECIDED = (VERMILION, "D", "white")


def gate_figure(looks: Sequence[Look], *, min_fix_rate: float, max_negative_flip_rate: float) -> Bundle:
    """Return the bounds of every look beside the limits.

    Args:
        looks: label and gate attempt (``metrics`` with the bounds, ``status``), in the order of display.
        min_fix_rate: limit that the lower bound must reach.
        max_negative_flip_rate: limit that the upper bound must not pass.
    """
    figure, axes = new_figure(8.6, 1.3 + 0.3 * max(len(looks), 1), 2, sharey=True)
    panels = (
        ("fix_rate", "failures fixed on gate samples (%)", min_fix_rate, "at least"),
        ("negative_flip_rate", "right answers broken (%)", max_negative_flip_rate, "at most"),
    )
    for axis, (metric, title, limit, word) in zip(axes, panels, strict=True):
        axis.axvline(100 * limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axis.annotate(
            f"{word} {percent(limit)}",
            (100 * limit, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=9,
        )
        for y, (_, attempt) in enumerate(looks):
            metrics = attempt["metrics"]
            colour, marker, fill = STYLES.get(str(attempt["status"]), UNDECIDED)
            bounds = [100 * metrics[f"{metric}_low"], 100 * metrics[f"{metric}_high"]]
            axis.plot(bounds, [y, y], color=colour, linewidth=1.8, marker="|", markersize=7)
            axis.plot([100 * metrics[metric]], [y], marker=marker, color=colour, markerfacecolor=fill, markersize=6)
        axis.set_xlabel(title)
        axis.set_xlim(left=-1 if metric == "fix_rate" else -0.2)
    axes[0].set_xlim(right=103)
    axes[0].set_yticks(range(len(looks)), [f"{label}\n{a['status']}" for label, a in looks])
    axes[0].set_ylim(len(looks) - 0.4, -0.6)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_color(GREY)
    return figure_bundle(figure, _alt(looks, min_fix_rate, max_negative_flip_rate))


def _alt(looks: Sequence[Look], min_fix_rate: float, max_negative_flip_rate: float) -> str:
    parts = [
        f"{label}: {a['status']}, fix rate at least {percent(a['metrics']['fix_rate_low'])}, "
        f"flips at most {percent(a['metrics']['negative_flip_rate_high'])}"
        for label, a in looks
    ]
    limits = f"limits: fix rate {percent(min_fix_rate)}, flips {percent(max_negative_flip_rate)}"
    return f"Gate verdicts, {limits}. " + "; ".join(parts) + "."
