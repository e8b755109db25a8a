"""``symbio compare --model M --data D``: strategies on a user's own model and data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from symbio_lab.cli.compare_output import print_comparison, summary_table
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import Session, utc_now
from symbio_lab.errors import ConfigError

HINT = "own data: symbio compare --model PATH_OR_ID --data FILE"
OF_DATA = ("data", "text_field", "label_field", "slice", "group_field", "domain_field", "train", "max_rows")
"""Flags that say how the data are read; the others say what is run."""
MAX_SHOWN = 5
"""Patterns left out that are printed; summary.json has all."""


def exclusive_problems(
    scenario: str | None, model: str | None, own: dict[str, Any], of_scenario: dict[str, Any]
) -> list[str]:
    """Return what contradicts itself in the flags.

    Args:
        scenario: as given.
        model: as given.
        own: flags that only own data have, as given; those not given are None.
        of_scenario: flags that only scenarios have.
    """
    problems = []
    if model is None:
        if named := _given(own):
            problems.append(f"{named} need(s) --model")
        return problems
    if scenario is not None:
        problems.append("--scenario and --model exclude each other: a scenario brings its own model")
    if own["data"] is None:
        problems.append("--model needs --data: labelled traffic of the model, as a table or a Hub id")
    if named := _given(of_scenario):
        problems.append(f"{named}: only scenarios have this, not --model")
    return problems


def _given(flags: dict[str, Any]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name, value in flags.items() if value is not None)


def compare_own(
    session: Session,
    model: str,
    flags: dict[str, Any],
    plan: Any,
    *,
    out: Path | None,
    report: bool,
    problems: list[str],
) -> dict[str, Any]:
    """Run the comparison and return what ``print_own`` prints.

    Args:
        session: of the program.
        model: folder or Hub id.
        flags: those that only own data have; those not given are None.
        plan: what to run, a ``ComparisonPlan``.
        out: results folder, or None.
        report: whether to render pages.
        problems: found before.

    Raises:
        ConfigError: the request is wrong; everything at once.
    """
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.comparison.market import NO_MARKET, market_at
    from symbio_lab.comparison.own_data import OwnData, compare_own_data, overview, own_plan, own_problems, slug
    from symbio_lab.errors import NotFoundError

    market, task = flags["market"], flags["task"]
    given = {name: flags[name] for name in OF_DATA if flags[name] is not None}
    own = OwnData(**{"data": "", **given})
    settings, searched = session.settings, NO_MARKET
    try:
        if market is not None:
            opened = open_market(market, settings)
            searched = market_at(market, settings, now=utc_now(), policy=opened.policy)
    except (ConfigError, NotFoundError) as error:
        if not problems:
            raise
        problems = [*problems, str(error)]
    found = own_problems(own_plan(plan, searched), own, searched, task)
    if problems or found:
        raise ConfigError([*problems, *found], hint=HINT)
    folder = out or settings.runs / f"own-{slug(Path(model).name)}-{slug(Path(own.data).name)}-n{plan.n_repair}"
    with progress(phases=False) as listener:
        done = compare_own_data(
            model, own, folder, plan=plan, market=searched, task=task, settings=settings, listener=listener
        )
    pages = {}
    if report:
        from symbio_lab.reports.writing import write_report

        pages = {name: write_report(c.out) for name, c in done.comparisons.items()}
    return {"out": folder, "reports": pages, **overview(done), "comparisons": done.comparisons}


def print_own(result: dict[str, Any], as_json: bool) -> None:
    """Print the result of ``compare_own``."""
    comparisons = result.pop("comparisons")
    if as_json:
        print_json(result)
        return
    print(f"model: right on {result['accuracy']:.1%} of {result['num_rows']:,} rows")
    print(f"market: {result['market']}")
    for note in result["notes"]:
        print(f"note: {note}")
    for name, comparison in comparisons.items():
        print(f"slice: {name}")
        print_table(*summary_table(comparison.summary))
    for reason in result["left_out"][:MAX_SHOWN]:
        print(f"left out: {reason}")
    if (rest := len(result["left_out"]) - MAX_SHOWN) > 0:
        print(f"left out: {rest} more pattern(s), see {result['out'] / 'summary.json'}")
    print_comparison(next(iter(comparisons.values())).summary)
    for name in comparisons:
        page = result["reports"].get(name)
        print(f"report: {page}" if page else f"results: {comparisons[name].out / 'results.parquet'}")
