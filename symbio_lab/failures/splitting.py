"""Splits that keep groups whole, and the check that nothing leaks between them.

Example:
    >>> rows = [Sample(f"text {i}", "ab"[i % 2], group=f"g{i // 2}") for i in range(20)]
    >>> parts = split_groups(rows, {"repair": 0.5, "holdout": 0.5}, seed=0)
    >>> {name: len(part) for name, part in parts.items()}
    {'repair': 10, 'holdout': 10}
    >>> check_disjoint(parts)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from symbio_lab.errors import DataError, EmptySliceError, LeakageError
from symbio_lab.records import Sample
from symbio_lab.seeding import shuffled


def split_groups(samples: Sequence[Sample], shares: Mapping[str, float], seed: int) -> dict[str, tuple[Sample, ...]]:
    """Return the samples divided into named parts, every group whole in one part.

    Groups go from large to small (seeded order among equals) to the part where they bring sizes and the counts of
    labels (facets, where samples name them) closest to the shares, measured by the chi-square distance. With few or
    very unequal groups the parts can miss their shares; that is the price of keeping groups whole.

    Args:
        samples: N samples, each with a group.
        shares: part name -> share of the samples, positive, summing to 1.
        seed: redraws the order among groups of equal size.

    Returns:
        Part name -> samples in input order, in the order of ``shares``. A part is empty only when there are
        fewer groups than parts.

    Raises:
        EmptySliceError: there are no samples.
        DataError: a share is not positive, the shares do not sum to 1, or a sample has no group.
    """
    if not shares or any(share <= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1.0):
        raise DataError("the shares must be positive and sum to 1", hint="add a part 'rest' for what is left over")
    if not samples:
        raise EmptySliceError("there are no samples to split")
    _check_grouped(samples)
    members: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        members[sample.group].append(i)
    # Sorted before shuffling: the result must not depend on the order in which groups were met.
    order = shuffled(sorted(members), seed, "split_groups")
    order.sort(key=lambda group: -len(members[group]))

    totals = Counter(sample.known_by for sample in samples)
    names = list(shares)
    sizes = dict.fromkeys(names, 0)
    labels: dict[str, Counter[str]] = {name: Counter() for name in names}
    chosen: dict[str, str] = {}

    def cost(name: str, counts: Counter[str], size: int) -> float:
        share = shares[name]
        target = share * len(samples)
        total = (2 * size * (sizes[name] - target) + size * size) / target
        for label, count in counts.items():
            target = share * totals[label]
            total += (2 * count * (labels[name][label] - target) + count * count) / target
        return total

    for group in order:
        counts = Counter(samples[i].known_by for i in members[group])
        size = len(members[group])
        empty = [name for name in names if sizes[name] == 0]
        left = len(order) - len(chosen)
        # The last groups go to parts that would otherwise stay empty.
        allowed = empty if empty and left <= len(empty) else names
        best = min(allowed, key=lambda name: cost(name, counts, size))
        chosen[group] = best
        sizes[best] += size
        labels[best].update(counts)
    return {name: tuple(sample for sample in samples if chosen[sample.group] == name) for name in names}


def check_disjoint(parts: Mapping[str, Sequence[Sample]], *, by: Literal["group", "text"] = "group") -> None:
    """Return quietly when no two parts share a group or a text.

    Args:
        parts: part name -> samples.
        by: ``group``, or ``text`` for exact texts (where a grammar makes disjoint groups impossible).

    Raises:
        LeakageError: two parts overlap; the message names both and an example.
        DataError: ``by`` is unknown, or a sample has no group.
    """
    if by not in ("group", "text"):
        raise DataError(f"cannot compare parts by {by!r}", hint="use group or text")
    if by == "group":
        for part in parts.values():
            _check_grouped(part)
    keys = {name: {sample.group if by == "group" else sample.text for sample in part} for name, part in parts.items()}
    for first, second in combinations(keys, 2):
        shared = keys[first] & keys[second]
        if shared:
            example = min(shared)
            if by == "group":
                text = next(sample.text for sample in parts[second] if sample.group == example)
                example = f"{example} ({text:.60})"
            raise LeakageError(f"{first} and {second} share {len(shared)} {by}(s), e.g. {example:.100}")


def _check_grouped(samples: Sequence[Sample]) -> None:
    bare = next((sample for sample in samples if not sample.group), None)
    if bare is not None:
        raise DataError(f"a sample has no group: {bare.text:.60}", hint="fill groups with with_groups() first")
