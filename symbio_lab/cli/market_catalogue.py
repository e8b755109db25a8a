"""``symbio market sync`` and ``symbio market catalogue``: what markets offer, kept and searched on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, session_of, utc_now
from symbio_lab.errors import ConfigError

MarketOption = Annotated[
    list[str] | None,
    typer.Option("--market", help="Folder, file:// URI or hf://OWNER[/NAME]; may be repeated. Default: all known."),
]
KeyOption = Annotated[list[str] | None, typer.Option("--key", help="Public key (64 hex) to accept in this call.")]


def add_catalogue_commands(app: typer.Typer) -> None:
    """Register ``sync`` and ``catalogue`` with its commands on ``symbio market``."""
    app.command("sync")(sync)
    catalogue = typer.Typer(
        help="Search and check what symbio market sync brought here.", no_args_is_help=True, rich_markup_mode=None
    )
    catalogue.command("status")(status)
    catalogue.command("search")(search)
    catalogue.command("verify")(verify)
    app.add_typer(catalogue, name="catalogue")


def sync(
    context: typer.Context,
    market: MarketOption = None,
    readers: Annotated[int, typer.Option(help="Offers read at once; more than 1 for markets far away.")] = 1,
    embed: Annotated[bool, typer.Option("--embed/--no-embed", help="Embed the accepted cards too.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Bring the local catalogue up to date: only what is new or changed is read, and every signature verified.

    Default: the markets synced before, or every local pool. A sync that was stopped goes on where it was.
    """
    from symbio_lab.cli.catalogue_access import sync_catalogue

    if not 1 <= readers <= 32:
        raise ConfigError(["--readers must be from 1 to 32"])
    synced = sync_catalogue(session_of(context).settings, market or (), now=utc_now(), readers=readers, embed=embed)
    if as_json:
        print_json(synced)
        return
    print_table(
        ["market", "offered", "read", "removed", "judged again", "accepted", "refused"],
        [
            [m.market, m.num_offered, m.num_read, m.num_removed, m.num_rejudged, m.num_accepted, m.num_refused]
            for m in synced["markets"]
        ],
    )
    for note in synced["notes"]:
        typer.echo(note, err=True)


def status(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Say what the catalogue holds: markets, verdicts, vectors, and bytes on disk."""
    from symbio_lab.cli.catalogue_access import catalogue_status

    found = catalogue_status(session_of(context).settings)
    if as_json:
        print_json(found)
        return
    print_table(
        ["market", "accepted", "refused", "synced", "problems"],
        [
            [m["market"], m["accepted"], m["refused"], m["synced_at"] or "never", _problems(m["problems"])]
            for m in found["markets"]
        ],
    )
    for vectors in found["vectors"]:
        typer.echo(f"vectors {vectors['embedder'][:16]}: {vectors['held']} of {vectors['accepted']} accepted patches")
    typer.echo(f"{found['num_bytes']} bytes on disk")


def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What should be healed, in words.")],
    market: MarketOption = None,
    base: Annotated[str | None, typer.Option("--base", help="Digest of the base that must fit (64 hex).")] = None,
    task: Annotated[str, typer.Option(help="text_classification or text_generation.")] = "text_classification",
    label: Annotated[list[str] | None, typer.Option(help="Label to fix; may be repeated.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="SPDX id to allow; may be repeated; default: all.")] = None,
    require_labels: Annotated[
        bool, typer.Option("--require-labels", help="Only patches that claim at least one of the labels.")
    ] = False,
    max_results: Annotated[int, typer.Option(help="Rows, at most.")] = 20,
    min_score: Annotated[float, typer.Option(help="Lowest text similarity, 0 to 1.")] = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """Search the catalogue; no market is asked. Rows judged under another policy are judged again first.

    Accepted patches come first, best first; refused ones follow with the code of the rule that they break.
    """
    from symbio_lab.cli.catalogue_access import search_catalogue
    from symbio_lab.cli.market import check_base
    from symbio_lab.records import TASK_TYPES, SearchQuery

    problems = check_base(base)
    if task not in TASK_TYPES:
        problems.append(f"--task {task!r} is not one of {', '.join(TASK_TYPES)}")
    if max_results < 1:
        problems.append("--max-results must be at least 1")
    if not 0.0 <= min_score <= 1.0:
        problems.append("--min-score must be from 0 to 1")
    if require_labels and not label:
        problems.append("--require-labels needs --label")
    if problems:
        raise ConfigError(problems)
    query = SearchQuery(
        task,  # type: ignore[arg-type]
        text,
        base_digest=base,
        labels=tuple(label or ()),
        licences=tuple(licence or ()),
        max_results=max_results,
        min_score=min_score,
    )
    settings = session_of(context).settings
    rows = search_catalogue(settings, query, market or (), now=utc_now(), require_labels=require_labels)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ["id", "score", "verified", "problem", "reason", "market"],
            [
                [r["id"], f"{r['score']:.3f}", "yes" if r["verified"] else "no", r["problem"], r["reason"], r["market"]]
                for r in rows
            ],
        )
    if not rows:
        typer.echo("nothing found in the catalogue; symbio market sync brings it up to date", err=as_json)


def verify(context: typer.Context, market: MarketOption = None, as_json: JsonFlag = False) -> int:
    """Hash and verify every accepted row again, and compare what is searched with what was signed.

    Exit 3 if a row does not hold; the next symbio market sync reads it again.
    """
    from symbio_lab.cli.catalogue_access import verify_catalogue

    found = verify_catalogue(session_of(context).settings, market or (), now=utc_now())
    if as_json:
        print_json(found)
    else:
        for row in found["damaged"]:
            typer.echo(f"damaged  {row['id']}  {row['reason']}  ({row['market']})")
        typer.echo(f"{found['num_checked']} checked, {len(found['damaged'])} do not hold")
    return 3 if found["damaged"] else 0


def _problems(counts: dict[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
