"""``symbio sweep track``: the rows in an experiment tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag
from symbio_lab.errors import ConfigError


def track(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a sweep, or of an experiment's results.")],
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow: a tracking server, or sqlite:///FILE.")
    ] = None,
    wandb: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Weights & Biases: folder of its runs.")] = None,
    project: Annotated[str | None, typer.Option(help="Project or experiment; default: the sweep's name.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Send to Weights & Biases at once; needs a login.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Give every row to MLflow or Weights & Biases as a run; what is there already is not sent again."""
    from symbio_lab.sweeps.mlflow_export import export_to_mlflow
    from symbio_lab.sweeps.results import read_rows
    from symbio_lab.sweeps.wandb_export import export_to_wandb

    if mlflow is None and wandb is None:
        raise ConfigError(["give --mlflow URI or --wandb FOLDER"])
    rows, done = read_rows(folder), {}
    if mlflow is not None:
        done["mlflow"] = export_to_mlflow(rows, mlflow, experiment=project)
    if wandb is not None:
        done["wandb"] = export_to_wandb(rows, wandb, project=project, mode="online" if online else "offline")
    if as_json:
        print_json({name: {"sent": sent, "known": known} for name, (sent, known) in done.items()})
        return
    for name, (sent, known) in done.items():
        print(f"{name}: {sent:,} runs sent, {known:,} were there")
