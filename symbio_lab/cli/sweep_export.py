"""``symbio sweep export``: the rows as a data set, in a folder or on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, or of an experiment's results.")],
    to: Annotated[Path, typer.Option(help="Folder of the data set.")],
    push: Annotated[str | None, typer.Option(help="owner/name: upload it to the Hugging Face Hub too.")] = None,
    licence: Annotated[str, typer.Option(help="Of the figures, as the Hub spells it.")] = "cc-by-4.0",
    as_json: JsonFlag = False,
) -> None:
    """Write the rows as a Hugging Face data set with a card; figures only, no data of others."""
    from symbio_lab.sweeps.dataset_export import export_dataset
    from symbio_lab.sweeps.hub import push_dataset
    from symbio_lab.sweeps.results import read_rows

    rows = read_rows(folder)
    made = export_dataset(rows, to, licence=licence, repo=push or "")
    address = push_dataset(made, push) if push else None
    if as_json:
        print_json({"folder": made, "num_rows": len(rows.frame), "address": address})
        return
    print(f"data set: {made} ({len(rows.frame):,} rows)")
    if address:
        print(f"on the Hub: {address}")
