"""Rows of the catalogue, each with its envelope, words, labels and statistics, written together or not at all.

Rules:
    1. Every change is one short transaction of ``store.Database``: a kill leaves the last whole chunk, and two
       processes queue.
    2. A write names the state that it starts from (the row's token, or none). Where another process was faster, its
       row stays: both saw the same market, and a difference shows at the next sync.
    3. A row whose payload and verdict stay is changed in place; any other change is a new ``row_id`` (``schema.py``).
    4. The counts in ``terms`` and ``parts`` are those of the rows, always.
    5. A damaged row is given back what its manifest says and then replaced: full-text tables that keep no text forget
       a row only when told exactly the words that it was added with.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from symbio_lab.marketplace.catalogue.card_words import (
    LABEL_SEPARATOR,
    base_mark,
    card_words,
    indexed_text,
    task_mark,
)
from symbio_lab.marketplace.catalogue.judging import JudgedOffer
from symbio_lab.marketplace.catalogue.packing import pack_envelope
from symbio_lab.marketplace.catalogue.schema import ACCEPTED, MIGRATIONS, REFUSED, TEXT_TABLES
from symbio_lab.store.database import Database

DAMAGED = "damaged"
"""Token of a row that no longer says what was signed: no market offers anything under it, so it is read again."""


def open_catalogue(path: Path) -> Database:
    """Return the catalogue's database; the file is made by the first transaction."""
    return Database(path, migrations=MIGRATIONS)


def market_number(connection: sqlite3.Connection, uri: str) -> int:
    """Return the number of a market, given on first use."""
    connection.execute("INSERT INTO markets (uri) VALUES (?) ON CONFLICT DO NOTHING", (uri,))
    return int(connection.execute("SELECT market_id FROM markets WHERE uri = ?", (uri,)).fetchone()[0])


def symbol_number(connection: sqlite3.Connection, text: str) -> int:
    """Return the number of a text that rows share, given on first use."""
    row = connection.execute("SELECT symbol_id FROM symbols WHERE text = ?", (text,)).fetchone()
    if row is None:
        return int(connection.execute("INSERT INTO symbols (text) VALUES (?)", (text,)).lastrowid or 0)
    return int(row[0])


def find_symbol(connection: sqlite3.Connection, text: str) -> int:
    """Return the number of a text, or 0, which no row has, where it was never given one."""
    row = connection.execute("SELECT symbol_id FROM symbols WHERE text = ?", (text,)).fetchone()
    return 0 if row is None else int(row[0])


