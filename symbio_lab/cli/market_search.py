"""Searching and listing markets: what is offered, and whether its manifest passes the policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from symbio_lab.cli.market_access import Market
from symbio_lab.errors import TrustError
from symbio_lab.records import Candidate, SearchQuery

if TYPE_CHECKING:
    from symbio_lab.marketplace.index import IndexEntry, MarketIndex
    from symbio_lab.marketplace.search import Embedder


def search_markets(markets: Sequence[Market], query: SearchQuery, *, now: str) -> tuple[list[dict[str, Any]], str]:
    """Return one row a hit, best first and refused ones last, and why none can be used if that is so.

    Args:
        markets: where to look, each judged by its own policy.
        query: what a patch must satisfy.
        now: UTC time.

    Raises:
        StorageError: a market cannot be read.
    """
    from symbio_lab.marketplace.search import explain_empty, search

    indices = read_indices(markets, now=now)
    found = search(query, indices, _embedder() if any(index.entries for index in indices) else None)
    entries = {(entry.market, entry.ref): entry for index in indices for entry in index.entries}
    by_uri = {market.uri: market for market in markets}
    rows = [_hit(hit, entries[hit.market, hit.ref], by_uri[hit.market]) for hit in found]
    if not rows:
        return rows, explain_empty(query, indices)
    if any(row["verified"] for row in rows):
        return rows, ""
    accepted = [replace(index, entries=tuple(e for e in index.entries if e.problem is None)) for index in indices]
    if any(index.entries for index in accepted):
        return rows, f"no patch passes the policy: {explain_empty(query, accepted)}"
    return rows, "no patch passes the policy: every one is refused for the problem that it shows"


def list_markets(markets: Sequence[Market], *, now: str) -> list[dict[str, Any]]:
    """Return one row a patch, by market and reference."""
    by_uri = {market.uri: market for market in markets}
    return [_offer(entry, by_uri[entry.market]) for index in read_indices(markets, now=now) for entry in index.entries]


def read_indices(markets: Sequence[Market], *, now: str) -> list[MarketIndex]:
    """Return what each market offers, judged by its own policy and memory.

    Raises:
        StorageError: a market cannot be read.
    """
    from symbio_lab.marketplace.index import IndexEntry, MarketIndex, build_index
    from symbio_lab.trust.seen_versions import load_seen

    indices = []
    for market in markets:
        try:
            indices.append(build_index(market.transport, market.policy, now=now, state=load_seen(market.seen)))
        except TrustError as error:
            # A registry that is stale or was rolled back refuses its market as a whole; the others are searched.
            refused = IndexEntry("registry", market.uri, None, problem=error.code, detail=str(error))
            indices.append(MarketIndex(market.uri, (refused,)))
    return indices


def _hit(hit: Candidate, entry: IndexEntry, market: Market) -> dict[str, Any]:
    offer = _offer(entry, market)
    reason = hit.reason if hit.problem is None else f"{entry.detail} ({hit.reason})"
    return {"id": offer.pop("id"), "score": round(hit.score, 6), **offer, "reason": reason}


def _offer(entry: IndexEntry, market: Market) -> dict[str, Any]:
    manifest = entry.manifest
    keyid = manifest.keyid if manifest else entry.keyid
    publisher = market.policy.keys.get(keyid)
    return {
        "id": entry.ref,
        "version": manifest.version if manifest else None,
        "verified": entry.problem is None,
        "problem": entry.problem,
        "reason": entry.detail or "signature and manifest pass the policy; files are checked when fetched",
        "path": _path(market, entry.ref),
        "market": market.uri,
        "digest": entry.digest or None,
        "keyid": keyid or None,
        "public_key": publisher.public_hex if publisher else None,
        "publisher": publisher.name if publisher else None,
        "title": manifest.title if manifest else None,
        "domain": manifest.domain if manifest else None,
        "labels": list(manifest.labels) if manifest else [],
        "task_type": manifest.task_type if manifest else None,
        "base_digest": manifest.base_digest if manifest else None,
        "licence": manifest.licence if manifest else None,
    }


def _path(market: Market, ref: str) -> str | None:
    try:
        return market.place(ref)
    except TrustError:
        return None  # the row's own problem says why


def _embedder() -> Embedder | None:
    from symbio_lab.models.embedding import find_embedder

    return find_embedder()
