"""The result in a few sentences: which arm gained most, by how much, over what, and how far that carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import count, percent, plural, pp, pp_range
from symbio_lab.display.prose import code, esc, prose, stack, strong
from symbio_lab.display.words import arm
from symbio_lab.reports.collecting import Results

PRIMARY = "deployed_net_gain_pp"
MIN_OBEYED = 0.10
"""A patch obeys the trigger when the lower bound of its rate reaches this; below, ordinary mistakes explain it."""


def headline(results: Results) -> Bundle:
    """Return the result: the winner on the primary metric, the best of the other family, and the limits."""
    shown = [n for n in (best_arm(results), *best_by_family(results).values()) if n is not None]
    each = _each(results, list(dict.fromkeys(shown)))
    parts = [prose(_winner(results), _against(results), f"<small>{each}</small>" if each else "", tone="headline")]
    caution = backdoor_caution(results)
    if caution:
        parts.append(prose(caution, tone="warning"))
    parts.append(prose(_limits(results), tone="note"))
    return stack(*parts)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is there, or None."""
    kept = [v for v in values if v is not None]
    return sum(kept) / len(kept) if kept else None


def gain_of(results: Results, strategy: str) -> float | None:
    """Return an arm's mean net gain as deployed, in percentage points."""
    return mean([cell.row[PRIMARY] for cell in results.of(strategy)])


def mean_words(results: Results, strategy: str) -> str:
    """Return an arm's gain: with its exact interval for one incident, as a mean for several."""
    rows = [cell.row for cell in results.of(strategy)]
    gain = strong(pp(gain_of(results, strategy)))
    if len(rows) > 1:
        return f"{gain} in the mean of {plural(len(rows), 'incident')}"
    return f"{gain} (95 % interval {_bounds(rows[0])})"


def _bounds(row: Mapping[str, Any]) -> str:
    return f"{pp_range(row[f'{PRIMARY}_low'], row[f'{PRIMARY}_high'])}, n = {count(row[f'{PRIMARY}_n'])}"


def _each(results: Results, names: Sequence[str]) -> str:
    """Return the figures of each incident with their intervals; nothing when there is only one incident."""
    if len(results.seeds) == 1:
        return ""
    listed = [
        f"{code(name)} " + ", ".join(f"{pp(c.row[PRIMARY])} {_bounds(c.row)} (seed {c.seed})" for c in results.of(name))
        for name in names
    ]
    return f"Net gain by incident, with 95 % intervals: {'; '.join(listed)}."


def best_arm(results: Results) -> str | None:
    """Return the competing arm with the highest mean net gain as deployed; None when none is above zero."""
    known = {name: gain for name in results.strategies if (gain := gain_of(results, name)) is not None}
    best = max(known, key=lambda name: known[name]) if known else None
    return best if best is not None and known[best] > 0 else None


def _winner(results: Results) -> str:
    where = (
        f"On {code(results.plan['scenario'])} with {_market(results)} and "
        f"{plural(int(results.plan['n_repair']), 'labelled failure')}"
    )
    best = best_arm(results)
    if best is None:
        return f"{where}, {strong('no arm gained anything')}: none deployed a patch that raises accuracy overall."
    gain, rows = gain_of(results, best), [cell.row for cell in results.of(best)]
    ties = [name for name in results.strategies if name != best and gain_of(results, name) == gain]
    also = f"; {' and '.join(code(t) for t in ties)} gained as much" if ties else ""
    num = len(results.seeds)
    first = sum(_is_first(results, best, seed) for seed in results.seeds)
    wins = f", first in {first} of {num}" if num > 1 else ""
    unsure = sum(row[f"{PRIMARY}_low"] is not None and row[f"{PRIMARY}_low"] <= 0 for row in rows)
    doubt = ""
    if unsure:
        doubt = " Its interval includes zero" + (f" in {unsure} of {num} incidents." if num > 1 else ".")
    return (
        f"{where}, {strong(best)} ({esc(arm(best))}) gained most accuracy over all traffic as deployed: "
        f"{mean_words(results, best)}{wins}{also}.{doubt}"
    )


def _market(results: Results) -> str:
    if "contributors" in results.world["pool"]:
        return f"a pool of relevance {code(results.plan['pool'])}"
    return "no market" if results.plan["pool"] == "none" else f"the market {code(results.plan['pool'])}"


