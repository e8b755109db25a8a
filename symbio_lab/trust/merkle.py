"""Merkle trees of a transparency log: hashes, proofs that an entry is in it, proofs that it only grew.

Rules:
    1. A leaf is ``SHA-256(0x00 || entry)``, a node is ``SHA-256(0x01 || left || right)``: the prefixes keep one from
       being passed off as the other. The root of the empty tree is ``SHA-256("")``.
    2. Proofs are made from the hashes of *complete* subtrees, which never change again: ``node(level, index)`` is
       the root over the entries ``[index * 2**level, (index + 1) * 2**level)``. Where they are kept is the caller's
       business.
    3. A verifier trusts the root alone. Everything else is refused with ``bad_proof`` unless it leads to that root.
    4. Growth from an empty tree is refused: every tree is consistent with nothing, so such a proof says nothing.

Example:
    >>> leaves = [leaf_hash(entry) for entry in (b"a", b"b", b"c")]
    >>> root = root_of(leaves)
    >>> proof = inclusion_proof(2, 3, complete_nodes(leaves))
    >>> verify_inclusion(leaves[2], 2, 3, proof, root)
    >>> verify_consistency(2, 3, consistency_proof(2, 3, complete_nodes(leaves)), root_of(leaves[:2]), root)

References:
    Laurie, Langley and Kasper (2013), RFC 6962, "Certificate Transparency", section 2.1 (hashes and proofs).
    Laurie, Messeri and Stradling (2021), RFC 9162, "Certificate Transparency Version 2.0", sections 2.1.3.2 and
    2.1.4.2 (how a verifier walks a proof).
    Differs from the paper: a consistency proof from size 0 is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from symbio_lab.errors import DataError, TrustError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_SIZE = 1 << 62
"""Largest number of entries that is believed; a proof is never longer than its 62 levels."""

Node = Callable[[int, int], bytes]
"""Level and index -> root over the complete subtree of ``2**level`` entries that starts at ``index * 2**level``."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash (32 bytes) of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash (32 bytes) of the node above two hashes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root (32 bytes) of the tree over leaf hashes, all of them in memory.

    >>> root_of([]) == EMPTY_ROOT
    True
    """
    return tree_root(len(leaves), complete_nodes(leaves))


def complete_nodes(leaves: Sequence[bytes]) -> Node:
    """Return the reader of complete subtrees over leaf hashes in memory; level by level, each node once."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return lambda level, index: levels[level][index]


def tree_root(size: int, node: Node) -> bytes:
    """Return the root (32 bytes) of the tree of ``size`` entries, from its complete subtrees.

    Raises:
        DataError: a negative size, or one beyond ``MAX_SIZE``.
    """
    _check_size(size)
    return EMPTY_ROOT if size == 0 else _range_root(0, size, node)


def inclusion_proof(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """Return the hashes that lead from entry ``index`` to the root of the tree of ``size`` entries.

    Args:
        index: zero-based place of the entry.
        size: number of entries of the tree.
        node: reader of complete subtrees.

    Raises:
        DataError: the tree has no such entry.
    """
    _check_size(size)
    if not 0 <= index < size:
        raise DataError(f"a tree of {size} entries has no entry {index}")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range_root(middle, high, node))
            high = middle
        else:
            proof.append(_range_root(low, middle, node))
            low = middle
    return tuple(reversed(proof))


def consistency_proof(old_size: int, new_size: int, node: Node) -> tuple[bytes, ...]:
    """Return the hashes that show that the tree of ``old_size`` entries is the beginning of that of ``new_size``.

    Raises:
        DataError: the sizes are not ``0 < old_size <= new_size``.
    """
    _check_size(new_size)
    if not 0 < old_size <= new_size:
        raise DataError(f"no proof leads from {old_size} to {new_size} entries")
    proof: list[bytes] = []
    low, high, is_whole = 0, new_size, True
    while old_size != high:
        middle = low + _split(high - low)
        if old_size <= middle:
            proof.append(_range_root(middle, high, node))
            high = middle
        else:
            proof.append(_range_root(low, middle, node))
            low, is_whole = middle, False
    # The old root itself is known to the verifier; a part of it is not.
    if not is_whole:
        proof.append(_range_root(low, high, node))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return nothing if ``proof`` leads from the leaf hash at ``index`` to the root of the tree of ``size``.

    Raises:
        TrustError: ``bad_proof``.
    """
    if not (0 <= index < size <= MAX_SIZE) or not _are_hashes((leaf, root, *proof)):
        raise TrustError("bad_proof", f"entry {index} of {size} cannot be proved by {len(proof)} hashes")
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise TrustError("bad_proof", f"the proof of entry {index} is too long")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            at, last = _climb(at, last)
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last != 0 or not hmac.compare_digest(found, root):
        raise TrustError("bad_proof", f"the proof of entry {index} does not lead to the root of {size} entries")


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Return nothing if ``proof`` shows that the new tree begins with the old one.

    Raises:
        TrustError: ``bad_proof``: history was rewritten, the tree shrank, or the proof shows nothing.
    """
    if not 0 < old_size <= new_size <= MAX_SIZE:
        raise TrustError("bad_proof", f"growth from {old_size} to {new_size} entries cannot be proved")
    if old_size == new_size:
        if proof or not hmac.compare_digest(old_root, new_root):
            raise TrustError("bad_proof", f"two different trees of {new_size} entries were shown")
        return
    if not _are_hashes((old_root, new_root, *proof)):
        raise TrustError("bad_proof", f"a hash of the proof has not {HASH_BYTES} bytes")
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)  # a complete subtree: its root is not repeated in the proof
    if not path:
        raise TrustError("bad_proof", f"the proof from {old_size} to {new_size} entries is empty")
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise TrustError("bad_proof", f"the proof from {old_size} to {new_size} entries is too long")
        if at & 1 or at == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            at, last = _climb(at, last)
        else:
            new_found = node_hash(new_found, sibling)
        at, last = at >> 1, last >> 1
    is_same = hmac.compare_digest(old_found, old_root) and hmac.compare_digest(new_found, new_root)
    if last != 0 or not is_same:
        raise TrustError("bad_proof", f"the tree of {new_size} entries does not begin with that of {old_size}")


def _climb(at: int, last: int) -> tuple[int, int]:
    """Skip the levels on which a node at the right edge has no sibling."""
    while at & 1 == 0 and at != 0:
        at, last = at >> 1, last >> 1
    return at, last


def _range_root(low: int, high: int, node: Node) -> bytes:
    """Return the root over ``[low, high)``, a range as the splitting of a tree makes them."""
    width = high - low
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(width)
    return node_hash(_range_root(low, middle, node), _range_root(middle, high, node))


def _split(width: int) -> int:
    """Return the largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(isinstance(value, bytes) and len(value) == HASH_BYTES for value in values)


def _check_size(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise DataError(f"a tree has 0 to {MAX_SIZE} entries, not {size}")
