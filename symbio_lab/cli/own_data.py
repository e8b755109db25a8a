"""``symbio compare --model M --data D``: strategies on a user's own model and data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from symbio_lab.cli.compare_output import print_comparison, summary_table
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import Session, utc_now
from symbio_lab.errors import ConfigError

NEEDS_MODEL = ("data", "slice", "train", "market", "task", "group_field")


def check_exclusive(scenario: str | None, model: str | None, **given: Any) -> None:
    """Raise what contradicts itself in the flags, everything at once.

    Raises:
        ConfigError: scenario and model together, or half of what one of them needs.
    """
    named = [f"--{name.replace('_', '-')}" for name in NEEDS_MODEL if given.get(name) is not None]
    problems = []
    if model is not None and scenario is not None:
        problems.append("--scenario and --model exclude each other: a scenario brings its own model")
    if model is not None and given.get("data") is None:
        problems.append("--model needs --data: labelled traffic of the model, as a table or a Hub id")
    if model is None and named:
        problems.append(f"{', '.join(named)} need(s) --model")
    if problems:
        raise ConfigError(problems, hint="own data: symbio compare --model PATH_OR_ID --data FILE")


def compare_own(
    session: Session,
    model: str,
    own: Any,
    plan: Any,
    market: str | None,
    task: str | None,
    out: Path | None,
    report: bool,
) -> dict[str, Any]:
    """Run the comparison and return what ``--json`` prints."""
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.comparison.market import NO_MARKET, market_at
    from symbio_lab.comparison.own_data import compare_own_data, overview, slug

    settings = session.settings
    plan.check()
    searched = NO_MARKET
    if market is not None:
        opened = open_market(market, settings)
        searched = market_at(market, settings, now=utc_now(), policy=opened.policy)
    folder = out or settings.runs / f"own-{slug(Path(model).name)}-{slug(Path(own.data).name)}-n{plan.n_repair}"
    with progress(phases=False) as listener:
        done = compare_own_data(
            model, own, folder, plan=plan, market=searched, task=task, settings=settings, listener=listener
        )
    pages = {}
    if report:
        from symbio_lab.reports.executing import write_report

        pages = {name: write_report(c.out) for name, c in done.comparisons.items()}
    return {"out": folder, "reports": pages, **overview(done), "comparisons": done.comparisons}


def print_own(result: dict[str, Any], as_json: bool) -> None:
    """Print the result of ``compare_own``."""
    comparisons = result.pop("comparisons")
    if as_json:
        print_json(result)
        return
    print(f"model: right on {result['accuracy']:.1%} of {result['num_rows']} rows")
    if result["market"] == "none":
        print("market: none; arms that adopt patches find nothing (give one with --market)")
    for name, comparison in comparisons.items():
        print(f"slice: {name}")
        print_table(*summary_table(comparison.summary))
    for reason in result["left_out"]:
        print(f"left out: {reason}")
    print_comparison(next(iter(comparisons.values())).summary)
    for name in comparisons:
        page = result["reports"].get(name)
        print(f"report: {page}" if page else f"results: {comparisons[name].out / 'results.parquet'}")
