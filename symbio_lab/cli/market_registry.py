"""``symbio market registry`` and ``symbio market log``: what is registered, and what was ever there."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from symbio_lab.cli.market_log import add_log_commands
from symbio_lab.cli.market_registry_upkeep import renew, rotate, status, verify
from symbio_lab.cli.printing import print_json
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
from symbio_lab.errors import ConfigError, DataError


def add_registry_commands(app: typer.Typer) -> None:
    """Register ``registry`` and ``log`` with their commands on ``symbio market``."""
    registry = typer.Typer(
        help="Keep and check the signed list of what a market offers.", no_args_is_help=True, rich_markup_mode=None
    )
    registry.command("init")(init)
    registry.command("add")(add)
    registry.command("remove")(remove)
    registry.command("revoke")(revoke)
    registry.command("renew")(renew)
    registry.command("rotate")(rotate)
    registry.command("status")(status)
    registry.command("verify")(verify)
    registry.command("upload")(upload)
    app.add_typer(registry, name="registry")
    add_log_commands(app)


def init(
    context: typer.Context,
    market: MarketOption,
    registry: RegistryOption = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="Folder for the new private keys.")] = None,
    root_keys: Annotated[int, typer.Option(help="Keys of the root.")] = 3,
    root_threshold: Annotated[int, typer.Option(help="Signatures that a new root needs.")] = 2,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Passphrases for the keys of root and targets.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a registry for a market: its keys, and empty signed metadata.

    Hand the printed root to clients by another way than the market, and move the keys of the root to other places.
    """
    from symbio_lab.marketplace.registry.role_keys import RegistryKeys, Thresholds
    from symbio_lab.marketplace.registry.signer import require_tuf
    from symbio_lab.marketplace.registry.writing import create_registry

    require_tuf()
    if not 1 <= root_threshold <= root_keys <= 32:
        raise ConfigError(["--root-threshold and --root-keys must satisfy 1 <= threshold <= keys <= 32"])
    state = registry_state(context, market, registry)
    folder = kept_folder(state)
    if (folder / "metadata").exists():
        raise DataError(f"there is a registry in {folder} already", hint="add to it: symbio market registry add")
    if state.kept.exists():
        raise DataError(
            f"a registry was kept in {folder} before", hint=f"put it back, or remove {state.folder} to start anew"
        )
    numbers = {"root": root_keys, "targets": 1, "snapshot": 1, "timestamp": 1}
    made = make_role_keys(keys or state.keys, numbers, encrypt=encrypt)
    root = create_registry(
        folder, RegistryKeys(**made), memory=state.kept, now=utc_now(), thresholds=Thresholds(root=root_threshold)
    )
    root_file = folder / "metadata" / "1.root.json"
    state.root(root_file)
    result = {
        "registry": state.files.uri,
        "root": str(root_file),
        "root_sha256": hashlib.sha256(root).hexdigest(),
        "keys": str(keys or state.keys),
        "keyids": {role: [key.keyid for key in listed] for role, listed in made.items()},
    }
    if as_json:
        print_json(result)
        return
    typer.echo(f"made {result['registry']}; clients need {result['root']}")
    typer.echo(f"move {root_keys} root-*.json from {result['keys']} to {root_keys} other places", err=True)
    typer.echo(result["root_sha256"])


