"""Who is vouched for by whom: trees of keys below the enrolled ones, and how they share one voice.

Rules:
    1. A root is a key that the policy calls known (``TrustPolicy.evaluators``). Below it stand the keys that it
       vouches for, below them those that these vouch for, as deep as the vouchers allow. A revoked key stands nowhere.
    2. A tree has one voice: the weights of all keys below one root sum to at most 1. So has every branch: whoever
       vouches shares his own weight with those below him, and cannot outweigh his siblings by their number.
    3. A voice weakens with depth: the first level below a root weighs 1, each further level ``DECAY`` of the one above.
    4. A key that stands in several trees gets the best of its shares, never their sum. Vouching is one-sided, so a
       tree into which somebody was drawn must not take weight from him.

Example:
    >>> trees = VoucherTrees({"org": {"a": Place("org", 1), "b": Place("org", 1), "c": Place("b", 2)}})
    >>> [(key, share.weight) for key, share in sorted(trees.shares(["a", "c"]).items())]
    [('a', 0.666...), ('c', 0.333...)]
    >>> round(sum(share.weight for share in trees.shares(["a", "b", "c"]).values()), 9)
    1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.voucher import MAX_DEPTH, Voucher, open_voucher, payload_to_voucher, valid_vouchers

DECAY = 0.5
MAX_LOOKUPS = 1024
"""Keys whose vouchers are read for one patch, at most: a flood of made-up keys must not keep us busy. Raters come
first, so a flood can silence those below the first level, but never give weight to anybody."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands in one tree."""

    parent: str
    """Keyid of whoever vouches for it there."""
    depth: int
    """1 below the root."""


@dataclass(frozen=True, slots=True)
class Share:
    """The weight of one rater's vote, and the root through which it has it."""

    weight: float
    root: str


@dataclass(frozen=True)
class VoucherTrees:
    """All trees at one time."""

    places: Mapping[str, Mapping[str, Place]] = field(default_factory=dict)
    """Root keyid -> keyid below it -> its place; every root is listed, also one without anybody below it."""
    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    """Public keys of all roots and of everybody below them, by keyid."""
    counted: frozenset[Voucher] = frozenset()
    """Vouchers that reach somebody: signed by a key in a tree that may vouch, and valid."""

    def roots_of(self, keyid: str) -> frozenset[str]:
        """Return the roots of the trees in which a key stands, its own included if it is a root."""
        return frozenset(root for root, below in self.places.items() if keyid == root or keyid in below)

    def shares(self, raters: Iterable[str], *, without: Collection[str] = ()) -> dict[str, Share]:
        """Return the weight of each rater's vote on one patch.

        Args:
            raters: keyids that voted; those that stand in no tree get nothing.
            without: roots whose trees have no voice on this patch: the publisher's own.
        """
        voting = frozenset(raters)
        best: dict[str, Share] = {}
        reached = [root for root, below in self.places.items() if root in voting or not voting.isdisjoint(below)]
        for root in sorted(set(reached) - set(without)):
            for keyid, weight in _divided(root, self.places[root], voting).items():
                if weight > (best[keyid].weight if keyid in best else 0.0):
                    best[keyid] = Share(weight, root)
        return best


def _divided(root: str, places: Mapping[str, Place], voting: frozenset[str]) -> dict[str, float]:
    """Divide one voice among the voters of a tree, branch by branch."""
    children: dict[str, set[str]] = {}
    # Only branches that lead to a voter take part.
    for keyid in voting & places.keys():
        while keyid != root and keyid not in children.setdefault(places[keyid].parent, set()):
            children[places[keyid].parent].add(keyid)
            keyid = places[keyid].parent
    asked: dict[str, float] = {}

    def cap(keyid: str) -> float:
        return 1.0 if keyid == root else DECAY ** (places[keyid].depth - 1)

    def ask(keyid: str) -> float:
        wanted = math.fsum(ask(child) for child in sorted(children.get(keyid, ())))
        asked[keyid] = wanted + (cap(keyid) if keyid in voting else 0.0)
        return min(cap(keyid), asked[keyid])

    found: dict[str, float] = {}

    def give(keyid: str, allotted: float) -> None:
        if not asked[keyid]:
            return
        scale = allotted / asked[keyid]
        if keyid in voting:
            found[keyid] = cap(keyid) * scale
        for child in children.get(keyid, ()):
            give(child, min(cap(child), asked[child]) * scale)

    give(root, ask(root))
    return found


