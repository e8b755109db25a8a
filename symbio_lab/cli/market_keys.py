"""``symbio market keys``: our own keys by name, and the keys of others that count here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.passphrases import new_passphrase, passphrase_of
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, session_of, utc_now
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from symbio_lab.trust.key_storage import Protection

_STATES = {"none": "NOT ENCRYPTED", "passphrase": "encrypted", "keyring": "in the keyring"}
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of one of our keys.")]


def add_keys_commands(app: typer.Typer) -> None:
    """Register ``keys`` and its commands on ``symbio market``."""
    keys = typer.Typer(
        help="Our own keys by name, and whose keys count here.", no_args_is_help=True, rich_markup_mode=None
    )
    keys.command("new")(new)
    keys.command("list")(list_keys)
    keys.command("export")(export)
    keys.command("enrol")(enrol)
    keys.command("accept")(accept)
    keys.command("revoke")(revoke)
    keys.command("rotate")(rotate)
    keys.command("protect")(protect)
    app.add_typer(keys, name="keys")


def new(
    context: typer.Context,
    name: NameArgument,
    keyring: Annotated[bool, typer.Option("--keyring", help="Keep the secret in the system's keyring.")] = False,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Keep the secret in the clear.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a key; its secret is encrypted under a passphrase unless told otherwise."""
    from symbio_lab.trust.key_ring import KeyRing

    if keyring and no_passphrase:
        raise ConfigError(["--keyring and --no-passphrase exclude each other"])
    ring = KeyRing(session_of(context).settings.keys)
    protection: Protection = "keyring" if keyring else "none" if no_passphrase else "passphrase"
    made = ring.create(name, protection, lambda: new_passphrase(name))
    if as_json:
        print_json(made)
        return
    typer.echo(f"made {name}, {_STATES[made.protection]}: {made.keyid}")
    typer.echo(made.public_hex)


