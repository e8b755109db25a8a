"""A tantivy index of the accepted cards, for searches by many words over a million rows; extra ``search``.

It is derived from the catalogue like the faiss index: built and brought up to date by a sync, and asked only while it
covers every row; else the full-text table of SQLite is. Words that FTS5 could not afford are free here, because
tantivy leaves out blocks of rows that cannot reach the best.

References:
    Ding and Suel (2011), "Faster Top-k Document Retrieval Using Block-Max Indexes", section 3.
    Differs from the paper: nothing of ours; the filters of a search are tried on the best rows, block by block.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symbio_lab.errors import MissingExtraError, StorageError
from symbio_lab.marketplace.catalogue.card_words import base_mark, indexed_text, task_mark, text_key
from symbio_lab.marketplace.catalogue.filtering import Filter
from symbio_lab.store.database import Database

logger = logging.getLogger(__name__)

MOST_WORDS = 24
"""Words of a query that are asked for, the rarest first."""
_NAME = "tantivy"
_READ = 10_000
_HEAP_BYTES = 64 << 20
_FIRST_BLOCK = 2
_NEXT_BLOCK = 4


def update_text_index(database: Database, folder: Path) -> int:
    """Bring the index up to date; return how many cards were added.

    Where most of its cards have no row any more it is built anew. While another process is at it, nothing is done.

    Args:
        database: the catalogue.
        folder: of the derived files; made when missing.

    Raises:
        MissingExtraError: tantivy is not installed.
        StorageError: the catalogue cannot be read or the index cannot be written.
    """
    tantivy = import_tantivy()
    with database.read() as connection:
        generation, covered = _state(connection)
        newest = _newest(connection)
        live = connection.execute("SELECT num_rows FROM parts WHERE part = 0").fetchone()[0]
    target = _folder(folder, generation)
    if covered and _is_worn(target, live):
        generation, covered = generation + 1, 0
        target = _folder(folder, generation)
    elif covered == newest:
        return 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(_schema(tantivy), path=str(target))
        writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
    except (OSError, ValueError) as error:
        if "lock" in str(error).lower():
            logger.info("another process brings the text index up to date")
            return 0
        raise StorageError(f"cannot write the text index: {error}") from error
    num_added, last = 0, covered
    while rows := _cards(database, last, newest):
        for row in rows:
            marks = (base_mark(row["base_id"]), task_mark(row["task_id"]))
            document = tantivy.Document()
            document.add_unsigned("row_id", row["row_id"])
            document.add_text("words", indexed_text(row["words"], marks))
            writer.add_document(document)
        last, num_added = rows[-1]["row_id"], num_added + len(rows)
    try:
        writer.commit()
        writer.wait_merging_threads()
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write the text index: {error}") from error
    with database.write() as connection:
        connection.execute(
            "INSERT INTO derived VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET generation = excluded.generation, "
            "covered = excluded.covered",
            (_NAME, generation, newest),
        )
    for old in folder.glob("text-*"):
        if old != target:
            # What another process has open stays readable to it; what cannot be removed is removed next time.
            shutil.rmtree(old, ignore_errors=True)
    return num_added


class TantivyText:
    """The index, opened once and reloaded when it grew."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read."""
        self._folder = folder
        self._opened: tuple[tuple[int, int], Any] | None = None

    def covers(self, connection: sqlite3.Connection) -> bool:
        """Return whether the index is there and holds every row; opens it then.

        Raises:
            StorageError: its files are damaged.
        """
        state = _state(connection)
        if not state[1] or state[1] != _newest(connection) or not _folder(self._folder, state[0]).is_dir():
            return False
        if self._opened is None or self._opened[0] != state:
            try:
                tantivy = import_tantivy()
                self._opened = (state, tantivy.Index.open(str(_folder(self._folder, state[0]))))
            except MissingExtraError:
                return False
            except (OSError, ValueError) as error:
                raise StorageError(
                    f"cannot read the text index: {error}", hint="delete the catalogue's vectors folder and sync again"
                ) from error
        return True

    def best(self, connection: sqlite3.Connection, counts: dict[str, int], wanted: Filter, depth: int) -> list[int]:
        """Return the numbers of up to ``depth`` rows that pass the filter, best match first.

        Args:
            connection: of the catalogue, whose rows the index covers (``covers``).
            counts: words of the query that rows hold, with how many.
            wanted: hard filters.
            depth: rows to return, at most.
        """
        if self._opened is None or not counts or depth < 1:
            return []
        index = self._opened[1]
        query = _query(index.schema, sorted(counts, key=lambda word: (counts[word], word))[:MOST_WORDS], wanted)
        searcher = index.searcher()
        asked = _FIRST_BLOCK * depth
        while True:
            hits = searcher.search(query, asked, count=False).hits
            numbers = searcher.fast_field_values("row_id", [address for _, address in hits])
            passing = {
                int(row[0])
                for row in connection.execute(
                    # By number: the planner would rather go through all rows that fit.
                    f"SELECT p.row_id FROM patches p NOT INDEXED WHERE p.row_id IN ({', '.join(map(str, numbers))}) "
                    f"AND {wanted.clause}",
                    wanted.values,
                )
            }
            # A build that was killed may have left a card twice.
            found = list(dict.fromkeys(number for number in numbers if number in passing))
            if len(found) >= depth or len(hits) < asked:
                return found[:depth]
            asked *= _NEXT_BLOCK


def import_tantivy() -> Any:
    """Return the module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import tantivy
    except ImportError as error:
        raise MissingExtraError("tantivy", "search") from error
    return tantivy


def _is_worn(target: Path, num_live: int) -> bool:
    """Return whether an index is lost or damaged, or most of its cards have no row any more."""
    if not target.is_dir():
        return True
    try:
        num_docs = import_tantivy().Index.open(str(target)).searcher().num_docs
    except (OSError, ValueError):
        return True
    return bool(num_docs > 2 * num_live + 1_000)


def _schema(tantivy: Any) -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row_id", stored=False, indexed=False, fast=True)
    builder.add_text_field("words", stored=False, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _query(schema: Any, words: Sequence[str], wanted: Filter) -> Any:
    tantivy = import_tantivy()
    query, occur = tantivy.Query, tantivy.Occur
    terms = [(occur.Should, query.term_query(schema, "words", text_key(word), "freq")) for word in words]
    if not wanted.base_id:
        return query.boolean_query(terms)
    # The base narrows the rows and says nothing about how well they match.
    base = query.const_score_query(query.term_query(schema, "words", base_mark(wanted.base_id), "basic"), 0.0)
    return query.boolean_query([(occur.Must, base), (occur.Must, query.boolean_query(terms))])


def _cards(database: Database, after: int, until: int) -> list[sqlite3.Row]:
    with database.read() as connection:
        return connection.execute(
            "SELECT p.row_id, p.base_id, p.task_id, c.words FROM patches p JOIN cards c ON c.row_id = p.row_id "
            "WHERE p.row_id > ? AND p.row_id <= ? AND p.problem = '' ORDER BY p.row_id LIMIT ?",
            (after, until, _READ),
        ).fetchall()


def _state(connection: sqlite3.Connection) -> tuple[int, int]:
    row = connection.execute("SELECT generation, covered FROM derived WHERE name = ?", (_NAME,)).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _newest(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(row_id), 0) FROM patches").fetchone()[0])


def _folder(folder: Path, generation: int) -> Path:
    return folder / f"text-{generation}"
