"""Appending to a transparency log in a folder: resumable, and never two histories under one key.

Rules:
    1. Entries and tiles are written first, each whole or not at all; then the new checkpoint is remembered in the
       writer's own state folder; last it is published. A reader sees the old log or the new one.
    2. Before anything is appended, entries and tiles in the folder must have the root of the published checkpoint, and
       the published log must continue the one remembered: a folder that was put back to an older state or rewritten is
       refused with ``bad_proof``, for signing on would make two histories.
    3. A writer that was stopped between remembering and publishing publishes the remembered checkpoint first.
    4. One writer at a time holds the lock; of several machines only one may have the key.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.codec import write_atomic
from symbio_lab.errors import TrustError
from symbio_lab.marketplace.log_reading import LogReader, load_checkpoint, read_bundle, read_tile
from symbio_lab.marketplace.log_tiles import (
    CHECKPOINT_NAME,
    ENTRIES,
    TILE_WIDTH,
    encode_bundle,
    nodes_in_tiles,
    tile_name,
)
from symbio_lab.marketplace.registry.static_files import FolderFiles
from symbio_lab.trust.checkpoint import Checkpoint, LogKey, sign_checkpoint
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.locking import locked
from symbio_lab.trust.merkle import EMPTY_ROOT, leaf_hash, root_of, tree_root

LOCK_NAME = ".lock"


@dataclass(frozen=True, slots=True)
class Appended:
    """What appending did."""

    num_added: int
    checkpoint: Checkpoint
    """The log as it is now published."""


def append_entries(folder: Path, entries: Iterable[bytes], key: SigningKey, *, origin: str, memory: Path) -> Appended:
    """Return what was added to the log: the entries that it does not hold yet, in the order given.

    Args:
        folder: folder of the log; made if it is new.
        entries: bytes of the entries, at most 65,535 each; repeats count once.
        key: the log's key, which signs under the name ``origin``.
        origin: name of the log, unique in the world, without spaces or plus.
        memory: file in the writer's state folder that keeps the last checkpoint that it signed.

    Raises:
        TrustError: ``bad_proof``: the folder does not continue what was signed here.
        DataError: an entry is too long, or the origin cannot be written.
        StorageError: another process appends, or the folder cannot be written; the old log stays.
    """
    public = LogKey(origin, key.public_key)
    with locked(folder / LOCK_NAME):
        reader = _resume(folder, public, memory)
        held: list[bytes] = []
        if reader is not None:
            held = reader.entries()
            reader.check_tiles(held)
        old_size, known = len(held), set(held)
        new = [entry for entry in dict.fromkeys(entries) if entry not in known]
        if reader is not None and not new:
            return Appended(0, reader.checkpoint)
        _append_bundles(folder, old_size, new)
        _append_hashes(folder, old_size, [leaf_hash(entry) for entry in new])
        size = old_size + len(new)
        # Read back from the disk: what is signed is what lies there.
        files = FolderFiles(folder)
        root = tree_root(size, nodes_in_tiles(lambda *tile: read_tile(files, *tile), size)) if size else EMPTY_ROOT
        checkpoint = Checkpoint(origin, size, root)
        note = sign_checkpoint(checkpoint, key)
        write_atomic(memory, note)
        write_atomic(folder / CHECKPOINT_NAME, note)
        _drop_outgrown(folder, old_size, size)
        return Appended(len(new), checkpoint)


def _resume(folder: Path, key: LogKey, memory: Path) -> LogReader | None:
    """Return the reader of the published log, which continues the remembered one, or None for a new log."""
    files = FolderFiles(folder)
    published = load_checkpoint(folder / CHECKPOINT_NAME, key)
    remembered = load_checkpoint(memory, key)
    if remembered is not None and (published is None or published.size < remembered.size):
        try:
            LogReader(files, key, note=memory.read_bytes()).check_root()
        except TrustError as error:
            raise TrustError(
                "bad_proof", f"the log's folder lacks entries that were signed here: {remembered.size} in all"
            ) from error
        write_atomic(folder / CHECKPOINT_NAME, memory.read_bytes())
        published = remembered
    if published is None:
        return None
    reader = LogReader(files, key)
    reader.check_root()
    if remembered is not None:
        reader.check_growth(remembered)
    return reader


def _append_bundles(folder: Path, old_size: int, entries: Sequence[bytes]) -> None:
    first, width = divmod(old_size, TILE_WIDTH)
    held = read_bundle(FolderFiles(folder), first, width) if width else []
    for i, part in _parts([*held, *entries]):
        if entries:
            write_atomic(folder / tile_name(ENTRIES, first + i, len(part)), encode_bundle(part))


def _append_hashes(folder: Path, old_size: int, hashes: Sequence[bytes]) -> None:
    """Write the tiles that change, level by level: the roots of those that became full go one level up."""
    level, at = 0, old_size
    while hashes:
        first, width = divmod(at, TILE_WIDTH)
        held = read_tile(FolderFiles(folder), level, first, width) if width else []
        above = []
        for i, part in _parts([*held, *hashes]):
            write_atomic(folder / tile_name(level, first + i, len(part)), b"".join(part))
            if len(part) == TILE_WIDTH:
                above.append(root_of(part))
        level, at, hashes = level + 1, first, above


def _parts(values: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    for i in range(0, len(values), TILE_WIDTH):
        yield i // TILE_WIDTH, values[i : i + TILE_WIDTH]


def _drop_outgrown(folder: Path, old_size: int, size: int) -> None:
    """Remove the partial tiles that a full one replaced; readers of an older checkpoint take the full one."""
    level, before, now = 0, old_size, size
    while before:
        first = before // TILE_WIDTH
        if before % TILE_WIDTH and now // TILE_WIDTH > first:
            for kind in (level, ENTRIES) if level == 0 else (level,):
                # A rest that cannot be removed harms nobody.
                shutil.rmtree(folder / f"{tile_name(kind, first)}.p", ignore_errors=True)
        level, before, now = level + 1, first, now // TILE_WIDTH
