"""What was asked, what was registered, and what came of it: the first page of a sweep's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import NONE, plural, pp, pp_range
from symbio_lab.display.prose import code, esc, fold, prose, stack, strong
from symbio_lab.display.table import Cell, Column, TableRow, name, table
from symbio_lab.display.words import arm
from symbio_lab.reports.sweep.contrasts import ROPE_PP, Contrast, registered_contrasts
from symbio_lab.reports.sweep.results import SweepResults
from symbio_lab.stats.bootstrap import MIN_BLOCKS

ALPHA = 0.05
METRICS = {
    "deployed_net_gain_pp": "net gain of what was deployed: percentage points of right answers gained, in traffic of "
    "which one tenth is the failing slice; 0 where the gate let nothing through",
    "proposed_net_gain_pp": "net gain of the candidate, whatever the gate said of it",
}


def asked(results: SweepResults) -> Bundle:
    """Return what the sweep was about, for somebody who never saw the project."""
    spec, rows = results.rows.spec, results.rows
    worlds = len(results.incidents())
    sizes, pools = ", ".join(map(str, results.sizes)), ", ".join(results.pools)
    first = (
        f"{esc(spec.description)} " if spec.description else ""
    ) + "A language model in use fails on one kind of input. It can be healed by adopting a signed patch that somebody "
    what = (
        first + "else made, or by operating on it with a few labelled failures. Both were done for real, on the same "
        "failures, under the same budget, and judged on the same held-out samples."
    )
    size = (
        f"Here: {strong(plural(worlds, 'incident'))} (a world: a base model and what it fails on), "
        f"{esc(sizes)} labelled failures given, pools of patches of {esc(pools)} relevance, "
        f"{plural(len(results.arms), 'arm')}; {rows.num_finished:,} of {plural(rows.num_runs, 'run')} finished, "
        f"{len(rows.frame):,} rows."
    )
    metric = f"Primary metric {code(results.metric)}: {esc(METRICS.get(results.metric, 'as the sweep file names it'))}."
    return stack(prose(what, size, metric), _unfinished(results))


def _unfinished(results: SweepResults) -> Bundle:
    rows = results.rows
    missing = rows.num_runs - rows.num_finished
    texts = []
    if missing:
        texts.append(
            f"{plural(missing, 'run')} of {rows.num_runs:,} have no results yet. Every figure below is over what is "
            "there; incidents that one side of a comparison lacks are left out of it."
        )
    for key, reason in rows.failed[:10]:
        texts.append(f"Failed: run {code(key)}, {esc(reason)}")
    return prose(*texts, tone="warning")


def registered(results: SweepResults) -> Bundle:
    """Return the registered contrasts in words and as a table; says so where there are none."""
    contrasts = registered_contrasts(results, alpha=ALPHA)
    if not results.rows.spec.contrasts:
        return prose(
            "The sweep file registers no contrast, so everything in this report is exploratory: patterns to test on "
            "other incidents, not findings.",
            tone="warning",
        )
    if not contrasts:
        return prose("None of the registered contrasts has results yet.", tone="warning")
    pairs: dict[tuple[str, str], list[Contrast]] = {}
    for contrast in contrasts:
        pairs.setdefault((contrast.first, contrast.second), []).append(contrast)
    told = [
        "<br>\n".join([f"{code(first)} against {code(second)}:", *map(sentence, own)])
        for (first, second), own in pairs.items()
    ]
    return stack(prose(*told, tone="headline"), _few(contrasts), contrasts_table(contrasts, results))


def sentence(contrast: Contrast) -> str:
    """Return what came of one contrast in words, as HTML; its pair is named before it."""
    better, even, worse = contrast.counts
    n = len(contrast.differences)
    where = ", ".join(_at(name, value) for name, value in contrast.stratum.items())
    value = pp(contrast.mean.value)
    bounds = pp_range(contrast.mean.low, contrast.mean.high)
    verdict = _verdict(contrast)
    at = f"{esc(where)}: " if where else ""
    ties = f", equal in {even}" if even else ""
    return (
        f"{at}{strong(f'{value} {bounds}'.strip())} on average "
        f"over {plural(n, 'incident')}, better in {better}{ties}, worse in {worse}. {esc(verdict)}"
    )


def _at(parameter: str, value: Any) -> str:
    """Return one stratum in words."""
    return f"at {value} failures" if parameter == "n_repair" else f"{_word(parameter)} {value}"


def _verdict(contrast: Contrast) -> str:
    if contrast.p_adjusted is None:
        few = f"Exploratory: fewer than {MIN_BLOCKS} incidents." if contrast.is_exploratory else ""
        if contrast.is_complete:
            return few or "Not tested: other registered contrasts lack incidents."
        num_in = len(contrast.planned & set(contrast.differences))
        return f"{few} Not tested: {num_in} of {len(contrast.planned)} incidents are in.".strip()
    p = f"p = {contrast.p_adjusted:.2g} after correction"
    if contrast.p_adjusted > ALPHA:
        return f"No difference is shown ({p}){_equality(contrast)}."
    better = contrast.first if (contrast.mean.value or 0) > 0 else contrast.second
    return f"{better} gains more ({p})."


def _equality(contrast: Contrast) -> str:
    """Return what can be said of a difference that no test shows."""
    if contrast.practical is None:
        return ""
    equal = contrast.practical.practically_equal
    said = f"; less than {ROPE_PP:g} pp lies between the two with probability {equal:.2f}"
    if equal < 1 - ALPHA and contrast.blocks_needed is not None:
        said += f", and {plural(contrast.blocks_needed, 'incident')} would be needed to find that much"
    return said


def _few(contrasts: tuple[Contrast, ...]) -> Bundle:
    few = [c for c in contrasts if c.is_exploratory]
    texts = []
    if any(c.p is None and not c.is_exploratory for c in contrasts):
        texts.append(
            "Not every registered incident is in, so that nothing is tested yet: p-values of a part, looked at before "
            "the end, would be wrong more often than they say."
        )
    if few:
        texts.append(
            f"{len(few)} of {len(contrasts)} registered contrasts: fewer than {MIN_BLOCKS} incidents, and so "
            "exploratory, without interval and p-value."
        )
    return prose(*texts, tone="warning")


def contrasts_table(contrasts: tuple[Contrast, ...], results: SweepResults) -> Bundle:
    """Return the registered contrasts, one row each."""
    columns = [
        Column("contrast"),
        Column("where"),
        Column("mean difference", number=True),
        Column("incidents better / equal / worse", number=True),
        Column("p, signed-rank", number=True),
        Column("p, Holm", number=True),
        Column(f"P(first by {ROPE_PP:g} pp / within / second)", number=True),
        Column(f"incidents for {ROPE_PP:g} pp", number=True),
    ]
    rows: list[TableRow] = []
    for c in contrasts:
        bounds = f"{pp_range(c.mean.low, c.mean.high)}\nn = {len(c.differences)}".strip()
        counts = " / ".join(map(str, c.counts))
        rows.append(
            [
                name(f"{c.first} - {c.second}"),
                stratum_words(c),
                Cell(pp(c.mean.value), bounds),
                counts,
                _p(c.p),
                _p(c.p_adjusted),
                _practical(c),
                NONE if c.blocks_needed is None else f"{c.blocks_needed:,}",
            ]
        )
    fixed = "; ".join(f"{k} {_listed(v)}" for k, v in results.rows.spec.contrasts_where.items())
    caption = (
        f"Registered before the first run, on {results.metric}{f', rows with {fixed}' if fixed else ''}. In brackets: "
        "95 % intervals from resampling incidents. Two-sided Wilcoxon signed-rank tests over incidents; those without "
        f"a difference do not count. Holm's correction over all {len(contrasts)} tests. P: probability that the first "
        f"arm gains over {ROPE_PP:g} pp more, that less lies between the two, that the second gains over "
        f"{ROPE_PP:g} pp more (Bayesian signed-rank test). Incidents for {ROPE_PP:g} pp: how many would find a "
        "difference that large in four of five sweeps, at the strictest corrected level, with the spread seen here."
    )
    return table(columns, rows, caption)


def stratum_words(contrast: Contrast) -> str:
    """Return which part of the rows a contrast reads, for a table's cell."""
    return ", ".join(f"{_word(k)} {v}" for k, v in contrast.stratum.items()) or "all"


