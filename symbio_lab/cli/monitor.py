"""``symbio monitor``: collect what a model answered, join the ground truth, say what is known, remove what is old."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.cli.printing import interval_text, number_text, print_json, print_table
from symbio_lab.cli.session import JsonFlag, Session, session_of
from symbio_lab.errors import ConfigError

monitor_app = typer.Typer(
    help="Collect predictions and ground truth, and find what fails.", no_args_is_help=True, rich_markup_mode=None
)
StoreOption = Annotated[Path | None, typer.Option("--store", help="Store file; default: the lab's own (store.db).")]
TenantOption = Annotated[str, typer.Option(help="Whose traffic.")]
ModelOption = Annotated[str, typer.Option(help="Model id.")]
RedactOption = Annotated[
    list[str] | None,
    typer.Option(
        "--redact", metavar="FIELD=RULE", help="hash, drop or scrub, e.g. input_sample=scrub; may be repeated."
    ),
]
_DAYS = {"d": 1, "w": 7}
MOST_SHOWN = 5
"""Refused rows that are printed; --json has more."""


@monitor_app.command("ingest")
def ingest(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines, JSON (all also .gz) or Parquet.")],
    model: ModelOption,
    tenant: TenantOption = "default",
    task: Annotated[str, typer.Option(help="text_classification or text_generation.")] = "text_classification",
    revision: Annotated[str, typer.Option(help="Digest of the model that answered.")] = "",
    text_field: Annotated[str, typer.Option(help="Column of the input.")] = "input_sample",
    actual_field: Annotated[str, typer.Option(help="Column of the model's answer.")] = "actual_output",
    expected_field: Annotated[str, typer.Option(help="Column of the ground truth.")] = "expected_output",
    domain_field: Annotated[str, typer.Option(help="Column of the domain.")] = "domain",
    confidence_field: Annotated[str, typer.Option(help="Column of the confidence, 0 to 1.")] = "confidence",
    time_field: Annotated[str, typer.Option(help="Column of the time, UTC.")] = "observed_at",
    id_field: Annotated[str, typer.Option(help="Column of the answer's own id.")] = "event_id",
    metadata: Annotated[str, typer.Option(help="Further columns to keep, separated by commas.")] = "",
    sample_share: Annotated[float, typer.Option(help="Share of the traffic that the file was drawn from.")] = 1.0,
    max_text_bytes: Annotated[int, typer.Option(help="Longest text that is accepted.")] = 64 << 10,
    redact: RedactOption = None,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Store a file of predictions; running it again stores only what is missing.

    Bad rows are named and counted, good ones are stored. Exit 2 if no row could be used.
    """
    from symbio_lab.monitor.ingesting import ingest as ingest_rows
    from symbio_lab.monitor.prediction_files import Columns, prediction_rows
    from symbio_lab.monitor.validating import Limits
    from symbio_lab.records import TASK_TYPES
    from symbio_lab.store.predictions import PredictionStore

    problems = []
    if task not in TASK_TYPES:
        problems.append(f"--task {task!r:.60} is not one of {', '.join(TASK_TYPES)}")
    if not 0.0 < sample_share <= 1.0:
        problems.append("--sample-share must be above 0 and at most 1")
    if max_text_bytes < 1:
        problems.append("--max-text-bytes must be at least 1")
    rules = _rules(redact or (), problems)
    if problems:
        raise ConfigError(problems)
    session = session_of(context)
    columns = Columns(
        text_field,
        actual_field,
        expected_field,
        domain_field,
        confidence_field,
        time_field,
        id_field,
        tuple(name.strip() for name in metadata.split(",") if name.strip()),
    )
    rows = prediction_rows(
        file,
        model_id=model,
        tenant=tenant,
        task_type=task,  # type: ignore[arg-type]
        model_revision=revision,
        columns=columns,
    )
    report = ingest_rows(
        PredictionStore(_database(session, store)),
        rows,
        redaction=_redaction(session, rules),
        limits=Limits(max_text_bytes=max_text_bytes),
        sample_share=sample_share,
    )
    return _print_report(report, "predictions", as_json)


