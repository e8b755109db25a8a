"""``symbio demo``: the main job on the embedded scenario, through the notebook, with a report at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.cli.compare import DEFAULT_STRATEGIES, names_of
from symbio_lab.cli.printing import interval_text, number_text, print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag, session_of
from symbio_lab.errors import StorageError
from symbio_lab.events import Event

SCENARIO, POOL, N_REPAIR = "helpdesk", "high", 16
QUICK_SEEDS, FULL_SEEDS = (0,), (0, 1, 2)


def demo(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Results folder; default: runs/demo in the state folder.")] = None,
    full: Annotated[bool, typer.Option("--full/--quick", help="Three incidents instead of one.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished cells again; base and pool stay.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Heal a failing model by marketplace and by surgery, and write a report. Running it again resumes."""
    import shutil

    from symbio_lab.kernels.executing import NotebookPrinted, execute_notebook
    from symbio_lab.reports.writing import write_report

    folder = (out or session_of(context).settings.runs / "demo").absolute()
    parameters: dict[str, Any] = {
        "scenario": SCENARIO,
        "pool": POOL,
        "strategies": list(names_of(DEFAULT_STRATEGIES)),
        "n_repair": N_REPAIR,
        "seeds": list(FULL_SEEDS if full else QUICK_SEEDS),
        "out": str(folder),
    }
    if fresh:
        shutil.rmtree(folder / "cells", ignore_errors=True)
    finished = len(list(folder.glob("cells/*/cell.json")))
    if finished:
        print(f"demo: keeps {finished} finished cells; --fresh runs them again", file=sys.stderr)
    print(f"demo: runs notebooks/heal.ipynb on {SCENARIO}, pool {POOL}, n_repair {N_REPAIR}", file=sys.stderr)
    with progress() as listener:

        def tell(event: Event) -> None:
            if not isinstance(event, NotebookPrinted):
                listener(event)
            elif event.text.strip():
                print(event.text, file=sys.stderr, flush=True)

        notebook = execute_notebook("heal", parameters, folder / "heal.ipynb", tell)
        print("demo: writes the report", file=sys.stderr)
        page = write_report(folder, listener=listener)
    rows = read_rows(folder / "results.parquet")
    table = [table_row(row) for row in rows]
    if as_json:
        print_json({"out": folder, "report": page, "notebook": notebook, "rows": table})
        return
    print_table(list(COLUMNS), [list(_texts(row)) for row in table])
    print(f"report: {page}")


COLUMNS = ("strategy", "seed", "status", "route", "fix rate", "net gain pp", "flips", "forwards")
"""Figures are those of what was deployed: the unpatched base where the gate accepted nothing."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the result rows of a finished comparison.

    Raises:
        StorageError: the file is missing or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_table(path).to_pylist())
    except (OSError, pyarrow.ArrowException) as error:
        raise StorageError(f"cannot read {path.name}: {error}", hint="run the same command again") from error


def table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the small table shows of a result row."""
    figures = {
        f"{name}{end}": row[f"deployed_{name}{end}"]
        for name in ("fix_rate", "net_gain_pp", "negative_flip_rate")
        for end in ("", "_low", "_high")
    }
    named = {name: row[name] for name in ("strategy", "seed", "status", "route")}
    return {**named, **figures, "cost_forwards_equivalent": row["cost_forwards_equivalent"]}


def _texts(row: Mapping[str, Any]) -> Sequence[str]:
    def figure(name: str, digits: int) -> str:
        return interval_text(row[name], row[f"{name}_low"], row[f"{name}_high"], digits=digits)

    return (
        str(row["strategy"]),
        str(row["seed"]),
        str(row["status"]),
        str(row["route"]),
        figure("fix_rate", 3),
        figure("net_gain_pp", 2),
        figure("negative_flip_rate", 4),
        number_text(row["cost_forwards_equivalent"]),
    )
