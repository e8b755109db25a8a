"""``symbio market``: search, list, verify, publish, install and enrol; other modules add their topics."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from symbio_lab.cli.market_access import choose_markets, enrol_key
from symbio_lab.cli.market_catalogue import add_catalogue_commands
from symbio_lab.cli.market_contributing import add_contributing_commands
from symbio_lab.cli.market_evaluating import add_evaluating_commands
from symbio_lab.cli.market_keys import add_keys_commands
from symbio_lab.cli.market_policy import add_policy_commands
from symbio_lab.cli.market_registry import add_registry_commands
from symbio_lab.cli.market_serving import add_serving_commands
from symbio_lab.cli.market_vouching import add_vouching_commands
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, session_of, utc_now
from symbio_lab.errors import ConfigError

market_app = typer.Typer(
    help="Search markets, verify patches, publish and install them.", no_args_is_help=True, rich_markup_mode=None
)
MarketOption = Annotated[
    list[str] | None, typer.Option("--market", help="Folder, file:// URI or hf://OWNER[/NAME]; may be repeated.")
]
KeyOption = Annotated[list[str] | None, typer.Option("--key", help="Public key (64 hex) to accept in this call.")]
BaseOption = Annotated[str | None, typer.Option("--base", help="Digest of the base that a patch must fit (64 hex).")]


def check_base(base: str | None) -> list[str]:
    """Return what is wrong with a base digest, if anything."""
    if base is None or re.fullmatch(r"[0-9a-f]{64}", base):
        return []
    return [f"--base {base!r:.80} is not a digest of 64 hex characters"]


@market_app.command("search")
def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What should be healed, in words.")],
    market: MarketOption = None,
    base: BaseOption = None,
    task: Annotated[str, typer.Option(help="text_classification or text_generation.")] = "text_classification",
    label: Annotated[list[str] | None, typer.Option(help="Label to fix; may be repeated.")] = None,
    max_results: Annotated[int, typer.Option(help="Rows, at most.")] = 20,
    min_score: Annotated[float, typer.Option(help="Lowest text similarity, 0 to 1.")] = 0.0,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Search patches by words, labels and base; default: every local pool.

    With --json: an array of rows with id, score, verified, path, keyid, public_key, reason and problem. ``verified``
    says that signature and manifest pass the policy; files are checked by install and verify. Refused patches follow
    the others and carry the code of the rule that they break.
    """
    from symbio_lab.cli.market_search import search_markets
    from symbio_lab.records import TASK_TYPES, SearchQuery

    problems = check_base(base)
    if task not in TASK_TYPES:
        problems.append(f"--task {task!r} is not one of {', '.join(TASK_TYPES)}")
    if max_results < 1:
        problems.append("--max-results must be at least 1")
    if not 0.0 <= min_score <= 1.0:
        problems.append("--min-score must be from 0 to 1")
    if problems:
        raise ConfigError(problems)
    query = SearchQuery(
        task,  # type: ignore[arg-type]
        text,
        base_digest=base,
        labels=tuple(label or ()),
        max_results=max_results,
        min_score=min_score,
    )
    markets = choose_markets(market or (), session_of(context).settings, keys=key or ())
    rows, why_empty = search_markets(markets, query, now=utc_now())
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ["id", "score", "verified", "problem", "reason", "path"],
            [
                [r["id"], f"{r['score']:.3f}", "yes" if r["verified"] else "no", r["problem"], r["reason"], r["path"]]
                for r in rows
            ],
        )
    if why_empty:
        # Beside a JSON array there is no room for it on stdout.
        typer.echo(why_empty if rows else f"nothing found: {why_empty}", err=as_json or bool(rows))


@market_app.command("list")
def list_patches(
    context: typer.Context, market: MarketOption = None, key: KeyOption = None, as_json: JsonFlag = False
) -> None:
    """List what markets offer; default: every local pool."""
    from symbio_lab.cli.market_search import list_markets

    markets = choose_markets(market or (), session_of(context).settings, keys=key or ())
    rows = list_markets(markets, now=utc_now())
    if as_json:
        print_json(rows)
        return
    print_table(
        ["market", "id", "version", "verified", "problem", "publisher"],
        [
            [r["market"], r["id"], r["version"], "yes" if r["verified"] else "no", r["problem"], r["publisher"]]
            for r in rows
        ],
    )


