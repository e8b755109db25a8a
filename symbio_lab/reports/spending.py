"""The cost section: by phase, in three accounts, and when a pool pays."""

from __future__ import annotations

from symbio_lab.comparison.rows import AMORTISED
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.costs import costs_figure, mean_phases
from symbio_lab.display.numbers import NONE, count, num_bytes, plural, seconds
from symbio_lab.display.prose import code, prose
from symbio_lab.display.table import Cell, Column, TableRow, table
from symbio_lab.reports.collecting import Results
from symbio_lab.reports.headline import mean


def phases_figure(results: Results) -> Bundle:
    """Return cost by phase, means over the incidents; arms that spent nothing are left out."""
    phases = {name: mean_phases([cell.phases for cell in results.of(name)]) for name in results.arms}
    spent = {name: of_arm for name, of_arm in phases.items() if of_arm}
    if not spent:
        return prose("No arm spent anything.")
    return costs_figure(spent)


def accounts_table(results: Results) -> Bundle:
    """Return the three accounts by arm, means over the incidents."""
    columns = [
        Column("arm"),
        Column("marginal", number=True),
        Column("wall time", number=True),
        Column("CPU time", number=True),
        Column("read from the market", number=True),
        Column("pool", number=True),
        *(Column(f"amortised, J = {j}", number=True) for j in AMORTISED),
    ]
    # Of a user's own market nobody knows what its patches cost, so nothing can be shared out.
    known = "contributors" in results.world["pool"]
    rows: list[TableRow] = []
    for name in results.arms:
        of_arm = [cell.row for cell in results.of(name)]

        def figure(column: str, of_arm: list = of_arm) -> float | None:  # type: ignore[type-arg]
            return mean([row[column] for row in of_arm])

        labels = figure("pool_num_labels") or 0.0
        pool = Cell(count(figure("pool_forwards_equivalent")), f"{count(labels)} labels") if labels else Cell(NONE)
        rows.append(
            [
                Cell(name, is_code=True),
                count(figure("cost_forwards_equivalent")),
                seconds(figure("cost_wall_s")),
                seconds(figure("cost_cpu_s")),
                num_bytes(figure("cost_bytes")),
                pool,
                *(count(figure(f"amortised_forwards_equivalent_j{j}")) if known else NONE for j in AMORTISED),
            ]
        )
    caption = (
        "Forwards-equivalent unless a unit is given: 1 is one sample through the unpatched base once. Marginal: what "
        "the healer spent on one incident, refused candidates included. Pool: training and labels of all "
        "contributors. Amortised: marginal + pool / J when J incidents share the pool. Times are of the machine that "
        "ran the comparison."
    )
    return table(columns, rows, caption)


def break_even(results: Results) -> Bundle:
    """Return when a pool pays for its training, in words."""
    number = results.summary["break_even_incidents"]
    if number is not None:
        return prose(
            f"Break-even: healing by {code('best_single')} costs less than by {code('surgery_only')}, and the "
            f"difference pays for the pool's training after {plural(int(number), 'incident')} of this kind. Cost "
            "alone: it does not say that the two heal equally well."
        )
    if "contributors" not in results.world["pool"]:
        why = "there was no market" if results.plan["pool"] == "none" else "what the market's patches cost is unknown"
        return prose(f"Break-even is not stated: {why}.")
    if {"best_single", "surgery_only"} <= set(results.strategies):
        return prose(
            f"Break-even: none. Healing by {code('best_single')} did not cost less than by {code('surgery_only')}, "
            "so no number of incidents pays for the pool's training by cost alone."
        )
    return prose(
        f"Break-even is not stated: it compares {code('best_single')} with {code('surgery_only')}, and both must run."
    )
