"""Fix rate and net gain by arm, each incident with its interval: the figure of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from symbio_lab.display.bundles import Bundle, figure_bundle
from symbio_lab.display.numbers import percent, pp, pp_range
from symbio_lab.display.palette import FAMILIES, GREY, INK, LIGHT, new_figure
from symbio_lab.display.words import REFERENCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
METRICS = (("fix_rate", "failures fixed (%)", 100.0), ("net_gain_pp", "net gain (percentage points)", 1.0))


def strategies_figure(rows: Sequence[Row]) -> Bundle:
    """Return a forest plot of all arms.

    Args:
        rows: result rows (``strategy``, ``seed``, ``family``, ``deployed``, ``proposed_*``, ``deployed_*``), in the
            order of display; several seeds of an arm are drawn one below the other.

    Returns:
        A figure: filled marks are what was deployed, hollow ones a candidate that the gate did not accept.
    """
    arms = list(dict.fromkeys(str(r["strategy"]) for r in rows))
    seeds = list(dict.fromkeys(r["seed"] for r in rows))
    step = 0.62 / max(len(seeds), 1)
    height = 1.45 + len(arms) * max(0.34, 0.2 * len(seeds))
    figure, axes = new_figure(8.6, height, 2, sharey=True)
    for axis, (metric, title, scale) in zip(axes, METRICS, strict=True):
        for row in rows:
            y = arms.index(str(row["strategy"])) + (seeds.index(row["seed"]) - (len(seeds) - 1) / 2) * step
            _draw(axis, row, metric, scale, y)
        axis.set_xlabel(title)
        axis.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axes[0].set_xlim(-3, 103)
    axes[0].set_yticks(range(len(arms)), [_label(name) for name in arms])
    axes[0].set_ylim(len(arms) - 0.4, -0.6)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
        for y in range(1, len(arms)):
            is_border = arms[y] in REFERENCES and arms[y - 1] not in REFERENCES
            axis.axhline(y - 0.5, color=GREY if is_border else LIGHT, linewidth=1.0 if is_border else 0.5)
    _legend(figure, rows)
    return figure_bundle(figure, _alt(rows, seeds))


def _label(name: str) -> str:
    return f"{name}\n(reference)" if name in REFERENCES else name


def _draw(axis: Axes, row: Row, metric: str, scale: float, y: float) -> None:
    family = "reference" if row["strategy"] in REFERENCES else str(row["family"])
    colour, marker = FAMILIES.get(family, (INK, "o"))
    kinds = ["deployed"] if row["deployed"] or row["proposed_patch"] is None else ["proposed", "deployed"]
    for kind in kinds:
        value = row[f"{kind}_{metric}"]
        if value is None:
            continue
        low, high = row[f"{kind}_{metric}_low"], row[f"{kind}_{metric}_high"]
        is_base = kind == "deployed" and not row["deployed"]
        if not is_base and low is not None and high is not None:
            axis.plot([scale * low, scale * high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        axis.plot(
            [scale * value],
            [y],
            marker="|" if is_base else marker,
            markersize=9 if is_base else 6,
            markeredgewidth=2.4 if is_base else 1.0,
            markerfacecolor=colour if kind == "deployed" else "white",
            markeredgecolor=colour,
            linestyle="none",
            zorder=3,
        )


def _legend(figure: Any, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    used = ["reference" if r["strategy"] in REFERENCES else str(r["family"]) for r in rows]
    handles = [
        Line2D([], [], color=FAMILIES[name][0], marker=FAMILIES[name][1], linewidth=1.6, markersize=6, label=name)
        for name in FAMILIES
        if name in used
    ]
    stays = [r for r in rows if not r["deployed"]]
    if any(r["proposed_patch"] is not None for r in stays):
        hollow = Line2D([], [], marker="o", markerfacecolor="white", markeredgecolor=INK, linestyle="none")
        hollow.set_label("hollow: not accepted")
        handles.append(hollow)
    if stays:
        tick = Line2D([], [], marker="|", color=INK, linestyle="none", markersize=9, markeredgewidth=2.4)
        tick.set_label("base stays")
        handles.append(tick)
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), frameon=False, fontsize=9)


def _alt(rows: Sequence[Row], seeds: Sequence[Any]) -> str:
    parts = []
    for row in rows:
        where = f" (seed {row['seed']})" if len(seeds) > 1 else ""
        kind = "deployed" if row["deployed"] else "not deployed; candidate"
        prefix = "deployed" if row["deployed"] or row["proposed_patch"] is None else "proposed"
        gain = row[f"{prefix}_net_gain_pp"]
        bounds = pp_range(row[f"{prefix}_net_gain_pp_low"], row[f"{prefix}_net_gain_pp_high"])
        kind = "base stays" if row["proposed_patch"] is None else kind
        parts.append(
            f"{row['strategy']}{where}: {kind}, fix rate {percent(row[f'{prefix}_fix_rate'])}, "
            f"net gain {pp(gain)} {bounds}".rstrip()
        )
    return "Fix rate and net gain by arm with 95 % intervals. " + "; ".join(parts) + "."
