"""Maximum mean discrepancy: are the mean embeddings of two samples, in the space of an RBF kernel, the same?

Sensitive to any difference of distribution, above all to many small ones; ``domain_classifier.py`` is better where few
directions carry the shift. The kernel matrix is computed once; each permutation costs one row of a matrix product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from symbio_lab.monitor.detectors.shift_test import (
    ShiftResult,
    check_test_settings,
    checked_samples,
    permutation_p,
)
from symbio_lab.seeding import numpy_generator


class Mmd:
    """Unbiased squared MMD with an RBF kernel, bandwidth by the median heuristic, and a permutation p-value.

    Args:
        seed: of the permutations and of the thinning.
        num_permutations: random relabellings; the smallest p-value is 1 / (1 + this).
        max_rows: most rows used of each sample; time and memory grow with its square.

    Raises:
        ConfigError: a setting is out of range.

    References:
        Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), "A kernel two-sample test", JMLR 13, Lemma 6 (the
        unbiased statistic) and section 8 (the median heuristic). Differs from the paper: the null distribution by
        permutation; k(x, y) = exp(-|x - y|^2 / (2 s^2)) with s^2 the median squared distance of the pooled rows.
    """

    name = "mmd"

    def __init__(self, *, seed: int, num_permutations: int = 199, max_rows: int = 500) -> None:
        check_test_settings(num_permutations, max_rows)
        self._seed, self._num_permutations, self._max_rows = seed, num_permutations, max_rows

    def compare(self, reference: NDArray[np.floating[Any]], current: NDArray[np.floating[Any]]) -> ShiftResult:
        """Return the squared MMD of two samples with its p-value.

        Args:
            reference: (N, D).
            current: (M, D).

        Raises:
            EmptySliceError: a sample has no rows.
            DataError: a sample has too few rows, NaN or infinity, or another width or shape.
        """
        generator = numpy_generator(self._seed, self.name)
        first, second = checked_samples(reference, current, max_rows=self._max_rows, generator=generator)
        kernel = rbf_kernel(np.vstack([first, second]))
        is_current = np.repeat([False, True], [len(first), len(second)])
        relabelled = np.stack([generator.permutation(is_current) for _ in range(self._num_permutations)])
        observed, *permuted = mmd_squared(kernel, np.vstack([is_current, relabelled]))
        p_value = permutation_p(observed, np.array(permuted))
        return ShiftResult(self.name, float(observed), p_value, len(first), len(second))


def rbf_kernel(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the RBF kernel matrix of all rows, (N, N), with the median distance as bandwidth.

    Args:
        rows: (N, D), N >= 2.

    >>> rbf_kernel(np.array([[0.0], [1.0]])).round(4).tolist()
    [[1.0, 0.6065], [0.6065, 1.0]]
    """
    squared = pdist(rows, "sqeuclidean")
    # More than half of the rows may be one text; the mean then still has a scale, and identical rows need none.
    median = float(np.median(squared)) or float(np.mean(squared)) or 1.0
    kernel: NDArray[np.float64] = np.exp(squareform(squared) / (-2.0 * median))
    return kernel


def mmd_squared(kernel: NDArray[np.float64], is_current: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the unbiased squared MMD for each way of labelling the rows, (B,).

    Args:
        kernel: (N, N).
        is_current: labellings, (B, N), each with the same number of current rows, at least 2 of either kind.
    """
    second = is_current.astype(np.float64)
    first = 1.0 - second
    n, m = first[0].sum(), second[0].sum()
    with_first, with_second = first @ kernel, second @ kernel
    diagonal = np.diag(kernel)
    within_first = ((with_first * first).sum(axis=1) - first @ diagonal) / (n * (n - 1))
    within_second = ((with_second * second).sum(axis=1) - second @ diagonal) / (m * (m - 1))
    between = (with_first * second).sum(axis=1) / (n * m)
    found: NDArray[np.float64] = within_first + within_second - 2.0 * between
    return found