@market_app.command("verify")
def verify(
    context: typer.Context,
    place: Annotated[str, typer.Argument(metavar="DIR_OR_ADDRESS", help="Patch folder, market folder or hf://OWNER.")],
    base: BaseOption = None,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Verify one patch or a whole market, every file of it; exit 3 if anything is refused, naming the codes.

    Keys: a local pool's own publishers; elsewhere those enrolled (symbio market enrol) or given by --key.
    """
    from symbio_lab.cli.market_verifying import verify_place

    if problems := check_base(base):
        raise ConfigError(problems)
    settings = session_of(context).settings
    verdicts = verify_place(place, settings, now=utc_now(), keys=tuple(key or ()), base_digest=base)
    refused = [verdict for verdict in verdicts if not verdict.ok]
    codes = sorted({verdict.code for verdict in refused})
    if as_json:
        print_json({"patches": verdicts, "num_accepted": len(verdicts) - len(refused), "refused_codes": codes})
    else:
        for verdict in verdicts:
            state = "ok" if verdict.ok else f"refused {verdict.code}"
            typer.echo(f"{state}  {verdict.id}  {' '.join(verdict.reason.split())}")
        if refused:
            typer.echo(f"refused {len(refused)} of {len(verdicts)} patches: {', '.join(codes)}", err=True)
    return 3 if refused else 0


@market_app.command("publish")
def publish(
    context: typer.Context,
    patch: Annotated[str, typer.Argument(metavar="FOLDER_OR_DIGEST", help="Patch folder, or digest of a stored one.")],
    market: Annotated[str, typer.Option("--market", help="Folder, file:// URI or hf://OWNER; made if it is new.")],
    name: Annotated[str | None, typer.Option("--as", help="namespace/name; default: the patch's own.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX id; default: the patch's own.")] = None,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Propose it to the owner of the name on a Hub.")
    ] = False,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Publish a patch under your own key, as the next version of its name.

    On a Hub (hf://OWNER) the token of HF_TOKEN or hf auth login is used; HF_ENDPOINT names another server. Where it
    may not write, a pull request is opened instead.
    """
    from symbio_lab.cli.market_writing import publish_to

    session = session_of(context)
    published = publish_to(
        patch,
        market,
        session.settings,
        now=utc_now(),
        patch_id=name,
        licence=licence,
        keys=tuple(key or ()),
        pull_request=pull_request,
    )
    if as_json:
        print_json(published)
        return
    if published["pull_request"]:
        typer.echo(f"proposed {published['id']} to {published['market']}: {published['pull_request']}")
    else:
        typer.echo(f"published {published['id']} to {published['market']}")
    typer.echo(published["digest"])


@market_app.command("install")
def install(
    context: typer.Context,
    patch_id: Annotated[str, typer.Argument(metavar="ID", help="namespace/name, or namespace/name@version.")],
    market: MarketOption = None,
    base: BaseOption = None,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Verify a patch and copy it into the patch store; exit 3 and nothing stored if a rule refuses it."""
    from symbio_lab.cli.market_writing import install_from

    if problems := check_base(base):
        raise ConfigError(problems)
    settings = session_of(context).settings
    markets = choose_markets(market or (), settings, keys=key or ())
    installed = install_from(patch_id, markets, settings, now=utc_now(), base_digest=base)
    if as_json:
        print_json(installed)
        return
    typer.echo(f"installed {installed['id']} from {installed['market']}, level {installed['level']}")
    typer.echo(installed["digest"])


@market_app.command("enrol")
def enrol(
    context: typer.Context,
    public_hex: Annotated[str, typer.Argument(metavar="PUBLIC_HEX", help="Ed25519 public key, 64 hex.")],
    name: Annotated[str, typer.Option(help="Who it is.")],
    known: Annotated[bool, typer.Option("--known", help="A known publisher: evaluations by this key count.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Accept patches signed by this key from now on; enrol only publishers whom you know."""
    keyid = enrol_key(public_hex, name, session_of(context).settings, known=known)
    if as_json:
        print_json({"keyid": keyid, "public_key": public_hex, "name": name, "known": known})
        return
    typer.echo(f"enrolled {name}: {keyid}")


add_catalogue_commands(market_app)
add_vouching_commands(market_app)
add_contributing_commands(market_app)
add_evaluating_commands(market_app)
add_keys_commands(market_app)
add_policy_commands(market_app)
add_registry_commands(market_app)
add_serving_commands(market_app)