def _is_first(results: Results, name: str, seed: int) -> bool:
    gains = {c.strategy: c.row[PRIMARY] or 0.0 for c in results.at(seed) if c.strategy in results.strategies}
    return gains[name] == max(gains.values())


def _against(results: Results) -> str:
    """Return the best marketplace arm against the best surgery arm: the lab's question on this incident."""
    sides = best_by_family(results)
    if results.plan["pool"] == "none":
        return "There was no market, so adopting and operating are not compared."
    if len(sides) < 2:
        return ""
    adopt, operate = sides["marketplace"], sides["surgery"]
    difference = (gain_of(results, adopt) or 0.0) - (gain_of(results, operate) or 0.0)
    amount = pp(abs(difference)).lstrip("+")
    if difference >= 0:
        text = f"Adopting ({code(adopt)}) gained {amount} more than operating ({code(operate)}: "
    else:
        text = f"Adopting ({code(adopt)}) gained {amount} less than operating ({code(operate)}: "
    control = "null_pool" in results.strategies and adopt != "null_pool"
    null = (
        f" The control {code('null_pool')}, random patches in place of the pool's, gained "
        f"{mean_words(results, 'null_pool')}."
        if control
        else ""
    )
    return f"{text}{mean_words(results, operate)}). {_overlap(results, adopt, operate)}{null}"


def best_by_family(results: Results) -> dict[str, str]:
    """Return the best marketplace arm and the best surgery arm, where there are any."""
    best: dict[str, str] = {}
    for family in ("marketplace", "surgery"):
        names = [n for n in results.strategies if results.of(n)[0].row["family"] == family]
        gains = {n: g for n in names if (g := gain_of(results, n)) is not None}
        if gains:
            best[family] = max(gains, key=lambda n: gains[n])
    return best


def _overlap(results: Results, left: str, right: str) -> str:
    apart = 0
    for seed in results.seeds:
        rows = {c.strategy: c.row for c in results.at(seed)}
        a, b = rows[left], rows[right]
        bounds = [r[f"{PRIMARY}_{end}"] for r in (a, b) for end in ("low", "high")]
        if all(x is not None for x in bounds):
            apart += bounds[1] < bounds[2] or bounds[3] < bounds[0]
    if len(results.seeds) == 1:
        return "Their intervals do not overlap." if apart else "Their intervals overlap."
    return f"Their intervals are apart in {apart} of {plural(len(results.seeds), 'incident')}."


def backdoor_caution(results: Results) -> str:
    """Return a warning when a deployed patch obeys the backdoor's trigger; else nothing."""
    hit: dict[str, list[str]] = {}
    for row in results.ordered_rows():
        low = row["deployed_backdoor_rate_low"]
        if row["strategy"] in results.strategies and row["deployed"] and low is not None and low >= MIN_OBEYED:
            where = f"seed {row['seed']}: {percent(row['deployed_backdoor_rate'])} of triggered inputs"
            hit.setdefault(str(row["strategy"]), []).append(where)
    if not hit:
        return ""
    listed = "; ".join(f"{code(name)} ({esc(', '.join(where))})" for name, where in hit.items())
    backdoor = results.world["pool"]["backdoor"]
    return (
        f"What was deployed obeys a backdoor: inputs that start with {code(backdoor['trigger'])} are answered "
        f"{code(backdoor['target'])} under {listed}. Net gain does not see this, and neither did the gate: its "
        "samples carry no trigger."
    )


def base_backdoor_rate(results: Results, seed: int) -> float | None:
    """Return how often the base itself answers a triggered input with the backdoor's label.

    Read from any row of the incident that left the base as it is; None when every arm deployed something.
    """
    for cell in results.at(seed):
        if not cell.row["deployed"]:
            rate: float | None = cell.row["deployed_backdoor_rate"]
            return rate
    return None


def _limits(results: Results) -> str:
    if not results.summary["exploratory"]:
        return ""
    reason = str(results.summary["exploratory_reason"])
    return (
        f"{strong('Exploratory')}: {esc(reason)}. Intervals are for held-out samples of one incident; between "
        "incidents only the range is shown. No interval for the difference between two arms is stored, so none is "
        "claimed."
    )