def grow_trees(
    policy: TrustPolicy, keyids: Iterable[str], read_vouchers: Callable[[str], Iterable[bytes]], now: str
) -> VoucherTrees:
    """Return the trees in which ``keyids`` stand, upwards from them to the enrolled keys.

    Args:
        policy: names the roots and the revoked keys.
        keyids: raters and publishers; any text that a stranger wrote.
        read_vouchers: keyid of a rater -> envelope files of vouchers for it, unverified.
        now: UTC time, ISO-8601, ends in ``Z``.

    Raises:
        StorageError: ``read_vouchers`` failed.
    """
    roots = policy.evaluators
    keys: dict[str, PublicKey] = dict(roots)
    stated: list[tuple[Voucher, bytes]] = []
    seen: set[str] = set()
    frontier = sorted(set(keyids))
    for _ in range(MAX_DEPTH):
        above: set[str] = set()
        for keyid in frontier:
            if keyid in seen or keyid in policy.revoked or len(seen) >= MAX_LOOKUPS:
                continue
            seen.add(keyid)
            for data in read_vouchers(keyid):
                voucher = peek_voucher(data)
                if voucher is None or voucher.rater != keyid:
                    continue
                # A keyid is the digest of its public key, so any voucher may bring the key that it names.
                keys.setdefault(keyid, PublicKey(voucher.public_hex))
                stated.append((voucher, data))
                above.add(voucher.issuer)
        frontier = sorted(above - set(roots))
    verified = [opened for voucher, data in stated if (opened := _open(voucher, data, keys)) is not None]
    below: dict[str, list[Voucher]] = {}
    for voucher in valid_vouchers(verified, now):
        if voucher.rater not in policy.revoked and voucher.issuer not in policy.revoked:
            below.setdefault(voucher.issuer, []).append(voucher)
    counted: set[Voucher] = set()
    places = {root: _places(root, below, counted) for root in roots}
    placed = set(roots).union(*places.values())
    return VoucherTrees(places, {keyid: keys[keyid] for keyid in sorted(placed)}, frozenset(counted))


def peek_voucher(data: bytes) -> Voucher | None:
    """Return the voucher in an envelope **without any verification**; None if it is none."""
    try:
        return payload_to_voucher(peek_payload(data))
    except TrustError:
        return None


def _places(root: str, below: Mapping[str, list[Voucher]], counted: set[Voucher]) -> dict[str, Place]:
    """Place every key that the root's vouchers reach, as near to the root as it can stand; note the vouchers used."""
    places: dict[str, Place] = {}
    level: dict[str, int] = {root: MAX_DEPTH}
    for depth in range(1, MAX_DEPTH + 1):
        reached: dict[str, tuple[int, str]] = {}
        for issuer, allowed in sorted(level.items()):
            for voucher in below.get(issuer, ()) if allowed else ():
                counted.add(voucher)
                left = min(voucher.depth, allowed - 1)
                known = reached.get(voucher.rater)
                if voucher.rater != root and voucher.rater not in places and (known is None or left > known[0]):
                    reached[voucher.rater] = (left, issuer)
        places |= {rater: Place(issuer, depth) for rater, (_, issuer) in reached.items()}
        level = {rater: left for rater, (left, _) in reached.items()}
    return places


def _open(voucher: Voucher, data: bytes, keys: Mapping[str, PublicKey]) -> Voucher | None:
    key = keys.get(voucher.issuer)
    if key is None:
        return None
    try:
        return open_voucher(data, {voucher.issuer: key})
    except TrustError:
        return None
