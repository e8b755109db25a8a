"""Reading a transparency log that nobody needs to trust: everything is checked against its signed checkpoint.

Rules:
    1. The log's key comes from outside the log. Its checkpoint names size and root; hashes and entries count only if
       they lead to that root.
    2. A client remembers the last checkpoint that it accepted. A log that is shorter than that, or does not begin with
       it, is refused with ``bad_proof``: it shows different histories to different readers, or to one over time.
    3. Two readers who compare checkpoints find a log that shows each of them its own history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from symbio_lab.codec import write_atomic
from symbio_lab.errors import NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.log_tiles import (
    CHECKPOINT_NAME,
    ENTRIES,
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    bundles_of,
    decode_bundle,
    decode_tile,
    nodes_in_tiles,
    tile_name,
    tiles_of,
)
from symbio_lab.marketplace.registry.static_files import StaticFiles, read_static
from symbio_lab.trust.checkpoint import MAX_NOTE_BYTES, Checkpoint, LogKey, open_checkpoint
from symbio_lab.trust.merkle import (
    HASH_BYTES,
    Node,
    complete_nodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """A log that was read as a whole."""

    checkpoint: Checkpoint
    note: bytes
    """The checkpoint as signed."""
    entries: tuple[bytes, ...]
    remembered: Checkpoint | None = None
    """The checkpoint that it was shown to continue."""


class LogReader:
    """One log at one checkpoint."""

    def __init__(
        self, files: StaticFiles, key: LogKey, origin: str | None = None, *, note: bytes | None = None
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            files: folder or address of the log.
            key: the log's key, known from elsewhere.
            origin: origin of its checkpoints; None takes the key's name.
            note: signed checkpoint to read the log at; None reads the one that it publishes.
        """
        self.files = files
        self.key = key
        self.origin = origin or key.name
        self._note = note
        self._places: dict[bytes, int] | None = None
        self._nodes: Node | None = None

    @property
    def note(self) -> bytes:
        """The signed checkpoint, read once.

        Raises:
            NotFoundError: there is no log.
            TrustError: ``bad_proof``: it does not verify.
        """
        if self._note is None:
            self._note = read_static(self.files, CHECKPOINT_NAME, MAX_NOTE_BYTES)
        return self._note

    @property
    def checkpoint(self) -> Checkpoint:
        """Size and root of the log; raises as ``note``."""
        return open_checkpoint(self.note, self.key, self.origin)

    def refresh(self) -> Checkpoint:
        """Return the current checkpoint, read anew; raises as ``note``."""
        self._note = self._places = self._nodes = None
        return self.checkpoint

    def entries(self) -> list[bytes]:
        """Return all entries, in order, checked against the root of the checkpoint.

        Raises:
            TrustError: ``bad_proof``: entries are missing, changed or too many.
            StorageError: they cannot be read.
        """
        found = [entry for bundle in self._bundles() for entry in bundle]
        if tree_root(len(found), complete_nodes([leaf_hash(entry) for entry in found])) != self.checkpoint.root:
            raise TrustError("bad_proof", f"the entries of {self.files.uri} do not have the root of its checkpoint")
        return found

    def place_of(self, entry: bytes) -> int | None:
        """Return the index of an entry, or None; the first call reads and checks all entries."""
        if self._places is None:
            places: dict[bytes, int] = {}
            for i, found in enumerate(self.entries()):
                places.setdefault(found, i)
            self._places = places
        return self._places.get(entry)

    def check_root(self) -> None:
        """Return nothing if the log's tiles have the root of its checkpoint.

        Raises:
            TrustError: ``bad_proof``.
        """
        if tree_root(self.checkpoint.size, self._node) != self.checkpoint.root:
            raise TrustError("bad_proof", f"the tiles of {self.files.uri} do not have the root of its checkpoint")

    def prove_inclusion(self, entry: bytes, index: int) -> tuple[bytes, ...]:
        """Return the proof that ``entry`` is at ``index``, made from the log's tiles and verified.

        Raises:
            TrustError: ``bad_proof``: it is not, or the tiles do not lead to the root.
        """
        checkpoint = self.checkpoint
        if not 0 <= index < checkpoint.size:
            raise TrustError("bad_proof", f"the log has {checkpoint.size} entries, not {index + 1}")
        proof = inclusion_proof(index, checkpoint.size, self._node)
        verify_inclusion(leaf_hash(entry), index, checkpoint.size, proof, checkpoint.root)
        return proof

    def check_growth(self, old: Checkpoint) -> None:
        """Return nothing if the log begins with what ``old`` says.

        Raises:
            TrustError: ``bad_proof``: it shrank, or its history was rewritten.
        """
        new = self.checkpoint
        if new.size < old.size:
            raise TrustError("bad_proof", f"the log shrank from {old.size} to {new.size} entries")
        if old.size == 0:
            return  # an empty log has no history
        proof = consistency_proof(old.size, new.size, self._node)
        verify_consistency(old.size, new.size, proof, old.root, new.root)

    def check_tiles(self, entries: Sequence[bytes]) -> None:
        """Return nothing if every tile holds the hashes that the (checked) entries have.

        Raises:
            TrustError: ``bad_proof``.
        """
        node = complete_nodes([leaf_hash(entry) for entry in entries])
        for level, index, width in tiles_of(len(entries)):
            wanted = [node(8 * level, index * TILE_WIDTH + i) for i in range(width)]
            if self._tile(level, index, width) != wanted:
                raise TrustError(
                    "bad_proof", f"{tile_name(level, index, width)} does not hold the hashes of the entries"
                )

    def _node(self, level: int, index: int) -> bytes:
        if self._nodes is None:
            self._nodes = nodes_in_tiles(self._tile, self.checkpoint.size)
        return self._nodes(level, index)

    def _tile(self, level: int, index: int, width: int) -> list[bytes]:
        return read_tile(self.files, level, index, width)

    def _bundles(self) -> Iterator[list[bytes]]:
        for index, width in bundles_of(self.checkpoint.size):
            yield read_bundle(self.files, index, width)


