"""Which of many failures to repair on: few that stand for all of them.

Three rules, each greedy and without randomness beyond the order of ties:

- ``facility_location``: every failure should have a chosen one close to it (representative, and diverse because a
  second choice from the same place adds nothing). The default.
- ``k_center``: the next is always the one farthest from all chosen (diverse; outliers come early).
- ``first``: as they came.

References:
    Facility location, greedy within 1 - 1/e of the best: Nemhauser, Wolsey and Fisher (1978), Mathematical Programming
    14; for choosing training data, Wei, Iyer and Bilmes (2015), ICML; lazily, Minoux (1978), Optimization Techniques,
    LNCIS 7 (the same choice, for less work). k-center, greedy within twice the best: Gonzalez
    (1985), Theoretical Computer Science 38; for active learning, Sener and Savarese (2018), ICLR.
    Differs from the papers: similarity is the cosine of sentence embeddings; facility location cuts negative ones off.

Example:
    >>> points = np.array([[1, 0], [0.99, 0.14], [0, 1]])
    >>> representatives(points, 2), representatives(points, 2, rule="k_center")
    ((1, 2), (1, 2))
"""

from __future__ import annotations

import heapq
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError

Rule = Literal["facility_location", "k_center", "first"]
MOST_POINTS = 4096
"""Beyond this many, only the first are chosen from: the matrix of similarities takes 64 MiB, in single precision."""


def representatives(
    embeddings: NDArray[np.floating], count: int, *, rule: Rule = "facility_location"
) -> tuple[int, ...]:
    """Return which rows to take, the most useful first.

    Args:
        embeddings: unit vectors, (N, D).
        count: rows wanted; all are returned when there are fewer.
        rule: ``facility_location``, ``k_center`` or ``first``.

    Raises:
        DataError: an unknown rule or a negative count.
    """
    if rule not in ("facility_location", "k_center", "first"):
        raise DataError(f"unknown rule {rule!r}", hint="use facility_location, k_center or first")
    if count < 0:
        raise DataError(f"cannot choose {count} rows")
    num_points = min(len(embeddings), MOST_POINTS)
    count = min(count, num_points)
    if rule == "first" or count == 0:
        return tuple(range(count))
    points = np.asarray(embeddings[:num_points], dtype=np.float32)
    similarity = points @ points.T
    if rule == "k_center":
        return _k_center(similarity, count)
    return _facility_location(np.maximum(similarity, 0.0, out=similarity), count)


def _facility_location(similarity: NDArray[np.float32], count: int) -> tuple[int, ...]:
    served = np.zeros(len(similarity), dtype=np.float32)
    chosen: list[int] = []
    # Gains only fall as others are chosen, so a gain worked out earlier is an upper bound: what is still on top when
    # worked out anew is the best. Ties go to the first row.
    heap = [(-float(row.sum(dtype=np.float64)), i, 0) for i, row in enumerate(similarity)]
    heapq.heapify(heap)
    while len(chosen) < count:
        _, best, of_round = heapq.heappop(heap)
        if of_round < len(chosen):
            gain = float(np.maximum(similarity[best] - served, 0.0).sum(dtype=np.float64))
            heapq.heappush(heap, (-gain, best, len(chosen)))
            continue
        chosen.append(best)
        np.maximum(served, similarity[best], out=served)
    return tuple(chosen)


def _k_center(similarity: NDArray[np.float32], count: int) -> tuple[int, ...]:
    chosen = [int(similarity.sum(axis=1, dtype=np.float64).argmax())]
    nearest = similarity[chosen[0]].copy()
    while len(chosen) < count:
        nearest[chosen] = np.inf
        best = int(nearest.argmin())
        chosen.append(best)
        nearest = np.maximum(nearest, similarity[best])
    return tuple(chosen)
