"""A transparency log as static files: names of tiles and bundles, and what is in them. Pure; nothing is read here.

Layout (below the log's folder):
    checkpoint                       signed size and root; the only file that is ever rewritten
    tile/<level>/<n>[.p/<width>]     up to 256 hashes of 32 bytes; level 0 holds leaf hashes, level 1 the roots of full
                                     tiles of level 0, and so on
    tile/entries/<n>[.p/<width>]     up to 256 entries, each behind its length (2 bytes, big-endian)
``<n>`` is written in groups of three digits (``x001/x234/067``). ``.p/<width>`` marks a tile that is not full yet; a
tile that was published never changes, it is followed by a wider one.

Example:
    >>> tile_name(0, 1234067)
    'tile/0/x001/x234/067'
    >>> [tile_name(*tile) for tile in tiles_of(300)]
    ['tile/0/000', 'tile/0/001.p/44', 'tile/1/000.p/1']
    >>> decode_bundle(encode_bundle([b"a", b"bc"]), 2)
    [b'a', b'bc']

References:
    C2SP (2024), "tlog-tiles".
    Differs from the paper: nothing is pruned or compressed, and an entry has at most 65,535 bytes, as bundles say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from symbio_lab.errors import DataError, TrustError
from symbio_lab.trust.merkle import HASH_BYTES, Node, complete_nodes

TILE_WIDTH = 256
TILE_LEVELS = 8
"""Levels of the tree that one tile spans: ``2**8`` hashes."""
MAX_ENTRY_BYTES = 65_535
MAX_BUNDLE_BYTES = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
CHECKPOINT_NAME = "checkpoint"
ENTRIES = "entries"

TileReader = Callable[[int, int, int], Sequence[bytes]]
"""Level, index and width -> that many hashes of a tile."""


def tile_name(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """Return the name of a tile, or of a bundle (``level`` is ``entries``)."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{path}" + (f".p/{width}" if width < TILE_WIDTH else "")


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield level, index and width of every tile of a tree of ``size`` entries, lower levels first."""
    level, num_hashes = 0, size
    while num_hashes:
        for index in range(-(-num_hashes // TILE_WIDTH)):
            yield level, index, min(TILE_WIDTH, num_hashes - index * TILE_WIDTH)
        level, num_hashes = level + 1, num_hashes // TILE_WIDTH


def bundles_of(size: int) -> Iterator[tuple[int, int]]:
    """Yield index and width of every bundle of a log of ``size`` entries."""
    for index in range(-(-size // TILE_WIDTH)):
        yield index, min(TILE_WIDTH, size - index * TILE_WIDTH)


def tile_width(level: int, index: int, size: int) -> int:
    """Return the width of a tile in a tree of ``size`` entries, 0 if the tree does not have it."""
    num_hashes = size >> (TILE_LEVELS * level)
    return max(0, min(TILE_WIDTH, num_hashes - index * TILE_WIDTH))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the bundle of up to 256 entries.

    Raises:
        DataError: an entry has more than 65,535 bytes.
    """
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise DataError(f"an entry of the log has more than {MAX_ENTRY_BYTES} bytes", hint="log its digest instead")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """Return the entries of a bundle that has exactly ``width`` of them.

    Raises:
        TrustError: ``bad_proof``: it has fewer or more, or ends within one.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise TrustError("bad_proof", "a bundle of the log ends within an entry")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) != width:
        raise TrustError("bad_proof", f"a bundle of the log has {len(entries)} entries, not {width}")
    return entries


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """Return the hashes of a tile that has exactly ``width`` of them.

    Raises:
        TrustError: ``bad_proof``: it has fewer or more.
    """
    if len(data) != width * HASH_BYTES:
        raise TrustError("bad_proof", f"a tile of the log has {len(data)} bytes, not {width} hashes")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def nodes_in_tiles(read: TileReader, size: int) -> Node:
    """Return the reader of complete subtrees of a tree of ``size`` entries that is kept in tiles.

    Args:
        read: reader of tiles; each tile is asked for once.
        size: number of entries.

    Returns:
        A ``Node`` for ``merkle``. It raises ``TrustError`` (``bad_proof``) for a subtree that the tree does not have.
    """
    inside: dict[tuple[int, int], Node] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_LEVELS)
        first = index << height
        tile, offset = divmod(first, TILE_WIDTH)
        width = tile_width(tile_level, tile, size)
        if offset + (1 << height) > width:
            raise TrustError("bad_proof", f"a tree of {size} entries has no subtree {index} of level {level}")
        if (tile_level, tile) not in inside:
            inside[tile_level, tile] = complete_nodes(read(tile_level, tile, width))
        return inside[tile_level, tile](height, offset >> height)

    return node
