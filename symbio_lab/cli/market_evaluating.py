"""``symbio market evaluate``, ``rate``, ``ratings`` and ``voucher``: what others say of a patch, and saying it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.evaluation_data import SuiteRequest
from symbio_lab.cli.evaluation_runs import OWN_NAME, evaluate_patch
from symbio_lab.cli.market_access import choose_markets, open_market
from symbio_lab.cli.printing import interval_text, print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.rating_tables import (
    RATING_COLUMNS,
    list_vouchers,
    name_suites,
    rate_offers,
    rate_one,
    rating_row,
    write_voucher,
)
from symbio_lab.cli.session import JsonFlag, session_of, utc_now

if TYPE_CHECKING:
    from symbio_lab.records import Interval

MarketOption = Annotated[
    list[str] | None, typer.Option("--market", help="Folder, file:// URI or hf://OWNER[/NAME]; may be repeated.")
]
OneMarketOption = Annotated[str, typer.Option("--market", help="Folder, file:// URI or hf:// address.")]
PatchArgument = Annotated[str, typer.Argument(metavar="ID", help="namespace/name, or namespace/name@version.")]
OwnKeyOption = Annotated[str, typer.Option("--key", help="Name of the key of ours that signs.")]
EnrolOption = Annotated[
    list[str] | None, typer.Option("--accept-key", help="Public key (64 hex) to accept in this call.")
]
SuiteOption = Annotated[
    list[str] | None, typer.Option("--suite", help="Scenario whose statements count here from now on; repeated.")
]
_FIGURES = ("accuracy_before", "accuracy_after", "delta_accuracy")
_VERDICTS = {"confirmed": "CONFIRMED", "disputed": "DISPUTED", "undecided": "undecided"}


def add_evaluating_commands(app: typer.Typer) -> None:
    """Register ``evaluate``, ``rate``, ``ratings`` and ``voucher`` on ``symbio market``."""
    app.command("evaluate")(evaluate)
    app.command("rate")(rate)
    app.command("ratings")(ratings)
    voucher = typer.Typer(
        help="Vouch for keys whose evaluations shall count, and list who is vouched for.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    voucher.command("new")(voucher_new)
    voucher.command("list")(voucher_list)
    app.add_typer(voucher, name="voucher")


def evaluate(
    context: typer.Context,
    patch_id: PatchArgument,
    suite: Annotated[str, typer.Option(help="A scenario, or your own labelled table (then with --model).")],
    market: MarketOption = None,
    model: Annotated[str | None, typer.Option(help="The base, for your own table: folder or Hub id.")] = None,
    key: OwnKeyOption = OWN_NAME,
    publish: Annotated[bool, typer.Option("--publish", help="Publish the signed result beside the patch.")] = False,
    accept_key: EnrolOption = None,
    slice_: Annotated[
        str | None, typer.Option("--slice", help="FIELD=VALUE of a table; default: rows with the patch's labels.")
    ] = None,
    text_field: Annotated[str, typer.Option(help="Column of the input text.")] = "text",
    label_field: Annotated[str, typer.Option(help="Column of the gold label or output.")] = "label",
    group_field: Annotated[str | None, typer.Option(help="Column of what splits keep together.")] = None,
    task: Annotated[
        str | None, typer.Option(help="text_classification or text_generation; default: the model's.")
    ] = None,
    world_seed: Annotated[int, typer.Option(help="Of a scenario: which base and data.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the samples where there are more than 2,000 of a split.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Run base and patched model on a suite, check what others claim of the patch, and sign the result.

    Only data that nobody judges by are read: of a scenario its relevance probe, of your own table the healers' side
    of the slice and replay outside it. A statement counts for others once --publish has put it beside the patch and
    your key is known to them or vouched for (symbio market voucher).
    """
    settings = session_of(context).settings
    request = SuiteRequest(
        suite,
        model=model,
        slice=slice_,
        text_field=text_field,
        label_field=label_field,
        group_field=group_field,
        task=task,
        world_seed=world_seed,
        seed=seed,
    )
    request.check()
    markets = choose_markets(market or (), settings, keys=accept_key or ())
    with progress(phases=False) as listener:
        result = evaluate_patch(
            patch_id, request, markets, settings, now=utc_now(), key_name=key, publish=publish, listener=listener
        )
    if as_json:
        print_json(result)
        return
    _print_evaluation(result)


