"""The vectors of the catalogue: plain ``.npy`` files beside the database, mapped into memory, appended to safely.

Protocol:
    1. Which row has which vector stands in the database: a row has a ``slot``, its number in the file. Files hold
       vectors of one embedder only; another embedder gets files of its own.
    2. Appending: under the database's write lock the vectors are written behind the last slot and synced, then the
       slots are committed. A kill in between leaves bytes that no slot names; the next append writes over them.
    3. A slot is never used twice. What deleted rows leave is dropped when the files are written anew, under a new
       generation, in the same transaction that names it: a reader keeps the files of the state that it sees.
    4. Vectors are scaled to unit length. Beside them lie their heads (``pruning.py``); the basis of the heads is fitted
       again while the catalogue is young, for few vectors tell little about the many to come.

    5. The base of each slot's row lies beside them too, so that the vectors of one base are found without the database;
       a row never changes its base.

Files: ``<set>-<generation>-rows.npy`` (N, D), ``-heads.npy`` (N, H + 1), ``-basis.npy`` (D, H), all float32, and
``-bases.npy`` (N, 1), int32.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from symbio_lab.codec import write_atomic
from symbio_lab.errors import DataError, StorageError
from symbio_lab.marketplace.catalogue.pruning import Floats, fit_basis, heads_of
from symbio_lab.store.database import Database

KINDS = ("rows", "heads", "bases", "basis")
"""Files of a vector set."""
_HEADER_BYTES = 128
_ITEM_BYTES = 4
_FIT_AT_MOST = 50_000
"""Vectors that the basis is fitted on, at most."""
_REFIT_FACTOR = 4
_LEAST_TO_DROP = 1_000
_BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class VectorSet:
    """The vectors of one embedder at one time."""

    set_id: int
    num_dims: int
    generation: int
    num_slots: int
    """Vectors in the files, those that no row has any more included."""

    def file(self, folder: Path, kind: str) -> Path:
        """Return the file of one kind: ``rows``, ``heads`` or ``basis``."""
        return folder / f"{self.set_id}-{self.generation}-{kind}.npy"


@dataclass(frozen=True, slots=True)
class MappedVectors:
    """Vectors mapped into memory, read only."""

    described: VectorSet
    rows: Floats
    """(N, D), unit length."""
    heads: Floats
    """(N, H + 1)."""
    basis: Floats
    """(D, H)."""
    bases: NDArray[np.int32]
    """Number of the base of each slot's row, (N,)."""


def find_set(connection: sqlite3.Connection, embedder: str) -> VectorSet | None:
    """Return the vector set of an embedder, or None where it has none yet."""
    row = connection.execute(
        "SELECT set_id, num_dims, generation, num_slots FROM vector_sets WHERE embedder = ?", (embedder,)
    ).fetchone()
    return None if row is None else VectorSet(*row)


def map_vectors(folder: Path, described: VectorSet) -> MappedVectors:
    """Return the vectors of a set.

    Raises:
        StorageError: a file is missing or too short.
    """
    num, dims = described.num_slots, described.num_dims
    basis = _mapped(described.file(folder, "basis"), None, dims)
    return MappedVectors(
        described,
        _mapped(described.file(folder, "rows"), num, dims),
        _mapped(described.file(folder, "heads"), num, basis.shape[1] + 1),
        basis,
        _mapped(described.file(folder, "bases"), num, 1, "<i4")[:, 0],
    )


