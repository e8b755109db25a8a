"""Cost by phase: what each arm spent its forwards-equivalent and its seconds on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symbio_lab.display.bundles import Bundle, figure_bundle
from symbio_lab.display.numbers import count, seconds
from symbio_lab.display.palette import FILLS, INK, new_figure
from symbio_lab.display.words import PHASES, phase

ACCOUNTS = (
    ("forwards_equivalent", "forwards-equivalent", count),
    ("wall_s", "wall time (s)", seconds),
)


def costs_figure(phases: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Bundle:
    """Return stacked bars by arm.

    Args:
        phases: arm -> phase -> cost fields (``forwards_equivalent``, ``wall_s``), means over incidents.
    """
    from matplotlib import rc_context

    arms = list(phases)
    found = [p for of_arm in phases.values() for p in of_arm]
    names = [p for p in (*PHASES, *found) if p in found]
    names = list(dict.fromkeys(names))
    figure, axes = new_figure(8.6, 1.35 + 0.36 * len(arms), 2, sharey=True)
    with rc_context({"hatch.linewidth": 0.5}):
        for axis, (field, title, show) in zip(axes, ACCOUNTS, strict=True):
            left = [0.0] * len(arms)
            for number, name in enumerate(names):
                values = [float(phases[a].get(name, {}).get(field, 0.0)) for a in arms]
                colour, hatch = FILLS[number % len(FILLS)]
                label = phase(name) if axis is axes[0] else None
                axis.barh(
                    arms,
                    values,
                    left=left,
                    color=colour,
                    hatch=hatch,
                    edgecolor=INK,
                    linewidth=0.5,
                    height=0.62,
                    label=label,
                )
                left = [a + b for a, b in zip(left, values, strict=True)]
            for y, total in enumerate(left):
                axis.annotate(
                    show(total), (total, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
                )
            axis.set_xlabel(title)
            axis.set_xlim(0, max([*left, 1e-9]) * 1.22)
    axes[0].set_ylim(len(arms) - 0.4, -0.6)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=min(max(len(names), 1), 4), frameon=False, fontsize=9)
    return figure_bundle(figure, _alt(phases))


def _alt(phases: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    parts = []
    for arm, of_arm in phases.items():
        listed = ", ".join(
            f"{phase(p)} {count(c['forwards_equivalent'])} ({seconds(c['wall_s'])})" for p, c in of_arm.items()
        )
        parts.append(f"{arm}: {listed or 'nothing'}")
    return "Forwards-equivalent and wall time by phase. " + "; ".join(parts) + "."


def mean_phases(cells: Sequence[Sequence[tuple[str, Mapping[str, float]]]]) -> dict[str, dict[str, float]]:
    """Return the mean cost by phase over cells; a phase that a cell did not enter counts as nothing.

    >>> mean_phases([[("gate", {"wall_s": 2.0})], [("gate", {"wall_s": 4.0}), ("screen", {"wall_s": 1.0})]])
    {'gate': {'wall_s': 3.0}, 'screen': {'wall_s': 0.5}}
    """
    total: dict[str, dict[str, float]] = {}
    for cell in cells:
        for name, cost in cell:
            into = total.setdefault(name, {})
            for field, value in cost.items():
                into[field] = into.get(field, 0.0) + float(value)
    return {name: {f: v / len(cells) for f, v in fields.items()} for name, fields in total.items()}
