"""Trees against their definition in RFC 6962, for every small size, and proofs against every change of a bit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import DataError, TrustError
from symbio_lab.trust.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    complete_nodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"entry %d" % i) for i in range(70)]
ROOTS = [root_of(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def split(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def mth(entries: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1, word for word."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: Sequence[bytes], is_whole: bool) -> list[bytes]:
    """RFC 6962, section 2.1.2, word for word."""
    if m == len(entries):
        return [] if is_whole else [mth(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], is_whole), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def test_roots_and_proofs_follow_the_definition() -> None:
    entries = [b"entry %d" % i for i in range(40)]
    for size in range(41):
        assert root_of(LEAVES[:size]) == mth(entries[:size])
        node = complete_nodes(LEAVES[:size])
        for i in range(size):
            assert list(inclusion_proof(i, size, node)) == path(i, entries[:size])
        for old in range(1, size + 1):
            assert list(consistency_proof(old, size, node)) == subproof(old, entries[:size], True)


def test_known_roots() -> None:
    # The tree of the reference implementation of Certificate Transparency: "", 00, 10, 2021, 3031, ...
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in entries]
    assert root_of(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_every_proof_verifies() -> None:
    for size in range(1, len(LEAVES) + 1):
        node = complete_nodes(LEAVES[:size])
        for i in range(size):
            verify_inclusion(LEAVES[i], i, size, inclusion_proof(i, size, node), ROOTS[size])
        for old in range(1, size + 1):
            verify_consistency(old, size, consistency_proof(old, size, node), ROOTS[old], ROOTS[size])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change_of_an_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    proof = list(inclusion_proof(index, size, complete_nodes(LEAVES[:size])))
    kind = data.draw(st.sampled_from(["bit", "drop", "add", "index", "leaf", "root"]))
    leaf, root, at = LEAVES[index], ROOTS[size], index
    place = data.draw(st.integers(0, len(proof) - 1))
    if kind == "bit":
        proof[place] = flip(proof[place], data.draw(st.integers(0, 255)))
    elif kind == "drop":
        del proof[place]
    elif kind == "add":
        proof.insert(place, data.draw(st.sampled_from([root, leaf, proof[place]])))
    elif kind == "index":
        at = data.draw(st.integers(-1, size).filter(lambda i: i != index))
    elif kind == "leaf":
        leaf = flip(leaf, data.draw(st.integers(0, 255)))
    else:
        root = flip(root, data.draw(st.integers(0, 255)))
    with pytest.raises(TrustError) as refused:
        verify_inclusion(leaf, at, size, proof, root)
    assert refused.value.code == "bad_proof"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_rewritten_history_has_no_proof(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(LEAVES)))
    old = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, old - 1))
    other = [*LEAVES[:changed], leaf_hash(b"another"), *LEAVES[changed + 1 : size]]
    # The forger may make the proof from either tree.
    for leaves in (other, LEAVES[:size]):
        proof = consistency_proof(old, size, complete_nodes(leaves))
        with pytest.raises(TrustError) as refused:
            verify_consistency(old, size, proof, ROOTS[old], root_of(other))
        assert refused.value.code == "bad_proof"


def flip(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_a_leaf_is_no_node() -> None:
    left, right = LEAVES[0], LEAVES[1]
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [(0, 5, ()), (0, 0, ()), (5, 4, ()), (-1, 3, ()), (3, MAX_SIZE + 1, ()), (3, 5, ()), (3, 5, (b"short",))],
)
def test_growth_that_cannot_be_proved(old: int, new: int, proof: tuple[bytes, ...]) -> None:
    with pytest.raises(TrustError) as refused:
        verify_consistency(old, new, proof, ROOTS[3], ROOTS[5])
    assert refused.value.code == "bad_proof"


def test_two_roots_of_one_size() -> None:
    verify_consistency(3, 3, (), ROOTS[3], ROOTS[3])
    for proof, root in (((), ROOTS[4]), ((ROOTS[3],), ROOTS[3])):
        with pytest.raises(TrustError):
            verify_consistency(3, 3, proof, ROOTS[3], root)


def test_impossible_requests_are_errors_of_the_caller() -> None:
    node = complete_nodes(LEAVES)
    for call in (
        lambda: inclusion_proof(5, 5, node),
        lambda: inclusion_proof(-1, 5, node),
        lambda: consistency_proof(0, 5, node),
        lambda: consistency_proof(6, 5, node),
        lambda: tree_root(-1, node),
        lambda: tree_root(MAX_SIZE + 1, node),
    ):
        with pytest.raises(DataError):
            call()


def test_a_proof_is_short() -> None:
    assert len(inclusion_proof(3, 1 << 40, lambda level, index: bytes(32))) == 40
