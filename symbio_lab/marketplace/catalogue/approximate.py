"""A faiss index for catalogues beyond what an exact search carries; needs the extra ``search``.

The index holds heads (``pruning.py``), a sixth of the numbers: what that saves in each list pays for searching more
lists, and it is in the lists not searched that neighbours are lost. It is derived: built from the vector files whenever
it covers too little of them, never the truth. Vectors added since are searched exactly beside it, and the best of what
it returns are scored again from the whole vectors, so every cosine is exact and only the choice is approximate.

References:
    Jegou, Douze and Schmid (2011), "Product Quantization for Nearest Neighbor Search", section 4 (inverted file).
    Douze et al. (2024), "The Faiss library", arXiv 2401.08281, section 5. Differs from the papers: vectors are
    scalar-quantised to eight bits, not product-quantised, and the best are scored again exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.codec import write_atomic
from symbio_lab.errors import MissingExtraError, StorageError
from symbio_lab.marketplace.catalogue.pruning import Floats, heads_of
from symbio_lab.marketplace.catalogue.vectors import MappedVectors, VectorSet, find_set, map_vectors
from symbio_lab.store.database import Database

APPROXIMATE_FROM = 200_000
"""Vectors from which on an index is built."""
LEAST_PROBES = 32
PROBED = 0.35
"""Share of the lists that are searched for a query, and never fewer than ``LEAST_PROBES``."""
RERANK = 2
"""Vectors scored again for one that is asked for."""
LEAST_RERANKED = 256
_LEAST_COVERED = 0.8
_TRAIN_PER_LIST = 64
_BLOCK = 65_536


def build_index(
    database: Database, folder: Path, embedder: str, *, least: int = APPROXIMATE_FROM, seed: int = 0
) -> bool:
    """Build the index of an embedder's vectors if there are enough and it covers too few; return whether it did.

    Args:
        database: the catalogue.
        folder: of the vector files.
        embedder: whose vectors.
        least: vectors from which on an index is worth it.
        seed: of the clustering.

    Raises:
        MissingExtraError: faiss is not installed.
        StorageError: the vectors cannot be read or the index cannot be written.
    """
    with database.read() as connection:
        found = find_set(connection, embedder)
        covered = _covered(connection, found) if found is not None else 0
    if found is None or found.num_slots < least:
        return False
    if covered >= _LEAST_COVERED * found.num_slots and _file(folder, found).is_file():
        return False
    faiss = import_faiss()
    mapped = map_vectors(folder, found)
    num_lists = max(16, min(4_096, int(np.sqrt(found.num_slots))))
    num_dims = mapped.heads.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(num_dims), num_dims, num_lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = seed + 1
    step = max(1, found.num_slots // (_TRAIN_PER_LIST * num_lists))
    index.train(_without_tail(mapped.heads[::step]))
    for start in range(0, found.num_slots, _BLOCK):
        index.add(_without_tail(mapped.heads[start : start + _BLOCK]))
    write_atomic(_file(folder, found), lambda temporary: faiss.write_index(index, str(temporary)))
    with database.write() as connection:
        connection.execute(
            "INSERT INTO derived VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET generation = excluded.generation, "
            "covered = excluded.covered",
            (_name(found), found.generation, found.num_slots),
        )
    return True


class ApproximateIndex:
    """A faiss index over the first ``covered`` slots of a vector set, read once and kept."""

    def __init__(self, folder: Path, described: VectorSet, covered: int) -> None:
        """Read the index.

        Raises:
            MissingExtraError: faiss is not installed.
            StorageError: the file cannot be read.
        """
        faiss = import_faiss()
        self.covered = covered
        self.generation = described.generation
        try:
            self._index: Any = faiss.read_index(str(_file(folder, described)))
        except RuntimeError as error:
            raise StorageError(
                f"cannot read the index of the vectors: {_file(folder, described).name}", hint="delete it and sync"
            ) from error
        self._parameters = faiss.SearchParametersIVF
        self._selector = faiss.IDSelectorBitmap

    def best(
        self,
        mapped: MappedVectors,
        query: Floats,
        k: int,
        *,
        among: NDArray[np.bool_] | None = None,
        share: float = 1.0,
        num_probes: int | None = None,
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return slots and exact cosines of about the ``k`` nearest of the slots covered, nearest first.

        Args:
            mapped: the vectors.
            query: unit vector, (D,).
            k: slots to return, at most.
            among: whether each slot may be returned, (N,); None allows all.
            share: share of the slots that may be; the fewer, the more lists are searched.
            num_probes: lists to search where all slots may be returned; None takes a share of all lists.
        """
        wanted = min(max(RERANK * k, LEAST_RERANKED), self.covered)
        if num_probes is None:
            num_probes = max(LEAST_PROBES, int(PROBED * self._index.nlist))
        num_probes = min(int(num_probes / max(share, 1e-3) ** 0.25), self._index.nlist)
        bits = None if among is None else np.packbits(among[: self.covered], bitorder="little")
        selector = None if bits is None else self._selector(bits)
        head = _without_tail(heads_of(query[None], mapped.basis))
        while True:
            _, found = self._index.search(head, wanted, params=self._parameters(nprobe=num_probes, sel=selector))
            slots = np.sort(found[0][found[0] >= 0])
            # Whoever asks for much, because a filter leaves little, must not be told that there is no more.
            if len(slots) >= wanted or num_probes >= self._index.nlist:
                break
            num_probes *= 4
        cosines = np.asarray(mapped.rows[slots] @ query)
        order = np.lexsort((slots, -cosines))[:k]
        return slots[order], cosines[order]


def open_index(connection: Any, folder: Path, described: VectorSet) -> ApproximateIndex | None:
    """Return the index of a vector set, or None where there is none of this generation or faiss is not installed.

    Raises:
        StorageError: the file cannot be read.
    """
    covered = _covered(connection, described)
    if not covered or not _file(folder, described).is_file():
        return None
    try:
        return ApproximateIndex(folder, described, covered)
    except MissingExtraError:
        return None


def import_faiss() -> Any:
    """Return the module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss-cpu", "search") from error
    return faiss


def _without_tail(heads: Floats) -> Floats:
    """Return heads whose tail lengths are zero: the width stays a multiple of what a processor multiplies at once."""
    found = np.array(heads, dtype=np.float32)
    found[:, -1] = 0
    return found


def _name(described: VectorSet) -> str:
    return f"faiss-{described.set_id}"


def _file(folder: Path, described: VectorSet) -> Path:
    return folder / f"{described.set_id}-{described.generation}-index.faiss"


def _covered(connection: Any, described: VectorSet) -> int:
    row = connection.execute(
        "SELECT covered FROM derived WHERE name = ? AND generation = ?", (_name(described), described.generation)
    ).fetchone()
    return 0 if row is None else int(row[0])
