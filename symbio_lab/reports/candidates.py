"""The candidates section: standings, gate, refusals, the poisoned patches, the pool behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbio_lab.deployment.gate import gate_policy
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.candidates import GATED, candidates_figure, candidates_table, refused_table, standings
from symbio_lab.display.gate import gate_figure
from symbio_lab.display.numbers import NONE, count, percent, percent_range, plural, pp
from symbio_lab.display.pool import pool_table
from symbio_lab.display.prose import code, esc, fold, prose, stack
from symbio_lab.display.table import Cell, Column, TableRow, table
from symbio_lab.errors import TRUST_CODES
from symbio_lab.reports.collecting import CellResult, Results
from symbio_lab.reports.headline import backdoor_caution, base_backdoor_rate
from symbio_lab.scenarios.attackers import NOISE

SCREENERS = ("marketplace_first", "best_single")
"""Arms that screen the whole pool; the first one present is shown."""
POISONED = ("noisy/patch", "backdoor/patch")


def screening_cell(results: Results, seed: int) -> CellResult | None:
    """Return the cell that screened the pool in this incident, if any did."""
    cells = {c.strategy: c for c in results.at(seed)}
    return next((cells[name] for name in SCREENERS if name in cells), None)


def standing_figure(results: Results) -> Bundle:
    """Return the candidates of the first incident as a figure."""
    cell = screening_cell(results, results.seeds[0])
    if cell is None:
        return prose("No arm of this comparison searched the marketplace.")
    return candidates_figure(standings(cell.attempts), f"{cell.strategy}, seed {cell.seed}")


def standing_tables(results: Results) -> Bundle:
    """Return the candidates with their verdicts, incident by incident, folded."""
    parts = []
    for seed in results.seeds:
        cell = screening_cell(results, seed)
        if cell is not None:
            found = standings(cell.attempts)
            caption = (
                f"{cell.strategy}, seed {seed}. Fixed: share of the repair failures; broken: share of right answers "
                "on a guard of replay samples. Ties go to the earlier in search order."
            )
            title = f"Candidates and verdicts, seed {seed} ({len(found)})"
            parts.append(fold(title, [candidates_table(found, caption)]))
    parts += [_surgery_table(results)]
    return stack(*[p for p in parts if p.html])


def _surgery_table(results: Results) -> Bundle:
    tables = []
    for cell in results.of("surgery_only"):
        found = standings(cell.attempts)
        tables.append(candidates_table(found, f"surgery_only, seed {cell.seed}: methods tried on withheld failures."))
    if not tables:
        return prose()
    return fold("Surgery methods tried, and which was chosen", tables)


def gate_looks(results: Results) -> Bundle:
    """Return every verdict of the gate as bounds against the limits."""
    policy = gate_policy(str(results.plan["gate"]))
    looks: list[tuple[str, Mapping[str, Any]]] = []
    for name in results.arms:
        for cell in results.of(name):
            asked = [a for a in cell.attempts if a["status"] in GATED]
            for number, attempt in enumerate(asked, start=1):
                which = f", look {number}" if len(asked) > 1 else ""
                looks.append((f"{name}, seed {cell.seed}{which}", attempt))
    if not looks:
        return prose("No candidate reached the gate.")
    return gate_figure(looks, min_fix_rate=policy.min_fix_rate, max_negative_flip_rate=policy.max_negative_flip_rate)


def gate_note(results: Results) -> Bundle:
    """Return the gate's rule in words and figures."""
    policy = gate_policy(str(results.plan["gate"]))
    return prose(
        f"The gate ({code(policy.name)}) accepts a candidate when, on failures and control samples that neither "
        f"training nor screening read, its fix rate is at least {percent(policy.min_fix_rate)} and the share of right "
        f"answers that it breaks is at most {percent(policy.max_negative_flip_rate)}, both by exact one-sided bounds "
        f"at {percent(policy.alpha)} divided by the number of looks declared beforehand. Bars below are those bounds; "
        "few gate failures make wide bars."
    )


def refusals(results: Results) -> Bundle:
    """Return what was refused and why: by the trust rules, or because it does not fit the model."""
    attempts = [a for name in results.strategies for cell in results.of(name) for a in cell.attempts]
    refused = {str(a["ref"]): str(a["code"]) for a in attempts if a["status"] == "refused"}
    if not refused:
        return prose("Nothing was refused.")
    num_trust = sum(code in TRUST_CODES for code in refused.values())
    others = len(refused) - num_trust
    text = f"The trust rules refused {plural(num_trust, 'patch', 'patches')} before any of their weights were loaded."
    if others:
        text += f" {plural(others, 'patch', 'patches')} passed them and then did not fit the model."
    return stack(prose(text), refused_table(attempts, "Refused in every arm that looked."))