class RowWriter:
    """Changes rows inside one write transaction; ``close`` writes the counts."""

    def __init__(self, connection: sqlite3.Connection, market_id: int, rules_digest: str) -> None:
        """Start with nothing changed.

        Args:
            connection: of a write transaction.
            market_id: market whose rows change.
            rules_digest: digest of the rules that the offers were judged under.
        """
        self._connection = connection
        self._market_id = market_id
        self._symbols: dict[str, int] = {}
        self._rules_id = self._symbol(rules_digest)
        self._terms: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._rows = [0, 0]
        self._words = [0, 0]
        self.num_written = 0

    def write(self, offer: JudgedOffer, start: str | None) -> bool:
        """Store one offer; return whether it was written.

        Args:
            offer: what to store.
            start: token of the row that it takes the place of; None where there was none.
        """
        found = self._connection.execute(
            "SELECT row_id, token, digest, problem FROM patches WHERE market_id = ? AND ref = ?",
            (self._market_id, offer.entry.ref),
        ).fetchone()
        if (None if found is None else found["token"]) != start:
            return False
        self.num_written += 1
        if found is not None:
            same = offer.entry.digest != "" and found["digest"] == bytes.fromhex(offer.entry.digest)
            damaged = found["token"] == DAMAGED
            if same and not damaged and (found["problem"] == "") == offer.accepted:
                self._change(found["row_id"], offer)
                return True
            if same and damaged:
                self._restore(found["row_id"], offer)
            self.delete(found["row_id"])
        self._insert(offer)
        return True

    def delete(self, row_id: int, token: str | None = None) -> bool:
        """Remove one row and everything about it; with ``token``, only if it is still in that state."""
        found = self._connection.execute(
            "SELECT p.token, p.problem, p.base_id, p.task_id, p.labels, c.words FROM patches p "
            "LEFT JOIN cards c ON c.row_id = p.row_id WHERE p.row_id = ?",
            (row_id,),
        ).fetchone()
        if found is None or token not in (None, found["token"]):
            return False
        part = ACCEPTED if found["problem"] == "" else REFUSED
        if found["words"] is not None:
            marks = (base_mark(found["base_id"]), task_mark(found["task_id"]))
            table = TEXT_TABLES[part]
            self._connection.execute(
                f"INSERT INTO {table} ({table}, rowid, words) VALUES ('delete', ?, ?)",
                (row_id, indexed_text(found["words"], marks)),
            )
            self._count(part, found["words"], marks, -1)
        for table in ("patches", "envelopes", "cards", "vectors"):
            self._connection.execute(f"DELETE FROM {table} WHERE row_id = ?", (row_id,))
        labels = [label for label in found["labels"].split(LABEL_SEPARATOR) if label]
        self._connection.executemany(
            "DELETE FROM patch_labels WHERE part = ? AND label_id = ? AND row_id = ?",
            [(part, self._symbol(label), row_id) for label in labels],
        )
        return True

    def close(self) -> None:
        """Write the counts of words and rows that the changes add up to."""
        for part in (ACCEPTED, REFUSED):
            self._connection.executemany(
                "INSERT INTO terms VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET num_rows = num_rows + excluded.num_rows",
                [(part, term, count) for term, count in self._terms[part].items() if count],
            )
            self._connection.execute(
                "UPDATE parts SET num_rows = num_rows + ?, num_words = num_words + ? WHERE part = ?",
                (self._rows[part], self._words[part], part),
            )

    def _restore(self, row_id: int, offer: JudgedOffer) -> None:
        """Put the words and numbers back that a damaged row was stored with, so that it can be taken out whole."""
        manifest = offer.entry.manifest
        if manifest is None:
            return
        self._connection.execute(
            "UPDATE patches SET base_id = ?, task_id = ?, labels = ? WHERE row_id = ?",
            (
                self._symbol(manifest.base_digest),
                self._symbol(manifest.task_type),
                LABEL_SEPARATOR.join(manifest.labels),
                row_id,
            ),
        )
        self._connection.execute(
            "INSERT INTO cards VALUES (?, ?) ON CONFLICT DO UPDATE SET words = excluded.words",
            (row_id, card_words(offer.entry.card_text)),
        )

    def _change(self, row_id: int, offer: JudgedOffer) -> None:
        self._connection.execute(
            "UPDATE patches SET token = ?, rules_id = ?, seen = ?, level = ?, problem = ?, detail = ?, "
            "valid_until = ? WHERE row_id = ?",
            (
                offer.token,
                self._rules_id,
                offer.seen,
                offer.level,
                offer.entry.problem or "",
                offer.entry.detail,
                offer.valid_until,
                row_id,
            ),
        )
        # Equal payloads may come with other signatures.
        self._connection.execute(
            "UPDATE envelopes SET packed = ? WHERE row_id = ?", (pack_envelope(offer.envelope), row_id)
        )

    def _insert(self, offer: JudgedOffer) -> None:
        entry, manifest = offer.entry, offer.entry.manifest
        base, task, licence = (
            (manifest.base_digest, manifest.task_type, manifest.licence) if manifest is not None else ("", "", "")
        )
        base_id, task_id = self._symbol(base), self._symbol(task)
        labels = manifest.labels if manifest is not None else ()
        row_id = self._connection.execute(
            "INSERT INTO patches (market_id, ref, token, digest, key_id, rules_id, seen, level, problem, detail, "
            "readable, base_id, task_id, licence_id, size_bytes, valid_until, labels) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._market_id,
                entry.ref,
                offer.token,
                bytes.fromhex(entry.digest),
                self._symbol(manifest.keyid if manifest is not None else entry.keyid),
                self._rules_id,
                offer.seen,
                offer.level,
                entry.problem or "",
                entry.detail,
                manifest is not None,
                base_id,
                task_id,
                self._symbol(licence),
                offer.size_bytes,
                offer.valid_until,
                LABEL_SEPARATOR.join(labels),
            ),
        ).lastrowid
        if offer.envelope:
            self._connection.execute("INSERT INTO envelopes VALUES (?, ?)", (row_id, pack_envelope(offer.envelope)))
        if manifest is None:
            return
        card, marks = card_words(entry.card_text), (base_mark(base_id), task_mark(task_id))
        part = ACCEPTED if offer.accepted else REFUSED
        self._connection.execute("INSERT INTO cards VALUES (?, ?)", (row_id, card))
        self._connection.execute(
            f"INSERT INTO {TEXT_TABLES[part]} (rowid, words) VALUES (?, ?)", (row_id, indexed_text(card, marks))
        )
        self._connection.executemany(
            "INSERT INTO patch_labels VALUES (?, ?, ?)", [(part, self._symbol(label), row_id) for label in labels]
        )
        self._count(part, card, marks, 1)

    def _count(self, part: int, card: str, marks: Sequence[str], sign: int) -> None:
        found = card.split()
        for term in (*marks, *set(found)):
            self._terms[part][term] += sign
        self._rows[part] += sign
        self._words[part] += sign * len(found)

    def _symbol(self, text: str) -> int:
        if text not in self._symbols:
            self._symbols[text] = symbol_number(self._connection, text)
        return self._symbols[text]


def write_offers(
    database: Database, market_id: int, rules_digest: str, offers: Iterable[JudgedOffer], start: Mapping[str, str]
) -> int:
    """Store a chunk of offers in one transaction; return how many were written.

    Args:
        database: the catalogue.
        market_id: their market.
        rules_digest: digest of the rules that they were judged under.
        offers: what to store.
        start: reference -> token of the row that an offer takes the place of; a reference that lacks had none.

    Raises:
        StorageError: the catalogue cannot be written.
    """
    with database.write() as connection:
        writer = RowWriter(connection, market_id, rules_digest)
        for offer in offers:
            writer.write(offer, start.get(offer.entry.ref))
        writer.close()
    return writer.num_written


def delete_offers(database: Database, market_id: int, rows: Iterable[tuple[int, str]]) -> int:
    """Remove rows that are still in the state given (row_id, token); return how many went.

    Raises:
        StorageError: the catalogue cannot be written.
    """
    with database.write() as connection:
        writer = RowWriter(connection, market_id, "")
        gone = sum(writer.delete(row_id, token) for row_id, token in rows)
        writer.close()
    return gone
