"""Options and answers that the commands on registries share."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symbio_lab.cli.printing import print_json
from symbio_lab.cli.registry_state import RegistryState, open_role_keys, state_of
from symbio_lab.cli.session import session_of

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.role_keys import RegistryKeys
    from symbio_lab.marketplace.registry.writing import RegistryChange

MarketOption = Annotated[str, typer.Option("--market", help="Folder, file:// URI or hf:// address of the market.")]
RegistryOption = Annotated[
    str | None, typer.Option("--registry", help="Folder or https address of the registry; default: the market's own.")
]
KeysOption = Annotated[
    list[Path] | None, typer.Option("--keys", help="Folder of private keys of roles; may be repeated.")
]


def registry_state(context: typer.Context, market: str, registry: str | None) -> RegistryState:
    """Return the state of the registry that a command is about.

    Raises:
        ConfigError: the address has no registry.
    """
    return state_of(market, session_of(context).settings, registry)


def role_keys(state: RegistryState, folders: list[Path] | None, *roles: str) -> RegistryKeys:
    """Return the private keys of these roles in ``folders``, or in the usual place.

    Raises:
        DataError: a file is damaged, or no passphrase can be asked for.
        TrustError: ``bad_key``.
    """
    return open_role_keys(folders or [state.keys], dict.fromkeys(roles))


def tell_change(change: RegistryChange, text: str, as_json: bool) -> None:
    """Print what a command changed: ``text``, or all of it as JSON."""
    if as_json:
        print_json(asdict(change))
        return
    typer.echo(f"{text}; current is timestamp {change.timestamp_version}")
