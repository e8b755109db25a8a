"""``symbio market log``: an append-only record of every signed statement that a market ever held."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.cli.passphrases import passphrase_of
from symbio_lab.cli.printing import print_json
from symbio_lab.cli.registry_options import MarketOption, RegistryOption
from symbio_lab.cli.registry_state import RegistryState, kept_folder, state_of
from symbio_lab.cli.session import JsonFlag, session_of
from symbio_lab.errors import ConfigError, NotFoundError, StorageError

LogKeyOption = Annotated[
    str | None, typer.Option("--log-key", help="Key of the log (NAME+ID+KEY), from its keeper; needed once.")
]
KindOption = Annotated[str, typer.Option(help="patch, evaluation, voucher, revocation or succession.")]


def add_log_commands(app: typer.Typer) -> None:
    """Register ``log`` and its commands on ``symbio market``."""
    log = typer.Typer(help="Record what a market ever held, and prove it.", no_args_is_help=True, rich_markup_mode=None)
    log.command("append")(append)
    log.command("verify")(verify)
    log.command("prove")(prove)
    log.command("check")(check)
    app.add_typer(log, name="log")


def append(
    context: typer.Context,
    market: MarketOption,
    registry: RegistryOption = None,
    origin: Annotated[str | None, typer.Option(help="Name of a new log, like example.org/market.")] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="Folder of the log's private key.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Record every statement that the market holds and the log does not; the first call makes the log and its key."""
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.marketplace.log_entries import gather_entries
    from symbio_lab.marketplace.log_writing import append_entries
    from symbio_lab.marketplace.registry.layout import LOG
    from symbio_lab.trust.checkpoint import LogKey
    from symbio_lab.trust.keys import load_or_create_key

    settings = session_of(context).settings
    state = state_of(market, settings, registry)
    folder = kept_folder(state) / LOG
    transport = open_market(market, settings).transport
    key = load_or_create_key((keys or state.keys) / "log.json", partial(passphrase_of, "log"))
    known = _known_name(state)
    if known is not None and origin not in (None, known):
        raise ConfigError([f"the log is called {known}, not {origin}"], hint="leave out --origin")
    name = known or origin or f"symbio-market/{key.keyid[:16]}"
    log_key = state.log_key(LogKey(name, key.public_key).text)
    gathered = gather_entries(transport)
    done = append_entries(
        folder, [entry.to_bytes() for entry in gathered.entries], key, origin=name, memory=state.log_signed
    )
    result = {
        "log": str(folder),
        "num_added": done.num_added,
        "num_unreadable": gathered.num_unreadable,
        "size": done.checkpoint.size,
        "root": done.checkpoint.root.hex(),
        "log_key": log_key.text,
    }
    if as_json:
        print_json(result)
        return
    if gathered.num_unreadable:
        typer.echo(f"{gathered.num_unreadable} envelopes hold no statement that can be recorded", err=True)
    typer.echo(f"recorded {done.num_added} statements; the log has {done.checkpoint.size}; readers need its key:")
    typer.echo(log_key.text)