def add_vectors(
    database: Database, folder: Path, embedder: str, row_ids: Sequence[int], vectors: Floats, *, num_dims: int
) -> int:
    """Give rows their vectors; return how many got one.

    Rows that have gone or got a vector in the meantime are left out.

    Args:
        database: the catalogue.
        folder: of the vector files; made when missing.
        embedder: name of what made the vectors.
        row_ids: rows of the catalogue, (N,).
        vectors: (N, D), any length; zeros stay zeros.
        num_dims: D.

    Raises:
        DataError: the vectors have another shape, or other dimensions than this embedder's before, or are not finite.
        StorageError: the files or the database cannot be written.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.shape != (len(row_ids), num_dims):
        raise DataError(f"the embedder returned shape {vectors.shape} for {len(row_ids)} texts")
    if not np.isfinite(vectors).all():
        raise DataError("the embedder returned numbers that are not finite")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    with database.write() as connection:
        wanted = [i for i, row_id in enumerate(row_ids) if _lacks_vector(connection, embedder, row_id)]
        found = find_set(connection, embedder) or _new_set(connection, folder, embedder, units[wanted], num_dims)
        if found.num_dims != num_dims:
            raise DataError(
                f"the embedder returned {num_dims} numbers a text, {found.num_dims} before",
                hint="give another embedder another name",
            )
        if wanted:
            _append(connection, folder, found, [row_ids[i] for i in wanted], units[wanted])
            _tidy(connection, folder, embedder)
    return len(wanted)


def drop_old_files(folder: Path, database: Database) -> None:
    """Delete the files of generations that the database no longer names; what another process maps may stay."""
    with database.read() as connection:
        named = {f"{row[0]}-{row[1]}" for row in connection.execute("SELECT set_id, generation FROM vector_sets")}
    for path in folder.glob("*-*-*.*"):
        if "-".join(path.name.split("-")[:2]) not in named:
            path.unlink(missing_ok=True)


def _lacks_vector(connection: sqlite3.Connection, embedder: str, row_id: int) -> bool:
    return (
        connection.execute(
            "SELECT 1 FROM patches p WHERE p.row_id = ? AND p.problem = '' AND NOT EXISTS (SELECT 1 FROM vectors v "
            "JOIN vector_sets s ON s.set_id = v.set_id WHERE v.row_id = p.row_id AND s.embedder = ?)",
            (row_id, embedder),
        ).fetchone()
        is not None
    )


def _new_set(connection: sqlite3.Connection, folder: Path, embedder: str, sample: Floats, num_dims: int) -> VectorSet:
    set_id = connection.execute(
        "INSERT INTO vector_sets (embedder, num_dims, generation, num_slots, num_fitted) VALUES (?, ?, 0, 0, ?)",
        (embedder, num_dims, len(sample)),
    ).lastrowid
    described = VectorSet(int(set_id or 0), num_dims, 0, 0)
    _start_files(folder, described, sample)
    return described


def _start_files(folder: Path, described: VectorSet, sample: Floats) -> Floats:
    basis = fit_basis(sample if len(sample) else np.eye(described.num_dims, dtype=np.float32))
    write_atomic(described.file(folder, "basis"), _header(*basis.shape) + basis.tobytes())
    for kind, width in (("rows", described.num_dims), ("heads", basis.shape[1] + 1), ("bases", 1)):
        write_atomic(described.file(folder, kind), _header(0, width, "<i4" if kind == "bases" else "<f4"))
    return basis


def _append(
    connection: sqlite3.Connection, folder: Path, described: VectorSet, row_ids: Sequence[int], units: Floats
) -> None:
    basis = _mapped(described.file(folder, "basis"), None, described.num_dims)
    first, total = described.num_slots, described.num_slots + len(units)
    base_of = "SELECT base_id FROM patches WHERE row_id = ?"
    bases = np.array([[connection.execute(base_of, (row_id,)).fetchone()[0]] for row_id in row_ids]).reshape(-1, 1)
    blocks = (("rows", units, "<f4"), ("heads", heads_of(units, basis), "<f4"), ("bases", bases, "<i4"))
    try:
        for kind, block, numbers in blocks:
            with described.file(folder, kind).open("r+b") as handle:
                handle.seek(_HEADER_BYTES + first * block.shape[1] * _ITEM_BYTES)
                handle.write(np.ascontiguousarray(block, dtype=numbers).tobytes())
                _finish_file(handle, total, block.shape[1], numbers)
    except OSError as error:
        raise StorageError(f"cannot write the vectors of the catalogue: {error.strerror or error}") from error
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)",
        [(described.set_id, first + i, row_id) for i, row_id in enumerate(row_ids)],
    )
    connection.execute("UPDATE vector_sets SET num_slots = ? WHERE set_id = ?", (total, described.set_id))


def _tidy(connection: sqlite3.Connection, folder: Path, embedder: str) -> None:
    """Write the files anew where the basis is too young for what came since, or half of the slots have no row."""
    found = find_set(connection, embedder)
    if found is None:
        return
    fitted, used = connection.execute(
        "SELECT s.num_fitted, (SELECT count(*) FROM vectors v WHERE v.set_id = s.set_id) FROM vector_sets s "
        "WHERE s.set_id = ?",
        (found.set_id,),
    ).fetchone()
    young = fitted < _FIT_AT_MOST and used >= _REFIT_FACTOR * max(fitted, 1)
    wasteful = found.num_slots - used > max(_LEAST_TO_DROP, used)
    if not young and not wasteful:
        return
    rows = _mapped(found.file(folder, "rows"), found.num_slots, found.num_dims)
    kept = connection.execute(
        "SELECT slot, row_id FROM vectors WHERE set_id = ? ORDER BY slot", (found.set_id,)
    ).fetchall()
    slots = np.array([row[0] for row in kept], dtype=np.int64)
    anew = VectorSet(found.set_id, found.num_dims, found.generation + 1, 0)
    step = max(1, len(slots) // _FIT_AT_MOST)
    sample = np.asarray(rows[slots[::step]][:_FIT_AT_MOST])
    _start_files(folder, anew, sample)
    connection.execute("DELETE FROM vectors WHERE set_id = ?", (found.set_id,))
    connection.execute(
        "UPDATE vector_sets SET generation = ?, num_slots = 0, num_fitted = ? WHERE set_id = ?",
        (anew.generation, len(sample), found.set_id),
    )
    for start in range(0, len(slots), _BLOCK):
        part = slice(start, start + _BLOCK)
        described = VectorSet(anew.set_id, anew.num_dims, anew.generation, start)
        _append(connection, folder, described, [row[1] for row in kept[part]], np.asarray(rows[slots[part]]))


def _header(num_rows: int, width: int, numbers: str = "<f4") -> bytes:
    """Return the 128 bytes before the numbers in an ``.npy`` file of format 1.0, whatever the shape."""
    text = f"{{'descr': '{numbers}', 'fortran_order': False, 'shape': ({num_rows}, {width}), }}"
    head = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return head + text.encode("ascii").ljust(_HEADER_BYTES - 11) + b"\n"


def _finish_file(handle: BinaryIO, num_rows: int, width: int, numbers: str) -> None:
    handle.truncate(_HEADER_BYTES + num_rows * width * _ITEM_BYTES)
    handle.seek(0)
    handle.write(_header(num_rows, width, numbers))
    handle.flush()
    os.fsync(handle.fileno())


def _mapped(path: Path, num_rows: int | None, width: int, numbers: str = "<f4") -> NDArray[Any]:
    """Map the first rows of a file; None for the number of rows takes all, and the width from the file."""
    try:
        size = path.stat().st_size
        if num_rows is None:
            loaded: Floats = np.load(path, allow_pickle=False)
            return loaded
        if size < _HEADER_BYTES + num_rows * width * _ITEM_BYTES:
            raise StorageError(f"{path.name} is too short", hint="delete the catalogue's vectors folder and sync again")
        if num_rows == 0:
            return np.zeros((0, width), numbers)
        # A plain array over the map: the subclass would cost more at every look-up than the look-up.
        return np.asarray(np.memmap(path, dtype=numbers, mode="r", offset=_HEADER_BYTES, shape=(num_rows, width)))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read the vectors of the catalogue: {error}",
            hint="delete the catalogue's vectors folder and sync again",
        ) from error
