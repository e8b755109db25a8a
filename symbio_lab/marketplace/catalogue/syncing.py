"""Bringing the catalogue up to date with a market, reading only what is new or changed.

Protocol:
    1. The rows known are looked at first and the market is listed afterwards, so that a row added in between by
       another process is never taken for one that the market dropped.
    2. New and changed offers are read, judged (``judging.py``) and stored, a chunk at a time. A kill loses at most
       one chunk of work and nothing that was stored; the next sync goes on, for unwritten offers still differ.
    3. What the market no longer offers is removed.
    4. Signed evaluations that changed are kept too, and the rows that they are about judged again.
    5. Rows whose verdict no longer follows from the rules (a changed policy, versions seen since, an expiry that has
       come) are judged again from the envelopes kept here; the market is not asked (``rejudging.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.catalogue.changes import Listing, list_market, token_of
from symbio_lab.marketplace.catalogue.evaluations import kept_evaluations, sync_evaluations
from symbio_lab.marketplace.catalogue.judging import JudgedOffer, MarketRules, judge_offer, refuse_unread, stated_digest
from symbio_lab.marketplace.catalogue.rejudging import rejudge_stale
from symbio_lab.marketplace.catalogue.storing import delete_offers, market_number, write_offers
from symbio_lab.marketplace.transport import Transport
from symbio_lab.store.database import Database

logger = logging.getLogger(__name__)

CHUNK = 1_000
"""Offers in one transaction."""
Listen = Callable[[int, int], None]
"""Called with (offers read so far, offers to read)."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one sync of one market did."""

    market: str
    num_offered: int = 0
    """Patches that the market lists."""
    num_read: int = 0
    """Envelopes read from it."""
    num_written: int = 0
    """Rows added or changed; fewer than read where another process was faster or nothing had changed."""
    num_removed: int = 0
    num_rejudged: int = 0
    """Rows judged again without the market."""
    num_accepted: int = 0
    """Rows of this market that pass the policy now."""
    num_refused: int = 0
    num_bytes: int = 0
    """Bytes read from the market."""


@dataclass(slots=True)
class _Plan:
    """What differs between the rows and the listing."""

    wanted: list[str] = field(default_factory=list)
    start: dict[str, str] = field(default_factory=dict)
    """Reference -> token of the row that will be replaced."""
    gone: list[tuple[int, str]] = field(default_factory=list)


def sync_market(
    database: Database,
    transport: Transport,
    rules: MarketRules,
    *,
    chunk: int = CHUNK,
    num_readers: int = 1,
    listen: Listen | None = None,
) -> SyncReport:
    """Return what changed after the catalogue holds what ``transport`` offers now, judged by ``rules``.

    Args:
        database: the catalogue (``storing.open_catalogue``).
        transport: market to read.
        rules: policy, memory of versions, time.
        chunk: offers in one transaction.
        num_readers: threads that read from the market; more than one where it is far away and its transport may be
            used by several threads.
        listen: told how far it is.

    Raises:
        StorageError: the market cannot be read, or the catalogue cannot be written; what was stored stays.
    """
    with database.write() as connection:
        market_id = market_number(connection, transport.uri)
    plan, listing = _plan(database, market_id, transport)
    num_read = num_written = num_bytes = 0
    for first in range(0, len(plan.wanted), chunk):
        refs = plan.wanted[first : first + chunk]
        kept = kept_evaluations(database, market_id)
        offers: list[JudgedOffer] = []
        for ref, found in _read(transport, refs, num_readers):
            if isinstance(found, NotFoundError):
                continue  # withdrawn between listing and reading; the next sync sees it gone
            token = listing.offers[ref] or (
                token_of(found) if isinstance(found, bytes) else token_of(found.code.encode())
            )
            num_read += 1
            num_bytes += len(found) if isinstance(found, bytes) else 0
            if token == plan.start.get(ref) and not listing.offers[ref]:
                continue  # read only to be told from what is known, and the same
            if isinstance(found, TrustError):
                offers.append(refuse_unread(ref, transport.uri, found, rules, token=token))
                continue
            evaluations = kept.get(stated_digest(found), ()) if kept else ()
            offers.append(judge_offer(ref, transport.uri, found, rules, token=token, evaluations=evaluations))
        if offers:
            num_written += write_offers(database, market_id, rules.digest, offers, plan.start)
        if listen is not None:
            listen(min(first + chunk, len(plan.wanted)), len(plan.wanted))
    num_removed = delete_offers(database, market_id, plan.gone) if plan.gone else 0
    num_bytes += sync_evaluations(database, market_id, transport, rules, listing.evaluations)
    num_rejudged = rejudge_stale(database, market_id, transport.uri, rules, chunk=chunk)
    accepted, refused = _finish(database, market_id, rules.now)
    logger.info("synced %s: %d offered, %d read, %d removed", transport.uri, len(listing.offers), num_read, num_removed)
    return SyncReport(
        market=transport.uri,
        num_offered=len(listing.offers),
        num_read=num_read,
        num_written=num_written,
        num_removed=num_removed,
        num_rejudged=num_rejudged,
        num_accepted=accepted,
        num_refused=refused,
        num_bytes=num_bytes,
    )


def _plan(database: Database, market_id: int, transport: Transport) -> tuple[_Plan, Listing]:
    plan = _Plan()
    with database.read() as connection:
        # The first statement fixes the state that is seen; listing comes after it on purpose.
        connection.execute("SELECT count(*) FROM markets").fetchone()
        listing = list_market(transport)
        known = set()
        for row_id, ref, token in connection.execute(
            "SELECT row_id, ref, token FROM patches WHERE market_id = ?", (market_id,)
        ):
            offered = listing.offers.get(ref)
            if offered is None:
                plan.gone.append((row_id, token))
                continue
            known.add(ref)
            if offered != token:
                plan.wanted.append(ref)
                plan.start[ref] = token
    plan.wanted += [ref for ref in listing.offers if ref not in known]
    plan.wanted.sort()
    return plan, listing


def _read(
    transport: Transport, refs: Sequence[str], num_readers: int
) -> Iterator[tuple[str, bytes | TrustError | NotFoundError]]:
    """Yield each reference with its envelope, or with the reason that there is none; other errors are raised."""

    def one(ref: str) -> bytes | TrustError | NotFoundError:
        try:
            return transport.read_manifest(ref)
        except (TrustError, NotFoundError) as error:
            return error

    if num_readers <= 1:
        yield from ((ref, one(ref)) for ref in refs)
        return
    with ThreadPoolExecutor(num_readers) as pool:
        yield from zip(refs, pool.map(one, refs), strict=True)


def _finish(database: Database, market_id: int, now: str) -> tuple[int, int]:
    with database.write() as connection:
        connection.execute("UPDATE markets SET synced_at = ? WHERE market_id = ?", (now, market_id))
        accepted, total = connection.execute(
            "SELECT coalesce(sum(problem = ''), 0), count(*) FROM patches WHERE market_id = ?", (market_id,)
        ).fetchone()
    return int(accepted), int(total) - int(accepted)
