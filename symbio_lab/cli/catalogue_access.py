"""The catalogue of this installation, behind ``symbio market sync`` and ``symbio market catalogue``.

Rules:
    1. Every market keeps its own policy and memory, as in ``market_access``; a key given for one call changes nothing
       here, for a catalogue outlives the call.
    2. Before a search, rows whose policy, memory or time has changed since they were judged are judged again from the
       envelopes kept here: a key that was revoked a minute ago is refused without asking any market.
    3. What needs an optional package or a model that is not here is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.cli.market_access import Market, local_markets, open_market
from symbio_lab.errors import MissingExtraError, NotFoundError
from symbio_lab.records import SearchQuery

if TYPE_CHECKING:
    from symbio_lab.config import Settings
    from symbio_lab.marketplace.catalogue.judging import MarketRules
    from symbio_lab.models.embedding import SentenceEmbedder
    from symbio_lab.store.database import Database

TEXT_INDEX_FROM = 200_000
"""Accepted patches from which on a tantivy index is kept."""


def catalogue_file(settings: Settings) -> Path:
    """Return the catalogue's database."""
    return settings.home / "catalogue.db"


def sync_catalogue(
    settings: Settings, uris: Sequence[str], *, now: str, readers: int = 1, embed: bool = True
) -> dict[str, Any]:
    """Bring the catalogue up to date with markets; return a report for each, and notes for people.

    Args:
        settings: state folder.
        uris: markets; empty takes those known to the catalogue, or every local pool where it knows none.
        now: UTC time.
        readers: offers read at once.
        embed: whether the accepted cards are embedded.

    Raises:
        NotFoundError: there is no market to sync.
        StorageError: a market cannot be read, or the catalogue cannot be written.
    """
    from symbio_lab.marketplace.catalogue.storing import open_catalogue
    from symbio_lab.marketplace.catalogue.syncing import sync_market

    database = open_catalogue(catalogue_file(settings))
    known = [] if uris else [uri for _, uri in _known_markets(database)]
    markets = [open_market(uri, settings) for uri in (uris or known)] or local_markets(settings)
    reports = [sync_market(database, m.transport, _rules(m, now), num_readers=readers) for m in markets]
    notes = _derive(settings, database, embed=embed)
    return {"markets": reports, "notes": notes}


def catalogue_status(settings: Settings) -> dict[str, Any]:
    """Return what the catalogue holds.

    Raises:
        NotFoundError: nothing was synced yet.
    """
    from symbio_lab.marketplace.catalogue.hybrid import vectors_folder

    database = _existing(settings)
    folder = vectors_folder(database.path)
    with database.read() as connection:
        counts = connection.execute(
            "SELECT m.uri, m.synced_at, p.problem, count(p.row_id) FROM markets m "
            "LEFT JOIN patches p ON p.market_id = m.market_id GROUP BY m.uri, m.synced_at, p.problem ORDER BY m.uri"
        ).fetchall()
        accepted = int(connection.execute("SELECT count(*) FROM patches WHERE problem = ''").fetchone()[0])
        sets = connection.execute(
            "SELECT s.embedder, s.num_dims, (SELECT count(*) FROM vectors v WHERE v.set_id = s.set_id) "
            "FROM vector_sets s ORDER BY s.embedder"
        ).fetchall()
    markets: dict[str, dict[str, Any]] = {}
    for uri, synced_at, problem, count in counts:
        empty = {"market": uri, "synced_at": synced_at, "accepted": 0, "refused": 0, "problems": {}}
        entry = markets.setdefault(uri, empty)
        if problem == "":
            entry["accepted"] = count
        elif problem is not None:
            entry["refused"] += count
            entry["problems"][problem] = count
    files = [*database.path.parent.glob(f"{database.path.name}*"), *folder.glob("**/*")]
    return {
        "markets": list(markets.values()),
        "vectors": [{"embedder": e, "num_dims": d, "held": held, "accepted": accepted} for e, d, held in sets],
        "num_bytes": sum(path.stat().st_size for path in files if path.is_file()),
        "path": str(database.path),
    }


