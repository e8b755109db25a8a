"""Judging rows again from the envelopes kept here: a changed policy, and every signature from the beginning.

Rules:
    1. A row is stale when it was judged under other rules than today's, when the memory of its patch changed, or when
       an accepted row's time has come. Everything else keeps its verdict.
    2. Stale rows are judged by the same rules as new ones, a chunk at a time, in the order of their numbers; a kill
       leaves the rest stale, and the next sync goes on with them. A row whose envelope is damaged keeps its verdict
       until the next sync has read it again.
    3. ``verify_signatures`` trusts no verdict of the catalogue: for every accepted row the payload is hashed and the
       publisher's signature verified again. A row that does not hold is reported and made stale.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symbio_lab.errors import StorageError, TrustError
from symbio_lab.marketplace.catalogue.card_words import LABEL_SEPARATOR, card_words
from symbio_lab.marketplace.catalogue.evaluations import kept_evaluations
from symbio_lab.marketplace.catalogue.judging import MarketRules, judge_offer
from symbio_lab.marketplace.catalogue.packing import unpack_envelope, unpack_parts
from symbio_lab.marketplace.catalogue.storing import DAMAGED, find_symbol, symbol_number, write_offers
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.store.database import Database
from symbio_lab.trust.envelope import PAYLOAD_TYPE, open_envelope, pae, peek_payload
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.manifest import payload_to_manifest

logger = logging.getLogger(__name__)

CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """What verifying every signature again found."""

    num_checked: int
    """Accepted rows looked at."""
    damaged: tuple[tuple[str, str], ...]
    """(reference, what is wrong) of each row that does not hold."""


def rejudge_stale(database: Database, market_id: int, market: str, rules: MarketRules, *, chunk: int = CHUNK) -> int:
    """Return how many rows were judged again because their verdict may have changed.

    Args:
        database: the catalogue.
        market_id: whose rows.
        market: its URI.
        rules: policy, memory and time of today.
        chunk: rows in one transaction.

    Raises:
        StorageError: the catalogue cannot be read or written.
    """
    _mark_seen(database, market_id, rules)
    rules_id = _rules_number(database, rules)
    evaluations = kept_evaluations(database, market_id)
    last = num_judged = 0
    while True:
        with database.read() as connection:
            rows = connection.execute(
                "SELECT p.row_id, p.ref, p.token, p.digest, p.problem, p.detail, e.packed FROM patches p "
                "LEFT JOIN envelopes e ON e.row_id = p.row_id "
                "WHERE p.row_id > ? AND +p.market_id = ? AND "  # in the order of rows, see _ACCEPTED
                "(p.rules_id <> ? OR (p.problem = '' AND p.valid_until <= ?)) ORDER BY p.row_id LIMIT ?",
                (last, market_id, rules_id, rules.now, chunk),
            ).fetchall()
        if not rows:
            return num_judged
        last, start = rows[-1]["row_id"], {row["ref"]: row["token"] for row in rows}
        offers = []
        unread: list[tuple[int, str, int]] = []
        broken: list[int] = []
        for row in rows:
            if row["packed"] is None:
                unread.append((rules_id, rules.seen(row["ref"]), row["row_id"]))
                continue
            known = evaluations.get(row["digest"].hex(), ())
            try:
                envelope = unpack_envelope(row["packed"])
            except StorageError as error:
                logger.warning("%s of %s is read again at the next sync: %s", row["ref"], market, error)
                broken.append(row["row_id"])
                continue
            offers.append(judge_offer(row["ref"], market, envelope, rules, token=row["token"], evaluations=known))
        if offers:
            write_offers(database, market_id, rules.digest, offers, start)
        _mark_damaged(database, broken)
        if unread:
            # Nothing was read of these that a rule could see: their verdict is the market's own answer.
            with database.write() as connection:
                connection.executemany("UPDATE patches SET rules_id = ?, seen = ? WHERE row_id = ?", unread)
        num_judged += len(offers)


def verify_signatures(
    database: Database, market_id: int, rules: MarketRules, *, columns: bool = False, chunk: int = CHUNK
) -> SignatureReport:
    """Return which accepted rows of a market do not hold when hashed and verified from the beginning.

    Args:
        database: the catalogue.
        market_id: whose rows.
        rules: the keys of their policy count.
        columns: also compare what is searched and filtered with the signed manifest.
        chunk: rows read at once.

    Raises:
        StorageError: the catalogue cannot be read or written.
        TrustError: ``bad_key``: a key of the policy is not valid.
    """
    keys = rules.policy.public_keys
    damaged: list[tuple[str, str]] = []
    num_checked = last = 0
    while True:
        with database.read() as connection:
            rows = connection.execute(_ACCEPTED, (last, market_id, chunk)).fetchall()
        if not rows:
            return SignatureReport(num_checked, tuple(damaged))
        last, num_checked = rows[-1]["row_id"], num_checked + len(rows)
        broken: list[int] = []
        for row in rows:
            if wrong := _wrong_signature(row, keys) or (_wrong_columns(row) if columns else ""):
                damaged.append((row["ref"], wrong))
                broken.append(row["row_id"])
        _mark_damaged(database, broken)


_ACCEPTED = """
    SELECT p.row_id, p.ref, p.digest, k.text AS keyid, b.text AS base, t.text AS task, l.text AS licence,
        p.size_bytes, p.labels, c.words, e.packed
    FROM patches p JOIN symbols k ON k.symbol_id = p.key_id JOIN symbols b ON b.symbol_id = p.base_id
    JOIN symbols t ON t.symbol_id = p.task_id JOIN symbols l ON l.symbol_id = p.licence_id
    LEFT JOIN cards c ON c.row_id = p.row_id LEFT JOIN envelopes e ON e.row_id = p.row_id
    WHERE p.row_id > ? AND +p.market_id = ? AND +p.problem = '' ORDER BY p.row_id LIMIT ?