def add(
    context: typer.Context,
    market: MarketOption,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Patches; default: all.")] = None,
    registry: RegistryOption = None,
    keys: KeysOption = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="Publisher's key (64 hex) to accept now.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Register every version that the market offers and our policy accepts; the others are listed with their codes."""
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.marketplace.registry.keeping import open_kept
    from symbio_lab.marketplace.registry.offers import collect_offers
    from symbio_lab.marketplace.registry.writing import change_registry

    settings, now = session_of(context).settings, utc_now()
    state = registry_state(context, market, registry)
    folder, root = kept_folder(state), state.root()
    opened = open_market(market, settings, keys=key or ())
    lists = open_kept(folder, root, state.kept).patch_lists()
    known = {path: file.hashes["sha256"] for listed in lists.values() for path, file in listed.targets.items()}
    offers = collect_offers(opened.transport, opened.policy, now=now, refs=tuple(ids or ()), known=known)
    change = change_registry(
        folder,
        root,
        role_keys(state, keys, "targets", "snapshot", "timestamp"),
        memory=state.kept,
        now=now,
        add=offers.accepted,
    )
    if as_json:
        print_json({**asdict(change), "added": sorted(offers.accepted), "refused": offers.refused})
        return
    for verdict in offers.refused:
        typer.echo(f"not registered, {verdict.code}: {verdict.ref}  {' '.join(verdict.detail.split())}", err=True)
    tell_change(change, f"registered {change.num_added} versions, {len(offers.refused)} refused", as_json)


def remove(
    context: typer.Context,
    refs: Annotated[list[str], typer.Argument(metavar="ID@VERSION...", help="Versions that are no longer offered.")],
    market: MarketOption,
    registry: RegistryOption = None,
    keys: KeysOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Withdraw versions from the registry; the market keeps its files, clients refuse them as unregistered."""
    from symbio_lab.marketplace.registry.layout import target_path
    from symbio_lab.marketplace.registry.writing import change_registry
    from symbio_lab.trust.naming import split_ref

    state = registry_state(context, market, registry)
    paths = []
    for ref in refs:
        namespace, name, version = split_ref(ref)
        if version is None:
            raise ConfigError([f"{ref} names no version"], hint="write namespace/name@3")
        paths.append(target_path(f"{namespace}/{name}", version))
    change = change_registry(
        kept_folder(state),
        state.root(),
        role_keys(state, keys, "targets", "snapshot", "timestamp"),
        memory=state.kept,
        now=utc_now(),
        remove=paths,
    )
    tell_change(change, f"withdrew {change.num_removed} versions", as_json)


def revoke(
    context: typer.Context,
    keyid: Annotated[str, typer.Argument(help="Keyid of a publisher or evaluator, 64 hex.")],
    market: MarketOption,
    reason: Annotated[str, typer.Option(help="Why, for people to read.")],
    registry: RegistryOption = None,
    keys: KeysOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Revoke a key in this market: clients refuse every patch by it, whenever it was signed. There is no way back."""
    from symbio_lab.marketplace.registry.revoked import RevokedKey
    from symbio_lab.marketplace.registry.writing import change_registry

    state, now = registry_state(context, market, registry), utc_now()
    change = change_registry(
        kept_folder(state),
        state.root(),
        role_keys(state, keys, "targets", "snapshot", "timestamp"),
        memory=state.kept,
        now=now,
        revoke=[RevokedKey(keyid, reason, now)],
    )
    tell_change(change, f"revoked {keyid}" if change.num_revoked else f"{keyid} was revoked before", as_json)


def upload(
    context: typer.Context,
    owner: Annotated[str, typer.Argument(metavar="hf://OWNER", help="Whose repository symbio-registry carries it.")],
    market: MarketOption,
    registry: RegistryOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a registry and log that are kept in a folder to a Hub, in one commit (or as a pull request)."""
    from symbio_lab.marketplace.hub import HubTransport
    from symbio_lab.marketplace.hub_address import parse_hub_address
    from symbio_lab.marketplace.hub_commits import HubWriter
    from symbio_lab.marketplace.registry.uploading import upload_registry

    address = parse_hub_address(owner)
    if address.kind != "owner":
        raise ConfigError([f"{owner!r:.80} is no owner on a Hub"], hint="write hf://OWNER")
    settings = session_of(context).settings
    hub = HubTransport(address, cache=settings.home / "hub")
    offered = upload_registry(
        kept_folder(registry_state(context, market, registry)), address.owner, HubWriter(hub.reader)
    )
    if as_json:
        print_json({"commit": offered.commit, "pull_request": offered.pull_request})
        return
    if offered.pull_request:
        typer.echo(f"proposed: {offered.pull_request}")
    else:
        typer.echo(f"uploaded, commit {offered.commit}" if offered.commit else "nothing new to upload")
