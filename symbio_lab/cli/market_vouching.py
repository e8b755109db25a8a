"""``symbio market vouch``: an unsigned adapter of a Hub becomes a patch that you vouch for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.passphrases import passphrase_of
from symbio_lab.cli.printing import print_json
from symbio_lab.cli.session import JsonFlag, Session, expiry_after, session_of, utc_now
from symbio_lab.errors import ConfigError

if TYPE_CHECKING:
    from symbio_lab.config import Settings
    from symbio_lab.marketplace.foreign_folders import FolderSource
    from symbio_lab.marketplace.vouching import Adoption
    from symbio_lab.records import Patch


def add_vouching_commands(app: typer.Typer) -> None:
    """Register ``vouch`` on the program's market commands."""
    app.command("vouch")(vouch)


def vouch(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="hf://org/name@COMMIT, 40 hex; no branch.")],
    model: Annotated[str, typer.Option(help="The base: a folder, a Hub id, or an id that symbio heal registered.")],
    name: Annotated[
        str | None, typer.Option("--as", help="namespace/name of the patch; default: from your key.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX id, where its card states none.")] = None,
    base_is: Annotated[str | None, typer.Option(help="The name by which the adapter means this base.")] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Label of a row of its head, in its order; repeated. Default: the base's.")
    ] = None,
    scope: Annotated[str, typer.Option(help="What it heals, in words; a search finds it by them.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="Label that it is said to fix; may be repeated.")] = None,
    domain: Annotated[str, typer.Option(help="Domain of the failures.")] = "",
    market: Annotated[str | None, typer.Option("--market", help="Market to publish to as well.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Convert an unsigned PEFT adapter, sign it with your own key, and install it; exit 3 if a rule refuses it.

    Only adapter_config.json and adapter_model.safetensors are fetched, at the commit named. Nobody but you signs the
    patch: look at the adapter before, and evaluate the patch like any other.
    """
    from symbio_lab.marketplace.vouching import Adoption
    from symbio_lab.trust.naming import check_patch_id

    if not model.strip():
        raise ConfigError(["--model must not be empty"])
    if name is not None:
        check_patch_id(name)
    adoption = Adoption(
        patch_id=name,
        licence=licence,
        base_is=base_is,
        row_names=tuple(row or ()),
        scope=scope,
        labels=tuple(label or ()),
        domain=domain,
    )
    result = vouch_for(session_of(context), address, model, adoption, market=market, now=utc_now())
    if as_json:
        print_json(result)
        return
    for note in result["notes"]:
        typer.echo(note, err=True)
    where = f", published to {result['market']}" if result["market"] else ""
    if result["pull_request"]:
        where = f", proposed to {result['market']}: {result['pull_request']}"
    typer.echo(f"vouched for {result['source']} as {result['id']}, level {result['level']}{where}")
    typer.echo(result["digest"])


def vouch_for(
    session: Session,
    address: str,
    model: str,
    adoption: Adoption,
    *,
    market: str | None,
    now: str,
    source: FolderSource | None = None,
) -> dict[str, Any]:
    """Return what was installed, and published if a market is named.

    Args:
        session: of the program.
        address: ``hf://org/name@COMMIT``.
        model: folder, Hub id or registered id of the base.
        adoption: what the adopter states.
        market: address of a market; None publishes nowhere.
        now: UTC time.
        source: where to fetch from; None: the Hub.

    Raises:
        ConfigError: the address is not pinned, the licence is not known, or the market's address is wrong.
        TrustError: a rule refuses the adapter, or the name belongs to another key; nothing is stored.
        ModelUnresolvedError: the base is not found.
        NetworkUnavailableError: the Hub does not answer.
        StorageError: the store or the market cannot be written.
    """
    import tempfile
    from pathlib import Path

    from symbio_lab.cli.market_access import open_market
    from symbio_lab.marketplace.foreign_folders import parse_pinned
    from symbio_lab.marketplace.publish import publish_patch
    from symbio_lab.marketplace.vouching import unsigned_copy, vouch
    from symbio_lab.trust.enrolled import enrolled_policy
    from symbio_lab.trust.key_ring import OWN_NAME
    from symbio_lab.trust.keys import load_or_create_key
    from symbio_lab.trust.trusted_set import TrustedState
    from symbio_lab.trust.verifying import verify_patch

    settings, hub = session.settings, source or _hub()
    pinned = parse_pinned(address, hub)
    # Before anything is fetched: a market that cannot be written would waste the work.
    opened = None if market is None else open_market(market, settings, must_exist=False)
    base = load_base(model, settings)
    key = load_or_create_key(session.own_key_file, partial(passphrase_of, OWN_NAME))
    policy = enrolled_policy(settings)
    expires = expiry_after(now)
    with tempfile.TemporaryDirectory(prefix="symbio-vouch-", ignore_cleanup_errors=True) as temporary:
        drafts, checked = Path(temporary, "drafts"), Path(temporary, "checked")
        vouched = vouch(
            pinned, hub, base, key=key, store=drafts, issued=now, expires=expires, adoption=adoption, policy=policy
        )

        def install(folder: Path, store: Path) -> Patch:
            # Our own rules hold for what we vouch for as for anybody's patch.
            return verify_patch(folder, policy, TrustedState(), now=now, store=store, base_digest=base.digest)

        pull_request = ""
        if opened is None:
            patch = install(vouched.patch.root, settings.patches)
        else:
            install(vouched.patch.root, checked)
            published = publish_patch(
                unsigned_copy(vouched.patch, drafts),
                opened.transport,
                key,
                store=drafts,
                issued=now,
                expires=expires,
                predecessors=opened.policy.predecessors_of(key.keyid),
            )
            pull_request = published.pull_request
            patch = install(drafts / published.digest, settings.patches)
    return {
        "id": f"{patch.patch_id}@{patch.manifest.version}",
        "digest": patch.digest,
        "path": str(patch.root),
        "level": patch.level,
        "keyid": key.keyid,
        "public_key": key.public_hex,
        "source": pinned.uri,
        "market": opened.uri if opened is not None else None,
        "pull_request": pull_request or None,
        "base_id": patch.manifest.base_id,
        "base_digest": patch.manifest.base_digest,
        "licence": patch.manifest.licence,
        "files": vouched.folder.files,
        "not_fetched": vouched.folder.left_out,
        "notes": vouched.notes,
    }


def load_base(model: str, settings: Settings) -> Any:
    """Return the base that ``--model`` names.

    Args:
        model: an id that ``symbio heal`` registered, a model folder or a Hub id, in this order.
        settings: state folder, device and precision.

    Raises:
        ModelUnresolvedError: it is none of these, or a registered base comes out differently.
        NetworkUnavailableError: it must be downloaded and no network answers.
    """
    from symbio_lab.models.loading import load_model
    from symbio_lab.scenarios.registered_models import load_model as load_record
    from symbio_lab.scenarios.registered_models import model_file, rebuild

    if model_file(settings, model).is_file():
        return rebuild(settings, load_record(settings, model), None).model
    return load_model(model, device=settings.device, dtype=settings.dtype)


def _hub() -> FolderSource:
    from symbio_lab.marketplace.hub_folders import HubFolders

    return HubFolders()
