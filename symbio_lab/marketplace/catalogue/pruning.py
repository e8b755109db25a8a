"""Nearest vectors without reading most of them: short heads with a bound on the rest.

A vector is split by an orthonormal basis into a short head and a tail of which only the length is kept. For a query
split alike, ``head . head + |tail| |tail|`` is never below the cosine (Cauchy-Schwarz). So one product with the heads
(a sixth of the bytes) gives every vector an upper bound; once k cosines are known, all vectors whose bound is below
the worst of them are out, unread.

Rules:
    1. Every cosine returned is computed from the whole vector.
    2. With ``spread=1`` the answer is the exact one whatever the data, but the bound excludes little where the k-th
       cosine is small. A smaller spread takes tails to be that near to orthogonal at most, as tails of hundreds of
       numbers are; what it misses is far down the list (``benchmarks/catalogue.py`` measures it).
    3. Where the bounds leave more than a quarter, everything is read in order, which is then faster.

References:
    Pearson (1901), "On Lines and Planes of Closest Fit to Systems of Points in Space" (the basis).
    Weber and Blott (1997), "An Approximation-Based Data Structure for Similarity Search", section 4 (VA-file: bounds
    from short codes first, vectors second). Differs from the paper: codes are leading components in float32, not bits,
    so that one matrix product makes all bounds; a bound may be loosened by ``spread``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
HEAD_DIMS = 64
"""Numbers kept of each vector: the head, and the length of the tail."""
SPREAD = 0.3
"""Cosine of two tails that is allowed for where exactness is not asked for."""
SLACK = 1e-5
"""What rounding may add to a cosine."""
_BLOCK = 65_536
_SEED_FACTOR = 4
_READ_ALL = 0.25


def fit_basis(sample: Floats) -> Floats:
    """Return the basis (D, H) whose heads hold most of a sample of vectors (N, D); H is at most ``HEAD_DIMS - 1``."""
    moment = sample.T.astype(np.float64) @ sample.astype(np.float64)
    _, axes = np.linalg.eigh(moment)
    num_dims = min(HEAD_DIMS - 1, sample.shape[1])
    return np.ascontiguousarray(axes[:, ::-1][:, :num_dims], dtype=np.float32)


def heads_of(vectors: Floats, basis: Floats) -> Floats:
    """Return heads with tail lengths, (N, H + 1), of vectors (N, D)."""
    heads = vectors @ basis
    rest = np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", heads, heads)
    return np.ascontiguousarray(np.hstack([heads, np.sqrt(np.maximum(rest, 0))[:, None]]), dtype=np.float32)


class PrunedScan:
    """One query against all vectors; ``best`` may be asked for more again at little cost."""

    def __init__(
        self,
        rows: Floats,
        heads: Floats,
        basis: Floats,
        query: Floats,
        *,
        among: slice | NDArray[np.int64] | None = None,
        spread: float = SPREAD,
    ) -> None:
        """Bound every vector.

        Args:
            rows: unit vectors, (N, D); zeros are allowed.
            heads: of the same vectors, (N, H + 1).
            basis: that the heads were made with, (D, H).
            query: unit vector, (D,).
            among: numbers of the vectors to look at, ascending; None looks at all.
            spread: largest cosine that two tails are taken to have, in (0, 1]; 1 is exact.
        """
        self._rows, self._query = rows, query
        self._numbers = among if isinstance(among, np.ndarray) else np.arange(len(rows))[among or slice(None)]
        head = heads_of(query[None], basis)[0]
        head[-1] *= spread
        self._bounds = np.asarray(heads[slice(None) if among is None else among] @ head)
        self.num_read = 0
        """Vectors that had to be read, so far."""

    def best(self, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Return numbers and cosines of the ``k`` nearest vectors, nearest first; equal ones by number."""
        total = len(self._bounds)
        if not 0 < k < total:
            chosen = np.arange(total if k else 0)
            return self._sorted(chosen, self._read(chosen), k)
        seeds = _at_least(self._bounds, min(_SEED_FACTOR * k, total))
        cosines = self._read(seeds)
        worst = np.partition(cosines, len(cosines) - k)[len(cosines) - k] - SLACK
        chosen = np.flatnonzero(self._bounds >= worst)
        if len(chosen) > _READ_ALL * total:
            chosen = np.arange(total)
        return self._sorted(chosen, self._read(chosen), k)

    def _sorted(self, chosen: NDArray[np.int64], cosines: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
        if k < len(chosen):
            # A threshold first: sorting everything that was read would cost more than reading it.
            worst = np.partition(cosines, len(cosines) - k)[len(cosines) - k]
            kept = np.flatnonzero(cosines >= worst)
            chosen, cosines = chosen[kept], cosines[kept]
        order = np.lexsort((chosen, -cosines))[:k]
        return self._numbers[chosen[order]], cosines[order]

    def _read(self, chosen: NDArray[np.int64]) -> Floats:
        self.num_read += len(chosen)
        numbers = self._numbers[chosen]
        if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
            # One run of vectors: read in order, without copying them.
            ends = range(int(numbers[0]), int(numbers[-1]) + 1, _BLOCK)
            return np.concatenate([self._rows[i : min(i + _BLOCK, int(numbers[-1]) + 1)] @ self._query for i in ends])
        return np.asarray(self._rows[numbers] @ self._query)


def _at_least(values: Floats, count: int) -> NDArray[np.int64]:
    """Return about ``count`` numbers of the largest values, never fewer, without sorting all of them."""
    step = max(1, len(values) // 8_192)
    sample = np.sort(values[::step])
    # Twice as deep in the sample as the share asks for: a sample errs.
    place = max(0, len(sample) - 1 - 2 * count // step - 1)
    found = np.flatnonzero(values >= sample[place])
    return found if len(found) >= count else np.argpartition(values, len(values) - count)[len(values) - count :]
