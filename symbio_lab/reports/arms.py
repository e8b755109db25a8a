"""The arms: what each proposed, what the gate let through, and the examples that it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.examples import change, examples_table
from symbio_lab.display.numbers import NONE, count, percent, percent_range, plural, pp, pp_range
from symbio_lab.display.prose import code, esc, fold, prose, stack
from symbio_lab.display.strategies import strategies_figure
from symbio_lab.display.table import Cell, Column, TableRow, table
from symbio_lab.display.words import STATUSES, arm
from symbio_lab.reports.collecting import CellResult, Results
from symbio_lab.reports.headline import gain_of, mean

Row = Mapping[str, Any]


def arms_figure(results: Results) -> Bundle:
    """Return the forest plot of all arms and incidents."""
    return strategies_figure(results.ordered_rows())


def arms_summary(results: Results) -> Bundle:
    """Return one row an arm: outcome and mean figures over the incidents, with their range."""
    columns = [
        Column("arm"),
        Column("family"),
        Column("outcome"),
        Column("failures fixed, deployed", number=True),
        Column("net gain, deployed", number=True),
        Column("right answers broken, deployed", number=True),
        Column("forwards-equivalent", number=True),
    ]
    rows: list[TableRow] = []
    for name in results.arms:
        cells = results.of(name)
        statuses = Counter(str(c.row["status"]) for c in cells)
        outcome = ", ".join(s if len(cells) == 1 else f"{s} ({n})" for s, n in sorted(statuses.items()))
        family = "reference" if name not in results.strategies else str(cells[0].row["family"])
        rows.append(
            [
                Cell(name, arm(name), is_code=True),
                family,
                outcome,
                _over(cells, "deployed_fix_rate", is_rate=True),
                _over(cells, "deployed_net_gain_pp"),
                _over(cells, "deployed_negative_flip_rate", is_rate=True),
                Cell(count(mean([c.row["cost_forwards_equivalent"] for c in cells]))),
            ]
        )
    num = len(results.seeds)
    caption = "Deployed is the base itself where nothing was accepted. " + (
        "In brackets: 95 % intervals."
        if num == 1
        else f"Means over {plural(num, 'incident')}; in brackets the range from lowest to highest, no interval."
    )
    return table(columns, rows, caption)


def _over(cells: tuple[CellResult, ...], column: str, *, is_rate: bool = False) -> Cell:
    show, bounds = (percent, percent_range) if is_rate else (pp, pp_range)
    values = [c.row[column] for c in cells if c.row[column] is not None]
    if len(cells) == 1:
        row = cells[0].row
        n = f", n = {count(row[f'{column}_n'])}" if values else ""
        return Cell(show(row[column]), bounds(row[f"{column}_low"], row[f"{column}_high"]) + n)
    return Cell(show(mean(values)), bounds(min(values), max(values)) if values else "")


def arms_table(results: Results) -> Bundle:
    """Return one row an arm and incident, proposed beside deployed, each with interval and n."""
    columns = [
        Column("arm, incident"),
        Column("outcome"),
        Column("proposed: fixed", number=True),
        Column("proposed: net gain", number=True),
        Column("proposed: broken", number=True),
        Column("deployed: fixed", number=True),
        Column("deployed: net gain", number=True),
        Column("deployed: broken", number=True),
        Column("labels seen", number=True),
    ]
    rows: list[TableRow] = []
    for row in results.ordered_rows():
        route = {"marketplace": "from the marketplace", "surgery": "by surgery"}.get(str(row["route"]), "")
        rows.append(
            [
                Cell(str(row["strategy"]), f"seed {row['seed']}\n{row['proposed_patch'] or ''}".strip(), is_code=True),
                Cell(str(row["status"]), route),
                *(
                    _exact(row, kind, metric)
                    for kind in ("proposed", "deployed")
                    for metric in ("fix_rate", "net_gain_pp", "negative_flip_rate")
                ),
                _labels(row),
            ]
        )
    caption = (
        "Proposed is the arm's candidate before the gate, deployed what the gate let through (the base where nothing "
        "was). In brackets 95 % intervals; n is the number of held-out samples behind each figure. Labels seen: "
        "failures to repair + to decide on, then replay + control."
    )
    return table(columns, rows, caption)


def _exact(row: Row, kind: str, metric: str) -> Cell:
    column = f"{kind}_{metric}"
    if kind == "proposed" and row["proposed_patch"] is None:
        return Cell(NONE, "nothing\nproposed")
    show, bounds = (pp, pp_range) if metric.endswith("_pp") else (percent, percent_range)
    small = f"{bounds(row[f'{column}_low'], row[f'{column}_high'])}\nn = {count(row[f'{column}_n'])}"
    return Cell(show(row[column]), small)


def _labels(row: Row) -> Cell:
    seen = {name: count(row[f"num_labels_seen_{name}"]) for name in ("repair", "selection", "replay", "control")}
    return Cell(f"{seen['repair']} + {seen['selection']}", f"{seen['replay']} + {seen['control']}")


def arms_details(results: Results) -> Bundle:
    """Return the full table, folded, with what the outcomes mean."""
    found = dict.fromkeys(str(r["status"]) for r in results.rows)
    meanings = "; ".join(f"{code(s)}: {esc(STATUSES.get(s, s))}" for s in found)
    title = f"Every arm and incident: proposed and deployed, intervals, n, labels seen ({len(results.rows)} rows)"
    return fold(title, [prose(f"Outcomes. {meanings}."), arms_table(results)])


def references_note(results: Results) -> Bundle:
    """Return what the reference arms are; empty when there are none."""
    texts = {
        "oracle_best": "takes the pool's best patch by the judged samples themselves: the ceiling of any way of "
        "choosing one patch from this pool, not something a user could do",
        "surgery_donor_data": "gives surgery the training data of the best contributor: what the knowledge in the "
        "pool would be worth to a surgeon who had it",
    }
    shown = [f"{code(name)} {text}" for name, text in texts.items() if name in results.arms]
    said = f"Reference arms read what no healer may and do not compete. {'. '.join(shown)}." if shown else ""
    missing = _missing_references(results)
    return prose(said, missing, tone="note") if said or missing else prose()


def _missing_references(results: Results) -> str:
    """Return which reference arms own data cannot have, and why."""
    if not results.plan.get("own_data"):
        return ""
    if results.plan["pool"] == "none":
        return f"Without a market there are no reference arms {code('oracle_best')} and {code('surgery_donor_data')}."
    return (
        f"There is no reference arm {code('surgery_donor_data')}: on which data the market's patches were trained is "
        "unknown."
    )


def healed_examples(results: Results) -> Bundle:
    """Return held-out inputs before and after the patch of the arm that gained most (or tried at all)."""
    tried = [n for n in results.strategies if any(c.row["proposed_patch"] for c in results.of(n))]
    if not tried:
        return prose("No arm proposed a patch, so no answer changed.")
    best = max(tried, key=lambda n: gain_of(results, n) or 0.0)
    cell = next(c for c in results.of(best) if c.row["proposed_patch"])
    kind = "deployed" if cell.row["deployed"] else "proposed but not deployed"
    fixed = sum(change(e) == "✓ fixed" for e in cell.examples)
    caption = (
        f"{best}, seed {cell.seed}: {kind} patch {cell.row['proposed_patch']}. The first {len(cell.examples)} held-out "
        f"inputs of the slice, not picked: {fixed} fixed. Over all of them see the fix rate above."
    )
    return stack(examples_table(cell.examples, caption))
