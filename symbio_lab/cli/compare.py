"""``symbio compare``: run strategies on one world under one judge, over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.cli.compare_output import print_comparison, summary_table
from symbio_lab.cli.heal import check_plan
from symbio_lab.cli.own_data import compare_own, exclusive_problems, print_own
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag, session_of

DEFAULT_STRATEGIES = "noop,null_pool,best_single,surgery_only,marketplace_first"


def compare(
    context: typer.Context,
    scenario: Annotated[str | None, typer.Option(help="A world: helpdesk (default), clinc150/travel ...")] = None,
    model: Annotated[str | None, typer.Option(help="Your own model: folder or Hub id. Needs --data.")] = None,
    data: Annotated[str | None, typer.Option(help="Its labelled traffic: CSV, JSONL (.gz), Parquet, Hub id.")] = None,
    text_field: Annotated[str | None, typer.Option(help="Column of the input text; default: text.")] = None,
    label_field: Annotated[str | None, typer.Option(help="Column of the gold label or output; default: label.")] = None,
    slice_: Annotated[str | None, typer.Option("--slice", help="FIELD=VALUE; default: failure patterns.")] = None,
    group_field: Annotated[str | None, typer.Option(help="Column of what splits keep together.")] = None,
    domain_field: Annotated[str | None, typer.Option(help="Column whose values the failure patterns are.")] = None,
    train: Annotated[str | None, typer.Option(help="Table that the model learned from: replay.")] = None,
    market: Annotated[str | None, typer.Option(help="Folder of patches; default: none.")] = None,
    task: Annotated[
        str | None, typer.Option(help="text_classification or text_generation; default: the model's.")
    ] = None,
    max_rows: Annotated[int | None, typer.Option(help="Rows kept of a table, evenly drawn; default: 50,000.")] = None,
    pool: Annotated[
        str | None, typer.Option(help="Relevance of the pool: null, low, medium or high (default).")
    ] = None,
    strategies: Annotated[str, typer.Option(help="Names, separated by commas.")] = DEFAULT_STRATEGIES,
    n_repair: Annotated[int, typer.Option(help="Labelled failures given, at least 2.")] = 16,
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas.")] = "0",
    world_seed: Annotated[int | None, typer.Option(help="Draws the base and the pool; default: 0.")] = None,
    contributor_size: Annotated[int | None, typer.Option(help="32, 128 or 512; default: the world's.")] = None,
    base_per_label: Annotated[
        int | None, typer.Option(help="Training samples of the base for each label, at most; default: the world's.")
    ] = None,
    gate: Annotated[str, typer.Option(help="lab or strict.")] = "lab",
    budget_forwards: Annotated[float | None, typer.Option(help="Forwards-equivalent; default: by world.")] = None,
    n_control: Annotated[int, typer.Option(help="Control samples for the gate, at most.")] = 1000,
    max_patches: Annotated[int, typer.Option(help="Marketplace patches tried, at most.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Results folder; default: runs/ in the state folder.")] = None,
    report: Annotated[bool, typer.Option(help="Render report.html.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Compare strategies: results.parquet, summary.json, report.html. Running it again resumes."""
    from symbio_lab.comparison.compare import compare as run_comparison
    from symbio_lab.comparison.plan import ComparisonPlan

    own_flags: dict[str, Any] = {"data": data, "text_field": text_field, "label_field": label_field, "slice": slice_}
    own_flags |= {"group_field": group_field, "domain_field": domain_field, "train": train, "market": market}
    own_flags |= {"task": task, "max_rows": max_rows}
    of_scenario: dict[str, Any] = {"pool": pool, "world_seed": world_seed, "contributor_size": contributor_size}
    of_scenario["base_per_label"] = base_per_label
    problems = exclusive_problems(scenario, model, own_flags, of_scenario)
    numbers, wrong = parse_seeds(seeds)
    scenario, pool = scenario or "helpdesk", pool or "high"
    plan = ComparisonPlan(
        scenario,
        pool=pool,
        strategies=names_of(strategies),
        # A stand-in when the seeds themselves are wrong, so that all else is checked too.
        seeds=numbers or (0,),
        world_seed=world_seed or 0,
        n_repair=n_repair,
        n_control=n_control,
        contributor_size=contributor_size,
        base_per_label=base_per_label,
        gate=gate,
        budget_forwards=budget_forwards,
        max_marketplace_patches=max_patches,
    )
    problems += wrong
    if model is not None:
        found = compare_own(session_of(context), model, own_flags, plan, out=out, report=report, problems=problems)
        print_own(found, as_json)
        return
    check_plan(plan, tuple(problems))
    settings = session_of(context).settings
    folder = out or settings.runs / f"{scenario.replace('/', '-')}-{pool}-n{n_repair}"
    with progress(phases=False) as listener:
        done = run_comparison(plan, folder, settings=settings, listener=listener)
    page = None
    if report:
        from symbio_lab.reports.writing import write_report

        page = write_report(folder)
    if as_json:
        files = {"results": folder / "results.parquet", "summary_file": folder / "summary.json", "report": page}
        print_json({"out": folder, **files, "num_rows": len(done.rows), "summary": done.summary})
        return
    print_table(*summary_table(done.summary))
    print_comparison(done.summary)
    print(f"report: {page}" if page else f"results: {folder / 'results.parquet'}")


def names_of(text: str) -> tuple[str, ...]:
    """Return names that were separated by commas.

    >>> names_of("noop, lora")
    ('noop', 'lora')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_seeds(text: str) -> tuple[tuple[int, ...], list[str]]:
    """Return the seeds, and what is wrong with them.

    >>> parse_seeds("0,1"), parse_seeds("0,x")
    (((0, 1), []), ((), ["--seeds: 'x' is not a whole number of 0 or more"]))
    """
    parts = names_of(text)
    bad = [part for part in parts if not (part.isascii() and part.isdigit())]
    problems = [f"--seeds: {part!r} is not a whole number of 0 or more" for part in bad]
    if not parts:
        problems.append("--seeds: no seeds given")
    return (() if problems else tuple(int(part) for part in parts)), problems