def verify_log(reader: LogReader, memory: Path | None = None) -> VerifiedLog:
    """Return the log, read as a whole: signature, growth since the last time, every entry and every tile.

    Args:
        reader: the log.
        memory: file that keeps the last checkpoint accepted; None remembers nothing.

    Raises:
        NotFoundError: there is no log.
        TrustError: ``bad_proof``: nothing is remembered then, so that the next call refuses too.
        StorageError: the log cannot be read, or the memory not be written.
    """
    checkpoint = reader.refresh()
    remembered = load_checkpoint(memory, reader.key, reader.origin) if memory is not None else None
    if remembered is not None:
        reader.check_growth(remembered)
    entries = reader.entries()
    reader.check_tiles(entries)
    if memory is not None:
        write_atomic(memory, reader.note)
    return VerifiedLog(checkpoint, reader.note, tuple(entries), remembered)


def load_checkpoint(memory: Path, key: LogKey, origin: str | None = None) -> Checkpoint | None:
    """Return the checkpoint remembered in a file, or None if there is no file.

    Raises:
        TrustError: ``bad_proof``: it is not signed by the log's key.
        StorageError: it cannot be read.
    """
    try:
        return open_checkpoint(memory.read_bytes(), key, origin)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {memory.name}: {error.strerror or error}") from error


def read_tile(files: StaticFiles, level: int, index: int, width: int) -> list[bytes]:
    """Return the first ``width`` hashes of a tile, unverified.

    Raises:
        TrustError: ``bad_proof``: the log lacks it, or it is too short.
        StorageError: it cannot be read.
    """
    data, stored = _read(files, level, index, width, TILE_WIDTH * HASH_BYTES)
    return decode_tile(data, stored)[:width]


def read_bundle(files: StaticFiles, index: int, width: int) -> list[bytes]:
    """Return the first ``width`` entries of a bundle, unverified.

    Raises:
        TrustError: ``bad_proof``: the log lacks it, or it is too short.
        StorageError: it cannot be read.
    """
    data, stored = _read(files, ENTRIES, index, width, MAX_BUNDLE_BYTES)
    return decode_bundle(data, stored)[:width]


def _read(files: StaticFiles, level: int | str, index: int, width: int, max_bytes: int) -> tuple[bytes, int]:
    """Return the file of a tile and its width: a partial one may be gone once the full one is there."""
    for stored in dict.fromkeys((width, TILE_WIDTH)):
        try:
            return read_static(files, tile_name(level, index, stored), max_bytes), stored
        except NotFoundError:
            continue
    raise TrustError("bad_proof", f"the log lacks {tile_name(level, index, width)}")
