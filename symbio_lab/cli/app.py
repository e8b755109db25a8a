"""The program ``symbio``: its commands, its settings flags, its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab import __version__
from symbio_lab.cli import (
    compare,
    demo,
    doctor,
    heal,
    lab,
    ledger,
    report,
    serve,
    sweep_export,
    sweep_results,
    sweep_track,
)
from symbio_lab.cli.failing import EXIT_CODES, run_guarded
from symbio_lab.cli.market import market_app
from symbio_lab.cli.monitor import monitor_app
from symbio_lab.cli.monitor_replay import replay
from symbio_lab.cli.session import (
    Session,
    StoreOption,
    export_settings,
    given_flags,
    logging_to_stderr,
    own_environment,
)
from symbio_lab.cli.session import set_log_level as set_level
from symbio_lab.cli.sweep import sweep_app
from symbio_lab.cli.tenants import tenants_app
from symbio_lab.config import load_settings

_EPILOG = "\b\n" + "\n".join(
    [
        "Exit codes:",
        *(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items()),
        "Every command takes --json: one JSON value on stdout, errors as {error, message, hint}.",
        "Settings: flag > environment SYMBIO_LAB_* > symbio.toml > default; symbio doctor shows them.",
    ]
)

app = typer.Typer(
    name="symbio",
    help="Adopt a signed patch that others made, or operate on the model? Both for real, under one judge.",
    epilog=_EPILOG,
    add_completion=False,
    no_args_is_help=True,
    # Plain help: the same text on a terminal, in a pipe and in the documentation.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"symbio-lab {__version__}")
        raise typer.Exit()


@app.callback()
def prepare(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="State folder: bases, pools, keys, runs.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of failure datasets.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    num_threads: Annotated[int | None, typer.Option(help="Threads for tensor work.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    store: StoreOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Resolve the settings; they stand before the command."""
    folders, compute = {"home": home, "data": data, "store": store}, {"device": device, "dtype": dtype}
    flags = given_flags(**folders, **compute, num_threads=num_threads, log_level=log_level)
    resolved = load_settings(flags)
    set_level(resolved.settings.log_level)
    export_settings(resolved)
    context.obj = Session(resolved)


app.command("demo")(demo.demo)
app.command("compare")(compare.compare)
app.command("heal")(heal.heal)
app.command("ledger")(ledger.ledger)
app.command("rollback")(ledger.rollback)
app.add_typer(market_app, name="market")
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.add_typer(tenants_app, name="tenants")
monitor_app.command("replay")(replay)
app.add_typer(monitor_app, name="monitor")
sweep_app.command("verify")(sweep_results.verify)
sweep_app.command("commit")(sweep_results.commit)
sweep_app.command("export")(sweep_export.export)
sweep_app.command("track")(sweep_track.track)
app.add_typer(sweep_app, name="sweep")
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
app.command("lab")(lab.lab)


def run(arguments: Sequence[str]) -> int:
    """Return the exit code of one call of the program.

    Args:
        arguments: what follows the program's name.
    """
    command = typer.main.get_command(app)

    def call() -> Any:
        return command.main(args=list(arguments), prog_name="symbio", standalone_mode=False)

    with own_environment(), logging_to_stderr():
        return run_guarded(call, as_json="--json" in arguments)


def main() -> None:
    """Run the program and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