def verify(
    context: typer.Context,
    market: MarketOption,
    registry: RegistryOption = None,
    log_key: LogKeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check the whole log: signature, every entry and tile, and that it continues what was seen here the last time.

    A log that shrinks or rewrites history is refused (bad_proof). Compare the printed size and root with others: a
    log that shows each reader its own history is found that way only.
    """
    from symbio_lab.marketplace.log_entries import read_entry
    from symbio_lab.marketplace.log_reading import verify_log

    state = state_of(market, session_of(context).settings, registry)
    found = verify_log(_reader(state, log_key), state.log_seen)
    kinds: dict[str, int] = {}
    for entry in map(read_entry, found.entries):
        kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
    before = found.remembered.size if found.remembered is not None else None
    result: dict[str, Any] = {
        "origin": found.checkpoint.origin,
        "size": found.checkpoint.size,
        "root": found.checkpoint.root.hex(),
        "size_before": before,
        "kinds": dict(sorted(kinds.items())),
    }
    if as_json:
        print_json(result)
        return
    grown = "read for the first time" if before is None else f"continues the {before} entries seen before"
    typer.echo(f"ok  {result['origin']}  {result['size']} entries, {grown}")
    typer.echo(result["root"])


def prove(
    context: typer.Context,
    patch_id: Annotated[str, typer.Argument(metavar="ID", help="namespace/name[@version], or a payload digest.")],
    market: MarketOption,
    registry: RegistryOption = None,
    log_key: LogKeyOption = None,
    kind: KindOption = "patch",
    out: Annotated[Path | None, typer.Option("--out", help="Write the proof to this file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a proof that the log holds a patch or statement; it verifies by itself: symbio market log check."""
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.codec import write_atomic
    from symbio_lab.marketplace.log_entries import LogEntry, digest_of_ref
    from symbio_lab.marketplace.log_proof import prove_entry, verify_proof

    _check_kind(kind)
    settings = session_of(context).settings
    state = state_of(market, settings, registry)
    reader = _reader(state, log_key)
    digest = digest_of_ref(open_market(market, settings).transport, patch_id)
    entry = LogEntry(digest, kind)
    proof = prove_entry(reader, entry)
    proved = verify_proof(proof, reader.key, entry)
    if out is not None:
        write_atomic(out, proof.encode())
    if as_json:
        print_json(
            {"digest": digest, "kind": kind, "index": proved.index, "size": proved.checkpoint.size, "proof": proof}
        )
    elif out is None:
        typer.echo(proof, nl=False)
    else:
        typer.echo(f"entry {proved.index} of {proved.checkpoint.size}")
        typer.echo(str(out))


def check(
    context: typer.Context,
    proof: Annotated[Path, typer.Argument(help="File that symbio market log prove wrote.")],
    log_key: Annotated[str, typer.Option("--log-key", help="Key of the log (NAME+ID+KEY), from its keeper.")],
    digest: Annotated[str | None, typer.Option(help="Payload digest that it must prove.")] = None,
    kind: KindOption = "patch",
    as_json: JsonFlag = False,
) -> None:
    """Check a proof by itself: no market, no network, only the key of the log."""
    from symbio_lab.marketplace.log_entries import LogEntry
    from symbio_lab.marketplace.log_proof import verify_proof
    from symbio_lab.trust.checkpoint import LogKey

    _check_kind(kind)
    try:
        text = proof.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {proof}", hint="check the path") from error
    except OSError as error:
        raise StorageError(f"cannot read {proof.name}: {error.strerror or error}") from error
    expected = LogEntry(digest, kind) if digest is not None else None
    proved = verify_proof(text, LogKey.parse(log_key), expected)
    result = {
        "digest": proved.entry.digest,
        "kind": proved.entry.kind,
        "index": proved.index,
        "size": proved.checkpoint.size,
        "origin": proved.checkpoint.origin,
    }
    if as_json:
        print_json(result)
        return
    typer.echo(f"ok  {result['kind']}, entry {result['index']} of {result['size']} in {result['origin']}")
    typer.echo(result["digest"])


def _reader(state: RegistryState, log_key: str | None) -> Any:
    from symbio_lab.marketplace.log_reading import LogReader
    from symbio_lab.marketplace.registry.layout import LOG
    from symbio_lab.marketplace.registry.static_files import below

    return LogReader(below(state.files, LOG), state.log_key(log_key))


def _known_name(state: RegistryState) -> str | None:
    """Return the name of the log that is kept here, or None before its first entry."""
    try:
        return state.log_key().name
    except NotFoundError:
        return None


def _check_kind(kind: str) -> None:
    from symbio_lab.marketplace.log_entries import KINDS

    if kind not in KINDS.values():
        raise ConfigError([f"--kind {kind!r:.40} is not one of {', '.join(KINDS.values())}"])
