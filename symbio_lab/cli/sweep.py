"""``symbio sweep``: many notebook runs from one file, resumable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag
from symbio_lab.errors import NotFoundError

sweep_app = typer.Typer(name="sweep", help="Run a notebook over a grid of parameters.", no_args_is_help=True)
EngineName = Annotated[str | None, typer.Option("--engine", help="local, ray or slurm; default: the file's.")]
Slots = Annotated[int | None, typer.Option(help="Runs at once; default: the file's.")]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="NAME=VALUE", help="Run this part alone; may be repeated.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep.")]
FAILED = 6
"""Exit code: some runs failed; the finished ones are kept."""


@sweep_app.command("run")
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Sweep file (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; what is finished there is kept.")],
    engine: EngineName = None,
    slots: Slots = None,
    only: Only = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not take runs from committed results beside FILE.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Run every cell that is not finished; exit 6 if some failed."""
    from symbio_lab.sweeps.adopting import adopt_runs
    from symbio_lab.sweeps.plan import make_plan

    plan = make_plan(file, out)
    taken = 0 if fresh else adopt_runs(plan, file.parent)
    if taken:
        where = file.parent / "results"
        print(f"{taken} of {len(plan.runs)} runs taken from {where}; --fresh computes them again", file=sys.stderr)
    return _run(plan, engine, slots, only, as_json)


@sweep_app.command("resume")
def resume(
    folder: Folder, engine: EngineName = None, slots: Slots = None, only: Only = None, as_json: JsonFlag = False
) -> int:
    """Run only what is missing or failed."""
    from symbio_lab.sweeps.plan import read_plan

    return _run(read_plan(folder), engine, slots, only, as_json)


@sweep_app.command("status")
def status(folder: Folder, as_json: JsonFlag = False) -> None:
    """Show what is finished, running, failed and why."""
    from symbio_lab.sweeps.status import sweep_status

    found = sweep_status(folder)
    if as_json:
        print_json(found)
        return
    print(f"{found.name}: {found.num_finished} of {found.num_runs} finished, {len(found.running)} running, ", end="")
    print(f"{len(found.failed)} failed, {found.num_waiting} waiting{', cancelled' if found.cancelled else ''}")
    if found.failed:
        print_table(("runs", "why"), [(str(count), reason) for reason, count in found.reasons])


@sweep_app.command("cancel")
def cancel(folder: Folder) -> None:
    """Stop a sweep, wherever it runs; finished runs stay, resume goes on."""
    from symbio_lab.sweeps.plan import read_plan
    from symbio_lab.sweeps.runner import cancel_sweep

    cancel_sweep(read_plan(folder).folder)
    print(f"cancelled: {folder}; go on with: symbio sweep resume {folder}")


def _engine(plan: Any, engine: str | None, slots: int | None) -> Any:
    """Return the file's engine, or what the flags make of it; another engine does not know the file's options."""
    from symbio_lab.errors import ConfigError
    from symbio_lab.sweeps.engines.choosing import choose_engine
    from symbio_lab.sweeps.spec import ENGINES

    choice = plan.spec.engine
    problems = [] if engine in (None, *ENGINES) else [f"--engine {engine}: use one of {', '.join(ENGINES)}"]
    problems += [] if slots is None or slots >= 1 else ["--slots must be at least 1"]
    if problems:
        raise ConfigError(problems)
    if engine is not None and engine != choice.name:
        choice = choice.model_copy(update={"name": engine, "options": {}})
    return choose_engine(choice if slots is None else choice.model_copy(update={"slots": slots}))


def _run(plan: Any, engine: str | None, slots: int | None, only: list[str] | None, as_json: bool) -> int:
    from symbio_lab.sweeps.collecting import write_results
    from symbio_lab.sweeps.runner import run_sweep

    chosen, part = _engine(plan, engine, slots), plan.only(only) if only else plan
    with progress(phases=False) as listener:
        done = run_sweep(part, engine=chosen, listener=listener)
    try:
        results = write_results(plan) if done.finished else None
    except NotFoundError:
        results = None
    figures = {
        "out": done.folder,
        "num_runs": len(part.runs),
        "num_finished": len(done.finished),
        "failed": [{"key": r.key, "failure": r.failure, "reason": r.reason} for r in done.failed],
        "num_missing": len(done.missing),
        "results": results,
    }
    code = FAILED if done.failed or done.missing else 0
    if as_json:
        print_json(figures)
        return code
    print(f"{len(done.finished)} of {len(part.runs)} runs finished, {len(done.failed)} failed")
    for record in done.failed:
        print(f"{record.key} {record.failure}: {record.reason}")
        print(f"  notebook: {done.folder / 'failed' / record.key / 'notebook.ipynb'}")
    if code:
        print(f"go on with: symbio sweep resume {done.folder}")
    print(f"results: {results}" if results else f"out: {done.folder}")
    return code
