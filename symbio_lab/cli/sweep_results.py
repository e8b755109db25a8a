"""``symbio sweep verify`` and ``commit``: are the results what comes out again, and which files of them to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag
from symbio_lab.cli.sweep import FAILED

DIFFERENT = 7
"""Exit code: a repeated run gave another figure."""


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, or of an experiment's results.")],
    out: Annotated[Path, typer.Option(help="New folder for the repeated runs.")],
    share: Annotated[float, typer.Option(help="Share of the finished runs that is repeated.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Draws the runs.")] = 0,
    as_json: JsonFlag = False,
) -> int:
    """Run a random share again, from nothing; every figure but times must come out equal. Exit 7 if one does not."""
    from symbio_lab.sweeps.results import read_rows
    from symbio_lab.sweeps.verifying import verify_sweep

    with progress(phases=False) as listener:
        found = verify_sweep(read_rows(folder), out, share=share, seed=seed, listener=listener)
    if as_json:
        print_json(found)
    else:
        print(f"{found.num_drawn} of {found.num_finished} runs repeated: {found.num_rows} rows, ", end="")
        print(f"{found.num_figures:,} values, {len(found.differences)} differ")
        for reason in found.failed:
            print(f"failed: {reason}")
        shown = found.differences[:20]
        if shown:
            lines = [(str(dict(d.parameters)), d.row, d.column, str(d.reported), str(d.again)) for d in shown]
            print_table(("run", "row", "column", "reported", "again"), lines)
    return FAILED if found.failed else DIFFERENT if found.differences else 0


def commit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep.")],
    to: Annotated[Path, typer.Option(help="Folder of the experiment; files go to its results/.")],
    by: Annotated[str, typer.Option(help="Column: one file for each of its values.")] = "scenario",
    as_json: JsonFlag = False,
) -> None:
    """Write the rows of finished runs as small files that belong into version control."""
    from symbio_lab.sweeps.plan import read_plan
    from symbio_lab.sweeps.results import commit_rows

    paths = commit_rows(read_plan(folder), to, by)
    if as_json:
        print_json({"files": paths})
        return
    for path in paths:
        print(f"{path} {path.stat().st_size:,} bytes")
