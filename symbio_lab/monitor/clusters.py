"""Groups of failures that lie close together in meaning, kept where all traffic around them fails more often.

Failures alone always cluster: people ask about the same things whether the model is right or not. A group counts only
if the *traffic* in its neighbourhood, successes included, fails more often than the rest.

References:
    Campello, Moulavi and Sander (2013), "Density-based clustering based on hierarchical density estimates", PAKDD
    (HDBSCAN), on the first principal components.
    Differs from the paper: groups of both selection rules (leaves, excess of mass), and the gate against all traffic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from symbio_lab.errors import DataError
from symbio_lab.monitor.enrichment import enrichment_p, odds_ratio

Vectors = NDArray[np.floating]
NUM_COMPONENTS = 15
REACH = 0.2
"""Share of a group's own members that lie outside its neighbourhood."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """All traffic whose embedding is close to the centre of a group of failures."""

    centroid: tuple[float, ...]
    """Unit vector, (D,)."""
    min_cosine: float
    """Rows at least this close are inside."""

    def cosines(self, embeddings: Vectors) -> NDArray[np.float64]:
        """Return the cosine of every row with the centre, (N,)."""
        return np.asarray(embeddings, dtype=np.float64) @ np.asarray(self.centroid)

    def contains(self, embeddings: Vectors) -> NDArray[np.bool_]:
        """Return for which unit embeddings, (N, D), the row lies inside, (N,)."""
        return self.cosines(embeddings) >= self.min_cosine


def neighbourhood(vectors: Vectors, *, reach: float = REACH) -> Neighbourhood:
    """Return the neighbourhood of M unit vectors that holds all but ``reach`` of them.

    Raises:
        DataError: there are no vectors.
    """
    if not len(vectors):
        raise DataError("a neighbourhood needs at least one vector")
    middle = np.asarray(vectors, dtype=np.float64).mean(axis=0)
    middle /= max(float(np.linalg.norm(middle)), 1e-12)
    return Neighbourhood(tuple(float(x) for x in middle), float(np.quantile(vectors @ middle, reach)))


def failure_clusters(
    embeddings: Vectors,
    failed: NDArray[np.bool_],
    *,
    q: float = 0.05,
    min_size: int = 8,
    min_odds_ratio: float = 1.5,
    gate: bool = True,
    num_components: int = NUM_COMPONENTS,
) -> tuple[Neighbourhood, ...]:
    """Return the neighbourhoods of groups of failures, the most significant first.

    Args:
        embeddings: unit vectors of N rows, (N, D).
        failed: whether each row failed, (N,).
        q: false-discovery level of the gate.
        min_size: failures in the smallest group.
        min_odds_ratio: how many times the odds to fail outside a neighbourhood must reach inside.
        gate: False keeps every group, as methods do that look at failures alone; for comparison.
        num_components: principal components of the failures.

    Raises:
        DataError: shapes differ.
    """
    from sklearn.decomposition import PCA

    if len(embeddings) != len(failed):
        raise DataError(f"{len(embeddings)} embeddings for {len(failed)} outcomes")
    failures = np.asarray(embeddings, dtype=np.float64)[failed]
    if len(failures) < 2 * min_size:
        return ()
    size = min(num_components, *failures.shape)
    # The full solver is exact, so that nothing here is random.
    reduced = PCA(size, svd_solver="full").fit_transform(failures)
    # Leaves are the finest groups; those of the excess of mass are coarser and more stable.
    groups = [
        group
        for rule in (("eom", "leaf") if gate else ("leaf",))
        for group in _groups(failures, reduced, rule, min_size)
    ]
    if not groups:
        return ()
    inside = [group.contains(embeddings) for group in groups]
    p_values = np.array([enrichment_p(rows, failed) for rows in inside])
    passing = false_discovery_control(np.minimum(p_values, 1.0)) <= q
    odds = [odds_ratio(int((rows & failed).sum()), int(rows.sum()), len(failures), len(failed)) for rows in inside]
    kept = [i for i in range(len(groups)) if not gate or (passing[i] and odds[i] >= min_odds_ratio)]
    return tuple(groups[i] for i in sorted(kept, key=lambda i: (p_values[i], i)))


def _groups(failures: Vectors, reduced: Vectors, rule: str, min_size: int) -> list[Neighbourhood]:
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=min_size, min_samples=3, cluster_selection_method=rule, copy=True)
    names = found.fit_predict(reduced)
    return [neighbourhood(failures[names == name]) for name in sorted(set(names.tolist()) - {-1})]
