"""The rows that match a query best by meaning: nearest vectors first, then the hard filters, until enough pass.

Rules:
    1. A catalogue of up to ``EXACT_UP_TO`` vectors is read whole; beyond, heads are read first (``pruning.py``), and
       beyond ``approximate.APPROXIMATE_FROM`` a faiss index is asked where there is one. ``exact=True`` always reads
       so much that the answer is exact.
    2. The nearest vectors are tried by the filter a block at a time, each block larger, so a filter that leaves much
       costs nothing, and one that leaves little still finds it.
    3. Slots without a row (deleted, or refused since) do not pass.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from symbio_lab.marketplace.catalogue.approximate import ApproximateIndex, open_index
from symbio_lab.marketplace.catalogue.filtering import Filter, numbers
from symbio_lab.marketplace.catalogue.pruning import SPREAD, Floats, PrunedScan
from symbio_lab.marketplace.catalogue.vectors import MappedVectors, VectorSet, find_set, map_vectors

EXACT_UP_TO = 20_000
"""Vectors that are always searched exactly."""
FEW = 0.5
"""Share of the rows below which only the vectors of the base asked for are looked at."""
SCAN_UP_TO = 20_000
"""Vectors of one base up to which they are scanned although there is a faiss index."""
_FIRST_BLOCK = 1.5
_NEXT_BLOCK = 4


class Scan(Protocol):
    """One query against all vectors."""

    def best(self, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Return slots and cosines of the ``k`` nearest vectors, nearest first."""


class DenseIndex:
    """An embedder's vectors, mapped once and again when they changed."""

    def __init__(self, folder: Path, embedder: str) -> None:
        """Name the vectors; nothing is read."""
        self._folder = folder
        self._embedder = embedder
        self._mapped: MappedVectors | None = None
        self._approximate: ApproximateIndex | None = None
        self._of_base: tuple[VectorSet, int, NDArray[np.bool_]] | None = None

    def mapped(self, connection: sqlite3.Connection) -> MappedVectors | None:
        """Return the vectors of the state that ``connection`` sees; None where the embedder has none.

        Raises:
            StorageError: a file is missing or damaged.
        """
        described = find_set(connection, self._embedder)
        if described is None or described.num_slots == 0:
            return None
        if self._mapped is None or self._mapped.described != described:
            self._mapped = map_vectors(self._folder, described)
            known = self._approximate
            if known is None or known.generation != described.generation or known.covered < 0.5 * described.num_slots:
                self._approximate = open_index(connection, self._folder, described)
        return self._mapped

    def scan(
        self, connection: sqlite3.Connection, query: Floats, wanted: Filter, share: float, *, exact: bool = False
    ) -> Scan | None:
        """Return the query against all vectors that may pass, or None where there are none.

        Args:
            connection: of the catalogue.
            query: unit vector, (D,).
            wanted: hard filters; where its base is that of few rows, only their vectors are looked at.
            share: share of the accepted rows that are for the base asked for.
            exact: whether nothing may be missed.
        """
        mapped = self.mapped(connection)
        if mapped is None:
            return None
        mask = None
        num = len(mapped.rows)
        if wanted.base_id and share < FEW:
            mask = self._slots_of_base(mapped, wanted.base_id)
            num = int(np.count_nonzero(mask))
            if not num:
                return None
        if not exact and self._approximate is not None and num > SCAN_UP_TO:
            return _IndexScan(mapped, self._approximate, query, mask, num / len(mapped.rows))
        among = None if mask is None else np.flatnonzero(mask)
        spread = 1.0 if exact or num <= EXACT_UP_TO else SPREAD
        return PrunedScan(mapped.rows, mapped.heads, mapped.basis, query, among=among, spread=spread)

    def _slots_of_base(self, mapped: MappedVectors, base_id: int) -> NDArray[np.bool_]:
        """Return which slots are of one base; kept, for whoever heals a model asks for its base again and again."""
        kept = self._of_base
        if kept is None or kept[:2] != (mapped.described, base_id):
            kept = self._of_base = (mapped.described, base_id, mapped.bases == base_id)
        return kept[2]

    def cosines(self, connection: sqlite3.Connection, query: Floats, row_ids: list[int]) -> dict[int, float]:
        """Return the cosine of each row that has a vector."""
        mapped = self.mapped(connection)
        if mapped is None or not row_ids:
            return {}
        found = connection.execute(
            f"SELECT row_id, slot FROM vectors WHERE set_id = ? AND row_id IN ({numbers(row_ids)})",
            (mapped.described.set_id,),
        ).fetchall()
        if not found:
            return {}
        slots = np.array([row[1] for row in found], dtype=np.int64)
        values = np.asarray(mapped.rows[slots] @ query, dtype=np.float64)
        return {int(row[0]): float(value) for row, value in zip(found, values, strict=True)}


class _IndexScan:
    """The faiss index for what it covers, an exact scan for what came since."""

    def __init__(
        self,
        mapped: MappedVectors,
        index: ApproximateIndex,
        query: Floats,
        mask: NDArray[np.bool_] | None,
        share: float,
    ) -> None:
        self._mapped, self._index, self._query = mapped, index, query
        self._mask, self._share = mask, share
        covered = min(index.covered, len(mapped.rows))
        rest = np.arange(covered, len(mapped.rows))
        if mask is not None:
            rest = rest[mask[covered:]]
        self._rest = PrunedScan(mapped.rows, mapped.heads, mapped.basis, query, among=rest) if len(rest) else None

    def best(self, k: int) -> tuple[NDArray[np.int64], Floats]:
        slots, cosines = self._index.best(self._mapped, self._query, k, among=self._mask, share=self._share)
        if self._rest is not None:
            more, their = self._rest.best(k)
            slots, cosines = np.concatenate([slots, more]), np.concatenate([cosines, their])
            order = np.lexsort((slots, -cosines))[:k]
            slots, cosines = slots[order], cosines[order]
        return slots, cosines


def best_by_vector(
    connection: sqlite3.Connection, scan: Scan, described: VectorSet, wanted: Filter, depth: int, *, share: float = 1.0
) -> list[int]:
    """Return the numbers of up to ``depth`` rows that pass the filter, nearest first.

    Args:
        connection: of the catalogue.
        scan: the query against the vectors.
        described: the vector set.
        wanted: hard filters.
        depth: rows to return, at most.
        share: share of the scanned rows that are expected to pass; a wrong one costs time only.
    """
    asked = min(described.num_slots, int(_FIRST_BLOCK * depth / max(share, 1e-6)) + 1)
    while True:
        slots, _ = scan.best(asked)
        passing = {
            int(slot): int(row_id)
            for slot, row_id in connection.execute(
                # CROSS keeps the order of the join: from the slots to their rows, never from all rows that fit.
                f"SELECT v.slot, v.row_id FROM vectors v CROSS JOIN patches p ON p.row_id = v.row_id "
                f"WHERE v.set_id = ? AND v.slot IN ({numbers(slots.tolist())}) AND {wanted.clause}",
                (described.set_id, *wanted.values),
            )
        }
        if len(passing) >= depth or asked >= described.num_slots or len(slots) < asked:
            return [passing[slot] for slot in slots.tolist() if slot in passing][:depth]
        asked = min(described.num_slots, _NEXT_BLOCK * asked)


def unit(vector: NDArray[np.floating]) -> Floats:
    """Return a vector at unit length, in float32; zeros stay zeros.

    >>> unit(np.array([3.0, 4.0])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    norm = float(np.linalg.norm(vector))
    return np.asarray(vector / norm if norm > 0 else vector, dtype=np.float32)