def list_keys(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List our own keys, saying which are not encrypted, and the keys that count here.

    With --json: an object with ``own`` (name, keyid, public_hex, protection, retired) and ``counted`` (keyid, name,
    public_hex, known, trusted, namespaces, revoked, succeeded_by).
    """
    from symbio_lab.trust.enrolled import enrolled_policy
    from symbio_lab.trust.key_ring import KeyRing

    settings = session_of(context).settings
    own, policy = KeyRing(settings.keys).stored(), enrolled_policy(settings)
    counted: list[dict[str, Any]] = [
        {
            "keyid": keyid,
            "name": key.name,
            "public_hex": key.public_hex,
            "known": key.known,
            "trusted": keyid in policy.trusted,
            "namespaces": list(key.namespaces),
            "revoked": keyid in policy.revoked,
            "succeeded_by": policy.successors.get(keyid),
        }
        for keyid, key in policy.keys.items()
    ]
    if as_json:
        print_json({"own": own, "counted": counted})
        return
    print_table(
        ["own key", "keyid", "secret", "state"],
        [[k.name, k.keyid, _STATES[k.protection], "succeeded" if k.retired else "in use"] for k in own],
    )
    print_table(
        ["whose", "keyid", "rights", "namespaces", "state"],
        [[c["name"], c["keyid"], _rights(c), " ".join(c["namespaces"]) or "any free", _state(c)] for c in counted],
    )
    if in_the_clear := [key.name for key in own if key.protection == "none"]:
        typer.echo(
            f"not encrypted: {', '.join(in_the_clear)}; to encrypt one: symbio market keys protect NAME", err=True
        )


def export(
    context: typer.Context,
    name: NameArgument,
    out: Annotated[Path | None, typer.Option(help="Write the card to this file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the public half of a key as a card for others to enrol; the secret is not touched."""
    from symbio_lab.codec import write_json
    from symbio_lab.trust.key_card import card_of
    from symbio_lab.trust.key_ring import KeyRing

    stored = KeyRing(session_of(context).settings.keys).find(name)
    card = card_of(name, stored.public_hex)
    if out is not None:
        write_json(out, card)
    if as_json:
        print_json(card)
        return
    typer.echo(f"keyid {stored.keyid}: let others compare it with what you tell them by another way")
    typer.echo(json.dumps(card) if out is None else f"card: {out}")
    typer.echo(stored.public_hex)


def enrol(
    context: typer.Context,
    card: Annotated[str, typer.Argument(metavar="CARD_OR_HEX", help="Card of a key, or its public key (64 hex).")],
    name: Annotated[str, typer.Option(help="Who it is.")],
    known: Annotated[bool, typer.Option("--known", help="A known publisher: evaluations by this key count.")] = False,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Namespace that is this key's alone; may be repeated.")
    ] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Trust it: its patches reach the highest level, it may revoke keys.")
    ] = False,
    successor_of: Annotated[
        str | None, typer.Option(help="Keyid of a lost key whose place and names it takes by your decision.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Accept patches signed by this key from now on; enrol only publishers whom you know."""
    from symbio_lab.trust import enrolled
    from symbio_lab.trust.key_card import read_card
    from symbio_lab.trust.naming import check_namespace_name
    from symbio_lab.trust.policy import PublisherKey

    settings, public_hex = session_of(context).settings, read_card(card)
    old = enrolled.find_enrolled(settings, successor_of) if successor_of else None
    for item in namespace or ():
        check_namespace_name(item)
    entry = enrolled.EnrolledKey(
        PublisherKey(public_hex, name, known, tuple(sorted(set(namespace or ())))), trusted, old
    )
    if old is not None:
        # Judged before it is written: a second successor would silently not count.
        enrolled.enrolled_policy(settings).succeed(old, public_hex)
    enrolled.enrol(settings, entry)
    if as_json:
        row = {"keyid": entry.keyid, "public_key": public_hex, "name": name, "known": known}
        print_json({**row, "namespaces": list(entry.publisher.namespaces), "trusted": trusted, "succeeds": old})
        return
    typer.echo(f"enrolled {name}: {entry.keyid}")


def accept(
    context: typer.Context,
    statement: Annotated[Path, typer.Argument(metavar="FILE", help="Signed rotation or revocation of a key.")],
    as_json: JsonFlag = False,
) -> None:
    """Let a signed rotation or revocation count here; exit 3 if its signers have no right to say so."""
    from symbio_lab.codec import to_plain
    from symbio_lab.trust import enrolled
    from symbio_lab.trust.succession import MAX_STATEMENT_BYTES, Succession

    data = _read(statement, MAX_STATEMENT_BYTES + 1)
    accepted = enrolled.accept(session_of(context).settings, data)
    is_succession = isinstance(accepted, Succession)
    if as_json:
        print_json({"kind": "succession" if is_succession else "revocation", **to_plain(accepted)})
    elif isinstance(accepted, Succession):
        typer.echo(f"{accepted.new} takes the place of {accepted.old}, with its rights and its names")
        typer.echo("the old key counts until it is revoked", err=True)
    else:
        typer.echo(f"revoked {accepted.keyid}: {accepted.reason}")


def revoke(
    context: typer.Context,
    who: Annotated[str, typer.Argument(metavar="KEYID_OR_NAME", help="Keyid, its beginning, or a name.")],
    reason: Annotated[str, typer.Option(help="Why, for people to read.")],
    signed_by: Annotated[
        str | None, typer.Option("--signed-by", help="Also sign a revocation with this key of ours.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Revoke a key here at once; of our own keys also a signed revocation is written, to hand out.

    A revoked key does not count at all, whenever it signed: signatures have no trusted time.
    """
    from symbio_lab.trust import enrolled
    from symbio_lab.trust.key_ring import KeyRing

    settings, now = session_of(context).settings, utc_now()
    ring = KeyRing(settings.keys)
    # A name means the key in use; a retired one is named by its keyid.
    ours = [k for k in ring.stored() if who in (k.keyid, k.public_hex) or (who == k.name and not k.retired)]
    keyid = ours[0].keyid if ours else _keyid(who, settings)
    signer = signed_by or next((k.name for k in ring.stored() if k.keyid == keyid), None)
    # First what needs no passphrase: a stolen key must stop counting even if nobody remembers it.
    enrolled.revoke_here(settings, keyid, reason=reason, now=now)
    statement: Path | None = None
    if signer is not None:
        ask = partial(passphrase_of, signer)
        statement, _ = ring.revoke(keyid, signer, reason=reason, issued=now, passphrase=ask)
    if as_json:
        print_json({"keyid": keyid, "reason": reason, "revoked": now, "statement": statement})
        return
    typer.echo(f"revoked {keyid}")
    if statement is not None:
        typer.echo("hand this to everybody who enrolled the key (symbio market keys accept FILE):", err=True)
        typer.echo(str(statement))


def rotate(context: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Replace a key of ours by a new one; both sign a statement that hands rights and names on.

    The old key keeps counting until it is revoked; to do so: symbio market keys revoke OLD_KEYID --reason ...
    """
    from symbio_lab.trust import enrolled
    from symbio_lab.trust.key_ring import OWN_NAME, KeyRing
    from symbio_lab.trust.policy import PublisherKey

    settings = session_of(context).settings
    done = KeyRing(settings.keys).rotate(
        name,
        issued=utc_now(),
        old=lambda: passphrase_of(name),
        new=lambda: new_passphrase(name),
    )
    if done.old.keyid in enrolled.enrolled_policy(settings).revoked:
        # Its word counts no more, but who follows our own key is ours to decide.
        heir = PublisherKey(done.new.public_hex, enrolled.OWN_KEY_NAME, known=name == OWN_NAME)
        enrolled.enrol(settings, enrolled.EnrolledKey(heir, succeeds=done.old.keyid))
        typer.echo(
            "the old key is revoked: who has accepted that refuses its succession, and has to decide it himself: "
            f"symbio market keys enrol {done.new.public_hex} --successor-of {done.old.keyid} --name ...",
            err=True,
        )
    else:
        enrolled.accept(settings, done.statement.read_bytes())
    if as_json:
        print_json({"name": name, "old": done.old.keyid, "new": done.new.keyid, "statement": done.statement})
        return
    typer.echo(f"rotated {name}: {done.old.keyid} is succeeded by {done.new.keyid}")
    typer.echo("hand this to everybody who enrolled the old key (symbio market keys accept FILE):", err=True)
    typer.echo(str(done.statement))


def protect(
    context: typer.Context,
    name: NameArgument,
    keyring: Annotated[bool, typer.Option("--keyring", help="Move the secret to the system's keyring.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Encrypt the secret of a key under a new passphrase, or move it to the keyring; the key stays the same."""
    from symbio_lab.trust.key_ring import KeyRing

    ring = KeyRing(session_of(context).settings.keys)
    kept = ring.protect(
        name,
        "keyring" if keyring else "passphrase",
        old=lambda: passphrase_of(name),
        new=lambda: new_passphrase(name),
    )
    if as_json:
        print_json(kept)
        return
    typer.echo(f"{name} is {_STATES[kept.protection]}: {kept.keyid}")


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(most)
    except OSError as error:
        raise NotFoundError(
            f"cannot read {path}: {error.strerror or error}", hint="give the file of a statement"
        ) from error


def _keyid(who: str, settings: Settings) -> str:
    from symbio_lab.trust.enrolled import find_enrolled

    try:
        return find_enrolled(settings, who)
    except NotFoundError:
        if re.fullmatch(r"[0-9a-f]{64}", who):
            return who  # of a key that is not enrolled: enrolling it later shall not help it
        raise


def _rights(row: Mapping[str, Any]) -> str:
    return "trusted" if row["trusted"] else "known" if row["known"] else "enrolled"


def _state(row: Mapping[str, Any]) -> str:
    if row["revoked"]:
        return "REVOKED"
    return f"succeeded by {row['succeeded_by'][:16]}" if row["succeeded_by"] else ""