def search_catalogue(
    settings: Settings, query: SearchQuery, uris: Sequence[str], *, now: str, require_labels: bool = False
) -> list[dict[str, Any]]:
    """Return one row a hit, best first and refused ones last, judged by the policy of today.

    Raises:
        NotFoundError: nothing was synced yet, or a market that was not is named.
        StorageError: the catalogue cannot be read or written.
    """
    from symbio_lab.marketplace.catalogue.hybrid import Catalogue
    from symbio_lab.marketplace.catalogue.rejudging import rejudge_stale

    database = _existing(settings)
    asked = _asked_markets(database, settings, uris)
    for market_id, market in asked:
        rejudge_stale(database, market_id, market.uri, _rules(market, now))
    embedder = _embedder() if _has_vectors(database) else None
    name = embedder.digest if embedder is not None else ""
    catalogue = Catalogue(database.path, embedder, name)
    markets = [market.uri for _, market in asked] if uris else ()
    found = catalogue.search(query, now=now, markets=markets, require_labels=require_labels)
    return [
        {
            "id": hit.ref,
            "score": round(hit.score, 6),
            "verified": hit.problem is None,
            "problem": hit.problem,
            "reason": hit.reason,
            "market": hit.market,
            "version": hit.manifest.version if hit.manifest else None,
            "title": hit.manifest.title if hit.manifest else None,
            "labels": list(hit.manifest.labels) if hit.manifest else [],
            "base_digest": hit.manifest.base_digest if hit.manifest else None,
            "licence": hit.manifest.licence if hit.manifest else None,
        }
        for hit in found
    ]


def verify_catalogue(settings: Settings, uris: Sequence[str], *, now: str) -> dict[str, Any]:
    """Verify every accepted row from the beginning; return how many, and those that do not hold.

    Raises:
        NotFoundError: nothing was synced yet, or a market that was not is named.
        StorageError: the catalogue cannot be read or written.
    """
    from symbio_lab.marketplace.catalogue.rejudging import verify_signatures

    database = _existing(settings)
    num_checked, damaged = 0, []
    for market_id, market in _asked_markets(database, settings, uris):
        report = verify_signatures(database, market_id, _rules(market, now), columns=True)
        num_checked += report.num_checked
        damaged += [{"market": market.uri, "id": ref, "reason": reason} for ref, reason in report.damaged]
    return {"num_checked": num_checked, "damaged": damaged}


def _rules(market: Market, now: str) -> MarketRules:
    from symbio_lab.marketplace.catalogue.judging import MarketRules
    from symbio_lab.trust.seen_versions import load_seen

    return MarketRules(market.policy, now, load_seen(market.seen))


def _existing(settings: Settings) -> Database:
    from symbio_lab.marketplace.catalogue.storing import open_catalogue

    if not catalogue_file(settings).is_file():
        raise NotFoundError("there is no catalogue yet", hint="make it: symbio market sync --market ADDRESS")
    return open_catalogue(catalogue_file(settings))


def _known_markets(database: Database) -> list[tuple[int, str]]:
    if not database.path.is_file():
        return []
    with database.read() as connection:
        rows = connection.execute("SELECT market_id, uri FROM markets ORDER BY uri").fetchall()
    return [(int(row[0]), str(row[1])) for row in rows]


def _asked_markets(database: Database, settings: Settings, uris: Sequence[str]) -> list[tuple[int, Market]]:
    """Return the known markets that are asked for; a market that went away is still judged and searched."""
    known = {uri: number for number, uri in _known_markets(database)}
    opened = [open_market(uri, settings, must_exist=False) for uri in (uris or known)]
    for market in opened:
        if market.uri not in known:
            raise NotFoundError(f"{market.uri} was not synced", hint=f"symbio market sync --market {market.uri}")
    return [(known[market.uri], market) for market in opened]


def _has_vectors(database: Database) -> bool:
    with database.read() as connection:
        return connection.execute("SELECT 1 FROM vector_sets WHERE num_slots > 0").fetchone() is not None


def _derive(settings: Settings, database: Database, *, embed: bool) -> list[str]:
    """Bring vectors and indexes up to date; return what had to be left out."""
    from symbio_lab.marketplace.catalogue.approximate import build_index
    from symbio_lab.marketplace.catalogue.embedding import embed_missing
    from symbio_lab.marketplace.catalogue.hybrid import vectors_folder
    from symbio_lab.marketplace.catalogue.tantivy_text import update_text_index

    folder, notes = vectors_folder(database.path), []
    with database.read() as connection:
        accepted = int(connection.execute("SELECT num_rows FROM parts WHERE part = 0").fetchone()[0])
    embedder = _embedder() if embed and accepted else None
    if embed and accepted and embedder is None:
        notes.append("no sentence encoder on this machine: searches go by words only")
    try:
        if embedder is not None:
            embed_missing(database, folder, lambda texts: embedder(texts), embedder.digest)
            build_index(database, folder, embedder.digest)
        if accepted >= TEXT_INDEX_FROM:
            update_text_index(database, folder)
    except MissingExtraError as error:
        notes.append(f"searches are slower than they could be: {error}; {error.hint}")
    return notes


def _embedder() -> SentenceEmbedder | None:
    from symbio_lab.models.embedding import find_embedder

    return find_embedder()