"""
"""The next rows. The plus signs keep SQLite to the order of rows: by the index of a market it would sort all of that
market's rows for every chunk (at a million rows five sixths of the time)."""


def _wrong_signature(row: sqlite3.Row, keys: Mapping[str, PublicKey]) -> str:
    key = keys.get(row["keyid"])
    if row["packed"] is None:
        return "its envelope is missing"
    if key is None:
        return "its key is not enrolled any more"
    try:
        parts = unpack_parts(row["packed"])
        if parts is None:
            # Not in the usual form: read as any envelope from outside.
            opened = open_envelope(unpack_envelope(row["packed"]), keys)
            payload, holds = opened.payload, row["keyid"] in opened.keyids
        else:
            payload, signed = parts[0], pae(PAYLOAD_TYPE, parts[0])
            holds = any(keyid == row["keyid"] and key.verifies(signed, sig) for keyid, sig in parts[1])
            # A keyid beside a signature is a hint only: before a row is called damaged, every key is tried.
            holds = holds or row["keyid"] in open_envelope(unpack_envelope(row["packed"]), keys).keyids
    except (StorageError, TrustError) as error:
        return str(error)
    if hashlib.sha256(payload).digest() != row["digest"]:
        return "its payload is not the one that was judged"
    return "" if holds else "its publisher did not sign it"


def _wrong_columns(row: sqlite3.Row) -> str:
    """Return which column differs from the signed manifest, if any; the signature was verified before."""
    envelope = unpack_envelope(row["packed"])
    manifest = payload_to_manifest(peek_payload(envelope))
    signed = {
        "ref": manifest.patch_id,
        "keyid": manifest.keyid,
        "base": manifest.base_digest,
        "task": manifest.task_type,
        "licence": manifest.licence,
        "size_bytes": sum(entry.size_bytes for entry in manifest.files),
        "labels": LABEL_SEPARATOR.join(manifest.labels),
        "words": card_words(IndexEntry(row["ref"], "", manifest).card_text),
    }
    differing = [name for name, value in signed.items() if row[name] != value]
    return f"its {differing[0]} is not what was signed" if differing else ""


def _mark_damaged(database: Database, row_ids: Sequence[int]) -> None:
    """Let the next sync read these offers again."""
    if row_ids:
        with database.write() as connection:
            connection.executemany(
                "UPDATE patches SET rules_id = 0, token = ? WHERE row_id = ?", [(DAMAGED, n) for n in row_ids]
            )


def _mark_seen(database: Database, market_id: int, rules: MarketRules) -> None:
    """Make rows stale whose patch is remembered otherwise than when they were judged."""
    with database.read() as connection:
        marked = connection.execute("SELECT ref, seen FROM patches WHERE market_id = ? AND seen <> ''", (market_id,))
        refs = {ref for ref, seen in marked if seen != rules.seen(ref)}
        ask = "SELECT seen FROM patches WHERE market_id = ? AND ref = ?"
        for ref in rules.state.seen:
            found = connection.execute(ask, (market_id, ref)).fetchone()
            if found is not None and found[0] != rules.seen(ref):
                refs.add(ref)
    if refs:
        with database.write() as connection:
            connection.executemany(
                "UPDATE patches SET rules_id = 0 WHERE market_id = ? AND ref = ?",
                [(market_id, ref) for ref in sorted(refs)],
            )


def _rules_number(database: Database, rules: MarketRules) -> int:
    with database.read() as connection:
        found = find_symbol(connection, rules.digest)
    if found:
        return found
    with database.write() as connection:
        return symbol_number(connection, rules.digest)
