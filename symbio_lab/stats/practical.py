"""Practical equality: how likely is it that two arms differ by less than anybody would care about?

A test can only fail to show a difference. Asking for the probability that the difference lies within a region of
practical equivalence (ROPE) can show that there is none worth having.

Example:
    >>> found = signed_rank_rope([0.1, -0.2, 0.0, 0.3, -0.1, 0.2], rope=1.0, rng=np.random.default_rng(0))
    >>> found.practically_equal > 0.99
    True
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from symbio_lab.errors import DataError
from symbio_lab.stats.figures import Figures, checked_values

PRIOR_STRENGTH = 0.5
"""Weight of the one observation of no difference that stands for the prior."""
_BATCH = 2000


@dataclass(frozen=True, slots=True)
class PracticalEquality:
    """Posterior probabilities that sum to 1, and how many incidents they rest on."""

    second_better: float
    """The difference lies below the region."""
    practically_equal: float
    first_better: float
    """The difference lies above the region."""
    n: int


def signed_rank_rope(
    differences: Figures, rope: float, *, rng: np.random.Generator, num_draws: int = 20_000
) -> PracticalEquality:
    """Return where the difference of two arms probably lies, by the Bayesian signed-rank test.

    Args:
        differences: first minus second, one for each incident, of shape (n,).
        rope: half width of the region, in the unit of the differences, 0 or more.
        rng: source of the posterior's draws.
        num_draws: of the posterior.

    Raises:
        DataError: nothing is given, a figure is not finite, or an impossible region or number of draws.

    References:
        Benavoli, Corani, Demsar and Zaffalon (2017), "Time for a Change: a Tutorial for Comparing Multiple Classifiers
        Through Bayesian Analysis", JMLR 18, section 4.2 (Dirichlet process with a prior observation at zero).
    """
    values = checked_values(differences)
    if not (math.isfinite(rope) and rope >= 0):
        raise DataError(f"a region of half width {rope}", hint="give 0 or more, in the unit of the differences")
    if num_draws < 1:
        raise DataError("no draws of the posterior", hint="give a positive number")
    z = np.concatenate([[0.0], values])
    sums = z[:, None] + z[None, :]
    below, above = (sums < -2 * rope).astype(float), (sums > 2 * rope).astype(float)
    counts = np.zeros(3)
    left = num_draws
    while left > 0:
        size = min(left, _BATCH)
        weights = rng.dirichlet([PRIOR_STRENGTH, *np.ones(values.size)], size=size)
        low = np.einsum("di,ij,dj->d", weights, below, weights)
        high = np.einsum("di,ij,dj->d", weights, above, weights)
        shares = np.stack([low, 1 - low - high, high])
        best = shares == shares.max(axis=0)
        counts += (best / best.sum(axis=0)).sum(axis=1)
        left -= size
    second, equal, first = (float(c) / num_draws for c in counts)
    return PracticalEquality(second, equal, first, values.size)