def _practical(contrast: Contrast) -> str:
    found = contrast.practical
    if found is None:
        return NONE
    return f"{found.first_better:.2f} / {found.practically_equal:.2f} / {found.second_better:.2f}"


def glossary(results: SweepResults) -> Bundle:
    """Return what every arm does, folded."""
    rows: list[TableRow] = [[name(a), arm(a)] for a in results.arms]
    return fold("What each arm does", [table([Column("arm"), Column("what it does")], rows)])


def exploratory_note(results: SweepResults) -> Bundle:
    """Return what the reader must know of everything that was not registered."""
    return prose(
        "Nothing from here on was registered. It describes these incidents, with intervals where there are enough of "
        "them; no p-value is given, and what looks like a pattern needs other incidents to become a finding.",
        tone="warning",
    )


def _word(parameter: str) -> str:
    return {"n_repair": "failures", "pool": "pool"}.get(parameter, parameter)


def _listed(values: Any) -> str:
    shown = [str(v) for v in values]
    return ", ".join(shown) if len(shown) <= 4 else f"{', '.join(shown[:3])} and {len(shown) - 3} more"


def _p(value: float | None) -> str:
    return NONE if value is None else f"{value:.2g}" if value >= 0.0001 else "< 0.0001"


def reading_where(results: SweepResults) -> Mapping[str, Any]:
    """Return the rows that single-pool figures show: those of the registered contrasts, else of the best pool."""
    where = dict(results.rows.spec.contrasts_where)
    where.setdefault("pool", [results.pools[0]])
    return where
