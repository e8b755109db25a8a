"""``symbio market registry renew|rotate|status|verify``: keeping a registry current, and looking at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.registry_options import (
    KeysOption,
    MarketOption,
    RegistryOption,
    registry_state,
    role_keys,
    tell_change,
)
from symbio_lab.cli.registry_state import kept_folder, make_role_keys
from symbio_lab.cli.session import JsonFlag, session_of, utc_now
from symbio_lab.errors import ConfigError


def renew(
    context: typer.Context,
    market: MarketOption,
    registry: RegistryOption = None,
    keys: KeysOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Sign the timestamp anew, and other roles once half of their lifetime is over; meant to be run every day."""
    from symbio_lab.marketplace.registry.renewing import due_roles, renew_registry

    state, now = registry_state(context, market, registry), utc_now()
    folder, root = kept_folder(state), state.root()
    # Only what is due: keys of the root are not asked for every day.
    due = due_roles(folder, root, memory=state.kept, now=now)
    change = renew_registry(
        folder, root, role_keys(state, keys, *due, "snapshot", "timestamp"), memory=state.kept, now=now
    )
    tell_change(change, f"renewed {', '.join(change.signed)}", as_json)


def rotate(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    market: MarketOption,
    registry: RegistryOption = None,
    keys: KeysOption = None,
    number: Annotated[int, typer.Option(help="New keys of the role.")] = 1,
    threshold: Annotated[int, typer.Option(help="Signatures that the role needs from now on.")] = 1,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Passphrases for keys of root and targets.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Replace all keys of a role by new ones, written to the first --keys folder; takes enough keys of the root."""
    from symbio_lab.marketplace.registry.layout import ROLES
    from symbio_lab.marketplace.registry.renewing import rotate_keys

    problems = [] if role in ROLES else [f"{role!r:.40} is not one of {', '.join(ROLES)}"]
    problems += [] if 1 <= threshold <= number <= 32 else ["--threshold must be from 1 to --number, at most 32"]
    if problems:
        raise ConfigError(problems)
    state = registry_state(context, market, registry)
    folder, root = kept_folder(state), state.root()
    made = make_role_keys((keys or [state.keys])[0], {role: number}, encrypt=encrypt)
    change = rotate_keys(
        folder,
        root,
        role_keys(state, keys, *ROLES),
        {role: [key.public_key for key in made[role]]},
        memory=state.kept,
        now=utc_now(),
        thresholds={role: threshold},
    )
    tell_change(change, f"the role {role} has {number} new keys", as_json)


def status(
    context: typer.Context, market: MarketOption, registry: RegistryOption = None, as_json: JsonFlag = False
) -> None:
    """Show what a registry that is kept here lists, and how long its signatures last.

    With --json: registry, num_patches, num_versions, num_lists, revoked, and roles with version, expires, days_left,
    num_keys and threshold.
    """
    from symbio_lab.marketplace.registry.describing import describe_kept
    from symbio_lab.marketplace.registry.keeping import open_kept

    state = registry_state(context, market, registry)
    described = describe_kept(open_kept(kept_folder(state), state.root(), state.kept), now=utc_now())
    if as_json:
        print_json({"registry": state.files.uri, **described})
        return
    columns = ["role", "version", "expires", "days_left", "num_keys", "threshold"]
    print_table(columns, [[row[column] for column in columns] for row in described["roles"]])
    counts = f"{described['num_versions']} versions of {described['num_patches']} patches"
    typer.echo(f"{counts} in {described['num_lists']} lists; {described['num_revoked']} keys revoked")


def verify(
    context: typer.Context,
    market: MarketOption,
    registry: RegistryOption = None,
    root: Annotated[Path | None, typer.Option(help="First root, from its keeper; needed once.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Check a registry as a client does, and compare everything that the market offers with it.

    Exit 3 if the registry is refused (stale, rollback, mix_and_match, ...) or a version of the market differs from it.
    """
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.marketplace.registry.offers import compare_offers
    from symbio_lab.marketplace.registry.reading import read_registry

    state = registry_state(context, market, registry)
    found = read_registry(state.files, state.root(root), state.cache, now=utc_now())
    transport = open_market(market, session_of(context).settings).transport
    verdicts = compare_offers(transport, found)
    wrong = [verdict for verdict in verdicts if verdict.code]
    if as_json:
        print_json(
            {
                "registry": found.uri,
                "versions": found.versions,
                "expires": found.expires,
                "num_versions": len(found.files),
                "revoked": found.revoked,
                "offers": verdicts,
                "refused_codes": sorted({verdict.code for verdict in wrong}),
            }
        )
    else:
        for verdict in verdicts:
            said = f"refused {verdict.code}" if verdict.code else "ok"
            typer.echo(f"{said}  {verdict.ref}  {' '.join(verdict.detail.split())}".rstrip())
        typer.echo(f"{found.uri}: valid until {min(found.expires.values())}, {len(found.files)} versions", err=True)
    return 3 if wrong else 0
