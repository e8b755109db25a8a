"""An error-aware mixture over embeddings and outcomes, as the comparison method for pattern finding.

Each component is a diagonal Gaussian over the principal components of the embeddings, times a categorical over the gold
label and one over the answer, both to the power of a weight. Components with the highest expected failure rate are the
slices.

References:
    Eyuboglu et al. (2022), "Domino: Discovering Systematic Errors with Cross-Modal Embeddings", ICLR, section 4.2
    (25 components, 128 principal components, weight 10, the best of them kept).
    Differs from the paper: answers enter as hard labels, not as probabilities; many labels (more than
    ``MOST_LABELS``) are replaced by right or wrong, since a categorical over 150 labels with few failures each learns
    nothing but the labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError

FloatArray = NDArray[np.float64]
MOST_LABELS = 50
_FLOOR = 1e-4
"""Smallest variance of a component along one axis."""
_PRIOR = 1e-2
"""Pseudo-count of each outcome in each component."""


def mixture_slices(
    embeddings: NDArray[np.floating],
    expected: Sequence[str],
    actual: Sequence[str],
    *,
    seed: int,
    num_components: int = 25,
    num_slices: int = 10,
    weight: float = 10.0,
    num_dimensions: int = 128,
    num_steps: int = 60,
) -> tuple[FloatArray, ...]:
    """Return how strongly each row belongs to each slice, the slice with the highest failure rate first.

    Args:
        embeddings: (N, D).
        expected: gold labels, (N,).
        actual: answers, (N,).
        seed: initial assignment by k-means.
        num_components: of the mixture.
        num_slices: components kept.
        weight: power of the outcome terms against the Gaussian.
        num_dimensions: principal components at most.
        num_steps: of expectation-maximisation at most.

    Returns:
        ``num_slices`` arrays (N,) of probabilities.

    Raises:
        DataError: shapes differ, or there are fewer rows than components.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    num_rows = len(embeddings)
    if not num_rows == len(expected) == len(actual):
        raise DataError(f"{num_rows} embeddings, {len(expected)} gold labels and {len(actual)} answers")
    if num_rows < num_components:
        raise DataError(f"{num_rows} rows are too few for {num_components} components")
    points = np.asarray(embeddings, dtype=np.float64)
    reduced: FloatArray = PCA(min(num_dimensions, *points.shape), svd_solver="full").fit_transform(points)
    failed = np.array([e != a for e, a in zip(expected, actual, strict=True)])
    names = sorted({*expected, *actual})
    if len(names) > MOST_LABELS:
        outcomes = [_one_hot(["wrong" if f else "right" for f in failed], ["right", "wrong"])]
    else:
        outcomes = [_one_hot(expected, names), _one_hot(actual, names)]
    start = KMeans(num_components, n_init=1, random_state=seed).fit_predict(reduced)
    shares: FloatArray = np.eye(num_components)[start] * 0.9 + 0.1 / num_components
    for _ in range(num_steps):
        updated = _step(reduced, outcomes, shares, weight)
        settled = float(np.abs(updated - shares).max()) < 1e-4
        shares = updated
        if settled:
            break
    rates = (shares * failed[:, None]).sum(axis=0) / (shares.sum(axis=0) + 1e-9)
    best = sorted(range(num_components), key=lambda c: (-rates[c], c))[:num_slices]
    return tuple(shares[:, c] for c in best)


def _one_hot(values: Sequence[str], names: Sequence[str]) -> FloatArray:
    place = {name: i for i, name in enumerate(names)}
    return np.eye(len(names))[[place[value] for value in values]]


def _step(points: FloatArray, outcomes: Sequence[FloatArray], shares: FloatArray, weight: float) -> FloatArray:
    """One step of expectation-maximisation: shares (N, K) to shares (N, K)."""
    sizes = shares.sum(axis=0) + 1e-9
    means = shares.T @ points / sizes[:, None]
    variances = np.maximum(shares.T @ points**2 / sizes[:, None] - means**2, 0.0) + _FLOOR
    squares = (points**2) @ (1 / variances).T - 2 * points @ (means / variances).T + (means**2 / variances).sum(axis=1)
    log_density = np.log(sizes / len(points)) - 0.5 * (np.log(variances).sum(axis=1) + squares)
    for outcome in outcomes:
        rates = (shares.T @ outcome + _PRIOR) / (sizes[:, None] + _PRIOR * outcome.shape[1])
        log_density += weight * (outcome @ np.log(rates).T)
    log_density -= log_density.max(axis=1, keepdims=True)
    density: FloatArray = np.exp(log_density)
    return density / density.sum(axis=1, keepdims=True)
