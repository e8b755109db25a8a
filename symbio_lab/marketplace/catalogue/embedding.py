"""Vectors for the accepted rows that have none: after a sync, or when an embedder is used for the first time.

Only what the trust rules accept is embedded. Text of strangers costs nobody a forward pass, and cannot come near a
query: refused rows are ranked among themselves, by words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from symbio_lab.errors import DataError
from symbio_lab.marketplace.catalogue.packing import unpack_envelope, unpack_parts
from symbio_lab.marketplace.catalogue.reading import judged_manifest
from symbio_lab.marketplace.catalogue.vectors import (
    KINDS,
    VectorSet,
    add_vectors,
    drop_old_files,
    find_set,
    map_vectors,
)
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.marketplace.search import Embedder
from symbio_lab.store.database import Database
from symbio_lab.trust.envelope import peek_payload

BATCH = 512
"""Cards embedded at once; their vectors are one transaction."""


def embed_missing(
    database: Database,
    folder: Path,
    embed: Embedder,
    embedder: str,
    *,
    batch: int = BATCH,
    listen: Callable[[int], None] | None = None,
) -> int:
    """Return how many accepted rows got a vector; a kill loses one batch and the next call goes on.

    Args:
        database: the catalogue.
        folder: of the vector files.
        embed: N texts -> (N, D).
        embedder: name of the embedder, such as the digest of its weights; equal name, equal vectors.
        batch: cards embedded at once.
        listen: told how many were embedded so far.

    Raises:
        DataError: the embedder returns another shape than before, or numbers that are not finite.
        StorageError: the catalogue or its vectors cannot be read or written.
    """
    if not embedder:
        raise DataError("an embedder needs a name", hint="give the digest of its weights")
    forget_lost_files(database, folder, embedder)
    num_embedded = 0
    for row_ids, cards in _cards_without(database, embedder, batch):
        vectors = np.asarray(embed(cards))
        if vectors.ndim != 2 or len(vectors) != len(cards):
            raise DataError(f"the embedder returned shape {vectors.shape} for {len(cards)} texts")
        num_embedded += add_vectors(database, folder, embedder, row_ids, vectors, num_dims=vectors.shape[1])
        if listen is not None:
            listen(num_embedded)
    drop_old_files(folder, database)
    return num_embedded


def forget_lost_files(database: Database, folder: Path, embedder: str) -> None:
    """Forget all slots of an embedder whose files are gone, so that its rows are embedded again."""
    with database.read() as connection:
        found = find_set(connection, embedder)
    if found is None or all(found.file(folder, kind).is_file() for kind in KINDS):
        return
    with database.write() as connection:
        lost = find_set(connection, embedder)
        if lost == found:
            connection.execute("DELETE FROM vectors WHERE set_id = ?", (found.set_id,))
            connection.execute("DELETE FROM vector_sets WHERE set_id = ?", (found.set_id,))


def vectors_of(database: Database, folder: Path, embedder: str) -> tuple[VectorSet, int] | None:
    """Return an embedder's vector set and how many accepted rows still lack a vector; None where it has no set.

    Raises:
        StorageError: the catalogue or its vectors cannot be read.
    """
    with database.read() as connection:
        found = find_set(connection, embedder)
        if found is None:
            return None
        accepted, held = connection.execute(
            "SELECT (SELECT count(*) FROM patches WHERE problem = ''), (SELECT count(*) FROM vectors WHERE set_id = ?)",
            (found.set_id,),
        ).fetchone()
    map_vectors(folder, found)
    return found, int(accepted) - int(held)


def _cards_without(database: Database, embedder: str, batch: int) -> Iterator[tuple[list[int], list[str]]]:
    last = 0
    while True:
        with database.read() as connection:
            found = find_set(connection, embedder)
            rows = connection.execute(
                "SELECT p.row_id, p.ref, e.packed FROM patches p JOIN envelopes e ON e.row_id = p.row_id "
                "WHERE p.row_id > ? AND p.problem = '' AND NOT EXISTS "
                "(SELECT 1 FROM vectors v WHERE v.row_id = p.row_id AND v.set_id = ?) ORDER BY p.row_id LIMIT ?",
                (last, found.set_id if found else 0, batch),
            ).fetchall()
        if not rows:
            return
        last = rows[-1]["row_id"]
        cards = []
        for row in rows:
            parts = unpack_parts(row["packed"])
            payload = parts[0] if parts is not None else peek_payload(unpack_envelope(row["packed"]))
            manifest = judged_manifest(payload)
            cards.append(IndexEntry(row["ref"], "", manifest).card_text)
        yield [row["row_id"] for row in rows], cards