@monitor_app.command("label")
def label(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Table with the ids of answers and their ground truth.")],
    model: ModelOption,
    tenant: TenantOption = "default",
    id_field: Annotated[str, typer.Option(help="Column of the answer's id.")] = "prediction_id",
    expected_field: Annotated[str, typer.Option(help="Column of the ground truth.")] = "expected_output",
    redact: RedactOption = None,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Join ground truth that came later, or that comes before its predictions.

    Pass the same --redact rules as for the predictions. Exit 2 if no row could be used.
    """
    from symbio_lab.monitor.ingesting import ingest_labels
    from symbio_lab.monitor.prediction_files import label_rows
    from symbio_lab.store.labels import LabelStore

    problems: list[str] = []
    rules = _rules(redact or (), problems)
    if problems:
        raise ConfigError(problems)
    session = session_of(context)
    report = ingest_labels(
        LabelStore(_database(session, store)),
        tenant,
        model,
        label_rows(file, id_field=id_field, expected_field=expected_field),
        redaction=_redaction(session, rules),
    )
    return _print_report(report, "labels", as_json)


@monitor_app.command("status")
def status(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    tenant: TenantOption = "default",
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show counts, labelled share, failure rate with interval and n, and what cannot be stated."""
    from symbio_lab.errors import NotFoundError
    from symbio_lab.monitor.statements import state_stream
    from symbio_lab.store.prediction_reading import PredictionReader
    from symbio_lab.store.streams import model_ids

    database = _database(session_of(context), store)
    known = model_ids(database, tenant)
    if model is not None and model not in known:
        raise NotFoundError(
            f"nothing is stored of {model!r:.80} for tenant {tenant!r:.80}", hint="see symbio monitor status"
        )
    stated = [state_stream(PredictionReader(database, tenant, name)) for name in (known if model is None else (model,))]
    if as_json:
        print_json({"tenant": tenant, "models": stated})
        return
    if not stated:
        typer.echo("nothing is stored yet; collect with: symbio monitor ingest FILE --model ID")
        return
    print_table(
        ["model", "stored", "labelled", "failure rate", "n", "first", "last"],
        [
            [
                s.model_id,
                number_text(s.num_stored),
                "-" if s.labelled_share is None else f"{s.labelled_share:.3f}",
                interval_text(s.failure_rate.value, s.failure_rate.low, s.failure_rate.high, digits=4),
                number_text(s.failure_rate.n),
                s.first_observed_at,
                s.last_observed_at,
            ]
            for s in stated
        ],
    )
    for s in stated:
        for sentence in (*s.notes, *s.cannot):
            typer.echo(f"{s.model_id}: {sentence}")


@monitor_app.command("prune")
def prune(
    context: typer.Context,
    older_than: Annotated[str | None, typer.Option(help="Age in days or weeks: 90d, 12w.")] = None,
    keep_last: Annotated[int | None, typer.Option(help="Rows of each model that stay in any case.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    tenant: TenantOption = "default",
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Remove old predictions for good, whole days; their counts by day and domain stay.

    With --keep-last alone, everything but the newest rows goes.
    """
    from symbio_lab.store.observed_time import now_us
    from symbio_lab.store.retention import prune as prune_model
    from symbio_lab.store.streams import model_ids

    days = None
    if older_than is not None:
        match = re.fullmatch(r"(\d{1,5})([dw])", older_than)
        if match is None:
            raise ConfigError([f"--older-than {older_than!r:.60} is no age"], hint="write 90d or 12w")
        days = int(match[1]) * _DAYS[match[2]]
    if days is None and keep_last is None:
        raise ConfigError(["say what to remove"], hint="give --older-than 90d, --keep-last 100000, or both")
    database = _database(session_of(context), store)
    names = model_ids(database, tenant) if model is None else (model,)
    gone = [
        prune_model(database, tenant, name, now_us=now_us(), older_than_days=days, keep_last=keep_last)
        for name in names
    ]
    if as_json:
        print_json({"tenant": tenant, "models": gone})
        return
    print_table(
        ["model", "predictions removed", "labels", "waiting labels", "failure reports", "days before"],
        [[g.model_id, g.num_rows, g.num_labels, g.num_early_labels, g.num_failure_reports, g.before] for g in gone],
    )


def _database(session: Session, store: Path | None) -> Any:
    from symbio_lab.store import open_store

    return open_store(session.settings.store if store is None else store)


def _rules(given: list[str] | tuple[()], problems: list[str]) -> dict[str, Any]:
    rules = {}
    for text in given:
        name, is_rule, rule = text.partition("=")
        if not is_rule:
            problems.append(f"--redact {text!r:.60} is not FIELD=RULE")
        rules[name] = rule
    return rules


def _redaction(session: Session, rules: dict[str, Any]) -> Any:
    if not rules:
        return None
    from symbio_lab.monitor.redaction import Redaction
    from symbio_lab.monitor.redaction_key import KEY_BYTES, load_or_create_redaction_key

    Redaction(rules, key=bytes(KEY_BYTES))  # wrong rules are told before a key is made
    return Redaction(rules, key=load_or_create_redaction_key(session.settings.keys))


def _print_report(report: Any, what: str, as_json: bool) -> int:
    if as_json:
        print_json({**asdict(report), "num_refused": report.num_refused})
    else:
        typer.echo(f"stored {report.num_stored:,} new {what} of {report.num_read:,} rows")
        for number, name in (
            (report.num_labels if what == "predictions" else 0, "with ground truth"),
            (report.num_early_labels, "wait for their prediction"),
            (report.num_duplicates, "duplicates"),
            (report.num_conflicts, "conflicts: the id is stored with other content; kept out"),
            (report.num_label_conflicts, "conflicts of ground truth: the first stays"),
        ):
            if number:
                typer.echo(f"  {number:,} {name}")
        for code, number in report.refused_by_code.items():
            typer.echo(f"  {number:,} refused: {code}")
        for refusal in report.refused[:MOST_SHOWN]:
            typer.echo(f"{refusal.row}: {refusal.code}: {refusal.reason}; hint: {refusal.hint}", err=True)
    return 2 if report.num_read and report.num_refused == report.num_read else 0