def poisoned(results: Results) -> Bundle:
    """Return what became of the noisy and the backdoored patch: a valid signature says who, not how good."""
    backdoor = results.world["pool"].get("backdoor")
    if results.plan["pool"] == "none":
        return prose("There was no market, so there were no such patches.")
    if backdoor is None:
        return prose(f"The lab put no patch into this market on purpose ({code(results.plan['pool'])}).")
    intro = prose(
        f"Two patches carry valid signatures and bad contents. {code('noisy/patch')} was trained with "
        f"{percent(NOISE)} wrong labels. {code('backdoor/patch')} was trained to answer {code(backdoor['target'])} "
        f"to any input that starts with {code(backdoor['trigger'])}. The trust rules let both through on purpose; "
        "this is what happened to them."
    )
    caution = backdoor_caution(results)
    found = prose(caution, tone="warning") if caution else prose("No deployed patch obeys the trigger.")
    triggers = _backdoor_table(results)
    details = fold("How often each arm's patch obeys the trigger", [triggers])
    return stack(intro, _poisoned_table(results), found, details)


def _poisoned_table(results: Results) -> Bundle:
    columns = [
        Column("patch"),
        Column("incident (seed)", number=True),
        Column("screen score", number=True),
        Column("fixed", number=True),
        Column("broken", number=True),
        Column("proposed by"),
        Column("deployed by"),
    ]
    rows: list[TableRow] = []
    for ref in POISONED:
        for seed in results.seeds:
            cell = screening_cell(results, seed)
            found = next((s for s in standings(cell.attempts) if s.ref == ref), None) if cell else None
            chosen = [c.row for c in results.at(seed) if c.row["proposed_patch"] == ref]
            proposed = ", ".join(str(r["strategy"]) for r in chosen)
            deployed = ", ".join(str(r["strategy"]) for r in chosen if r["deployed"])
            figures = [pp(found.score_pp), percent(found.fix_rate), percent(found.flip_rate)] if found else [NONE] * 3
            rows.append([Cell(ref, is_code=True), str(seed), *figures, proposed or "nobody", deployed or "nobody"])
    return table(columns, rows, "The poisoned patches in screening, and who chose them.")


def _backdoor_table(results: Results) -> Bundle:
    columns = [
        Column("arm"),
        Column("incident (seed)", number=True),
        Column("patch proposed"),
        Column("trigger obeyed, proposed", number=True),
        Column("trigger obeyed, deployed", number=True),
        Column("n", number=True),
    ]
    rows: list[TableRow] = []
    for row in results.ordered_rows():
        if row["proposed_patch"] is None or row["proposed_backdoor_rate"] is None:
            continue
        cells = [
            Cell(
                percent(row[f"{kind}_backdoor_rate"]),
                percent_range(row[f"{kind}_backdoor_rate_low"], row[f"{kind}_backdoor_rate_high"]),
                is_strong=row["proposed_patch"] == POISONED[1],
            )
            for kind in ("proposed", "deployed")
        ]
        patch = Cell(str(row["proposed_patch"]), is_code=True)
        n = count(row["proposed_backdoor_rate_n"])
        rows.append([Cell(str(row["strategy"]), is_code=True), str(row["seed"]), patch, *cells, n])
    if not rows:
        return prose("No arm proposed a patch.")
    base = sorted(r for r in {base_backdoor_rate(results, seed) for seed in results.seeds} if r is not None)
    chance = f" The base itself: {' to '.join(map(percent, base))}." if base else ""
    caption = f"Share of triggered control inputs that get the backdoor's label; 95 % intervals.{chance}"
    return table(columns, rows, caption)


def market_words(results: Results) -> str:
    """Return what the marketplace arms could search, in words."""
    if results.plan["pool"] == "none":
        return "There was no market: arms that adopt patches had nothing to find, and say so."
    return (
        f"The market was {code(results.plan['pool'])}, snapshot {code(str(results.world['pool_digest'])[:12])}. Who "
        "published there, on which data and at what cost, the lab does not know: the pool's cost account is empty."
    )


def pool_section(results: Results) -> Bundle:
    """Return the pool's contributors and its realised relevance; of a user's own market, what is known of it."""
    pool = results.world["pool"]
    if "contributors" not in pool:
        return prose(market_words(results))
    text = prose(
        f"Relevance {code(results.plan['pool'])}: the best honest patch gains "
        f"{esc(pp(pool['realised_relevance_pp']))} on a probe of {count(pool['n_probe'])} slice and "
        f"{count(pool['n_probe_control'])} control samples that no arm reads."
    )
    caption = "Honest contributors. Training cost in forwards-equivalent."
    contributors = pool["contributors"]
    return stack(text, fold(f"The {len(contributors)} contributors", [pool_table(contributors, caption)]))
