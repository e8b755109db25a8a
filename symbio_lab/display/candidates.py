"""The candidates of one healing run: how they screened, what the gate said, what was refused and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symbio_lab.display.bundles import Bundle, figure_bundle
from symbio_lab.display.numbers import NONE, percent, pp
from symbio_lab.display.palette import BLUE, GREEN, GREY, INK, LIGHT, VERMILION, new_figure
from symbio_lab.display.table import Cell, Column, TableRow, name, table
from symbio_lab.display.words import verdict

Attempt = Mapping[str, Any]
GATED = ("accepted", "rejected", "undecided")
LOOKS = {
    "accepted": ("o", GREEN, GREEN),
    "rejected": ("X", VERMILION, VERMILION),
    "undecided": ("D", "white", VERMILION),
    "screened": ("o", "white", BLUE),
}
"""Standing -> (marker, fill, edge)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate and what became of it."""

    ref: str
    kind: str
    """``marketplace``, ``surgery`` or ``control``."""
    standing: str
    """``screened``, ``refused``, ``skipped``, ``accepted``, ``rejected`` or ``undecided``."""
    code: str
    score_pp: float | None
    """Estimated net gain on screening data."""
    fix_rate: float | None
    num_failures: int
    flip_rate: float | None
    detail: str

    @property
    def verdict(self) -> str:
        """What became of it, in words."""
        if self.standing in GATED:
            return f"chosen; {verdict(self.code)}"
        if self.standing == "screened":
            return "screened, not chosen"
        return f"{self.standing}: {verdict(self.code)}"


def standings(attempts: Sequence[Attempt]) -> tuple[Standing, ...]:
    """Return one standing a candidate: the best score first, what was not run last, ties in search order.

    A candidate that was screened and then put to the gate is one standing. The gate names our own patches
    ``local/<method>``; they are joined with the method that was screened.
    """
    merged: dict[str, dict[str, Any]] = {}
    for attempt in attempts:
        ref = str(attempt["ref"])
        if attempt["kind"] == "surgery":
            ref = ref.removeprefix("local/").replace("-", "_")
        known = merged.setdefault(ref, {"ref": ref, "kind": attempt["kind"], "metrics": {}, "standing": ""})
        if attempt["status"] in GATED or known["standing"] not in GATED:
            known |= {"standing": attempt["status"], "code": attempt["code"], "detail": attempt["detail"]}
        if attempt["status"] == "screened":
            known["metrics"] = attempt["metrics"]
    found = [_standing(entry) for entry in merged.values() if entry["ref"] != "-"]
    return tuple(sorted(found, key=lambda s: (s.score_pp is None, -(s.score_pp or 0.0), s.standing not in GATED)))


def _standing(entry: Mapping[str, Any]) -> Standing:
    metrics = entry["metrics"]
    score = metrics.get("score_pp", metrics.get("net_gain_pp"))
    return Standing(
        ref=entry["ref"],
        kind=entry["kind"],
        standing="screened" if entry["standing"] == "proposed" else entry["standing"],
        code=entry["code"],
        score_pp=score,
        fix_rate=metrics.get("fix_rate"),
        num_failures=int(metrics.get("num_failures", 0)),
        flip_rate=metrics.get("flip_rate"),
        detail=entry["detail"],
    )


def candidates_table(found: Sequence[Standing], caption: str = "") -> Bundle:
    """Return the candidates with their figures and verdicts."""
    columns = [
        Column("candidate"),
        Column("screen score", number=True),
        Column("fixed", number=True),
        Column("broken", number=True),
        Column("verdict"),
    ]
    rows: list[TableRow] = [
        [
            Cell(s.ref, is_code=True, is_strong=s.standing in GATED),
            pp(s.score_pp),
            Cell(percent(s.fix_rate), f"n = {s.num_failures}" if s.num_failures else ""),
            percent(s.flip_rate),
            Cell(s.verdict, s.code if s.standing == "refused" else ""),
        ]
        for s in found
    ]
    return table(columns, rows, caption)


def candidates_figure(found: Sequence[Standing], title: str = "") -> Bundle:
    """Return the candidates as dots by screen score; refused ones are named below, with their codes."""
    ran = [s for s in found if s.score_pp is not None]
    refused = [s for s in found if s.score_pp is None]
    figure, (axis,) = new_figure(8.6, 1.15 + 0.24 * (len(ran) + len(refused)))
    for y, s in enumerate(ran):
        marker, fill, edge = LOOKS.get(s.standing, LOOKS["screened"])
        score = s.score_pp or 0.0
        axis.plot([0, score], [y, y], color=LIGHT, linewidth=1.4, zorder=1)
        axis.plot([score], [y], marker=marker, markersize=7, markerfacecolor=fill, markeredgecolor=edge, zorder=3)
        if s.standing in GATED:
            note = f"  {s.standing} by the gate"
            axis.annotate(note, (score, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)
    for y, s in enumerate(refused, start=len(ran)):
        text = f"{s.standing}: {s.code or s.detail}"
        axis.annotate(text, (0, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9, color=GREY)
        axis.plot([0], [y], marker="x", markersize=6, color=INK, zorder=3)
    axis.axvline(0, color=GREY, linewidth=0.9)
    axis.set_yticks(range(len(ran) + len(refused)), [s.ref for s in (*ran, *refused)])
    axis.set_ylim(len(ran) + len(refused) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    scores = [s.score_pp or 0.0 for s in ran]
    top = max([*scores, 1.0])
    axis.set_xlim(min([*scores, 0.0]) - 0.05 * top, 1.3 * top)
    axis.set_xlabel("screen score: estimated net gain on the repair failures (percentage points)")
    if title:
        axis.set_title(title, loc="left", fontsize=10)
    return figure_bundle(figure, _alt(found))


def _alt(found: Sequence[Standing]) -> str:
    parts = [f"{s.ref}: {pp(s.score_pp) if s.score_pp is not None else NONE}, {s.verdict}" for s in found]
    return "Candidates by screen score. " + "; ".join(parts) + "."


def refused_table(attempts: Sequence[Attempt], caption: str = "") -> Bundle:
    """Return what the trust rules refused: reference, code, meaning, and what was seen."""
    refused = {(a["ref"], a["code"]): a for a in attempts if a["status"] == "refused"}
    columns = [Column("patch"), Column("code"), Column("meaning"), Column("what was seen")]
    rows: list[TableRow] = [
        [name(a["ref"]), name(a["code"]), verdict(a["code"]), str(a["detail"])] for _, a in sorted(refused.items())
    ]
    return table(columns, rows, caption)