def _print_evaluation(result: Mapping[str, Any]) -> None:
    suite, said = result["suite"], result["statement"]
    print(f"{result['id']} on {suite['name']} ({suite['digest'][:16]})")
    print_table(
        ["split", "n", "base accuracy", "patched accuracy", "change", "fixed", "broken"],
        [
            [name, row["n"], *(_shown(row[key]) for key in _FIGURES), row["fixed"], row["broken"]]
            for name, row in result["splits"].items()
        ],
    )
    for rate_ in result["measures"]:
        print(f"{rate_.name}: {rate_.hits} of {rate_.n}")
    for report in (result["claims"], *result["others"]):
        if not report.checks and not report.incomparable:
            print(f"claims by {report.by[:16]}: none")
            continue
        print(f"claims by {report.by[:16]} ({report.source}): {_VERDICTS[report.verdict]}")
        for check in report.checks:
            of = f" (n = {check.claimed_n})" if check.claimed_n else ""
            measured = _shown(check.measured)
            print(f"  {check.quantity}: claimed {check.claimed:.3f}{of}, measured {measured}: {check.verdict}")
        for reason in report.incomparable:
            print(f"  not compared: {reason}")
    for note in suite["notes"]:
        typer.echo(f"note: {note}", err=True)
    if said.get("pull_request"):
        print(f"proposed: {said['pull_request']}")
    elif said["published"]:
        print(f"published to {said['published']}")
    else:
        print(f"statement: {said['path']}")


def _shown(interval: Interval) -> str:
    return interval_text(interval.value, interval.low, interval.high, digits=3)


def rate(
    context: typer.Context,
    patch_id: PatchArgument,
    market: MarketOption = None,
    suite: SuiteOption = None,
    accept_key: EnrolOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the rating of one patch vote by vote, and why a statement does not count."""
    settings = session_of(context).settings
    name_suites(suite or (), settings)
    markets = choose_markets(market or (), settings, keys=accept_key or ())
    found = rate_one(patch_id, markets, settings, now=utc_now())
    if as_json:
        print_json(found)
        return
    print_table(RATING_COLUMNS, [rating_row(found)])
    print_table(
        ["rater", "issued", "before", "after", "passes", "claims", "weight", "voucher", "note"],
        [
            [
                vote.keyid[:16],
                vote.statement.issued,
                f"{vote.statement.before_ppm / 1e6:.3f}",
                f"{vote.statement.after_ppm / 1e6:.3f}",
                "yes" if vote.passes else "no",
                vote.verdict,
                f"{vote.weight:.3f}",
                vote.voucher[:16],
                vote.note,
            ]
            for vote in found.votes
        ],
    )
    if found.refused:
        typer.echo(f"not read as votes: {', '.join(found.refused)}", err=True)


def ratings(
    context: typer.Context,
    patch_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Only this patch; default: all that markets offer.")
    ] = None,
    market: MarketOption = None,
    suite: SuiteOption = None,
    accept_key: EnrolOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what markets offer by rating: the lower end of Wilson's interval over capped votes, best first.

    Only votes by known keys, or keys that they vouch for, on suites that were run or named here have weight; all keys
    below one known key weigh at most one vote together. A rating never changes a trust level.
    """
    settings = session_of(context).settings
    name_suites(suite or (), settings)
    markets, now = choose_markets(market or (), settings, keys=accept_key or ()), utc_now()
    found = [rate_one(patch_id, markets, settings, now=now)] if patch_id else rate_offers(markets, settings, now=now)
    if as_json:
        print_json(found)
        return
    print_table(RATING_COLUMNS, [rating_row(rating) for rating in found])


def voucher_new(
    context: typer.Context,
    who: Annotated[str, typer.Argument(metavar="WHO", help="Public key (64 hex), card file, or an enrolled name.")],
    market: OneMarketOption,
    name: Annotated[str, typer.Option(help="Who the rater is.")],
    depth: Annotated[int, typer.Option(help="Levels that the rater may vouch for in turn, 0 to 2.")] = 0,
    days: Annotated[int, typer.Option(help="How long it is valid; 0 withdraws it.")] = 365,
    key: OwnKeyOption = OWN_NAME,
    as_json: JsonFlag = False,
) -> None:
    """Vouch for somebody's key: evaluations by it count for everybody who knows yours.

    All keys that you vouch for share one voice, with those that they vouch for. Vouch only for whom you know.
    """
    settings = session_of(context).settings
    opened = open_market(market, settings, must_exist=False)
    made = write_voucher(who, opened, settings, now=utc_now(), name=name, depth=depth, days=days, key_name=key)
    if as_json:
        print_json(made)
        return
    done = "withdrew the voucher for" if days == 0 else "vouched for"
    typer.echo(f"{done} {name}, until {made['expires']}, in {made['pull_request'] or made['market']}")
    typer.echo(made["rater"])


def voucher_list(
    context: typer.Context,
    who: Annotated[
        str | None, typer.Argument(metavar="WHO", help="Keyid, public key, card or name; default: all raters.")
    ] = None,
    market: MarketOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List vouchers, and whether they count here."""
    settings = session_of(context).settings
    rows = list_vouchers(choose_markets(market or (), settings), settings, now=utc_now(), who=who)
    if as_json:
        print_json(rows)
        return
    columns = ["rater", "name", "vouched for by", "depth", "issued", "expires", "counts"]
    fields = ("rater", "name", "issuer", "depth", "issued", "expires", "counts")
    short = [
        {
            **row,
            "rater": row["rater"][:16],
            "issuer": row["issuer_name"] or row["issuer"][:16],
            "counts": "yes" if row["counts"] else "no",
        }
        for row in rows
    ]
    print_table(columns, [[row[field] for field in fields] for row in short])
