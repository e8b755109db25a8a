"""Domain classifier: can a logistic regression tell today's inputs from those of before?

The statistic is a cross-validated AUC: .5 says no, 1 says every time. Pooled rows are first reduced to their largest
principal components. The reduction does not see which sample a row is from, so the permutation p-value stays exact, and
the classifiers of all permutations become cheap; a shift outside these components is not seen (``mmd.py`` sees it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from symbio_lab.errors import ConfigError
from symbio_lab.monitor.detectors.shift_test import (
    MIN_ROWS,
    ShiftResult,
    check_test_settings,
    checked_samples,
    permutation_p,
)
from symbio_lab.seeding import numpy_generator


class DomainClassifier:
    """Cross-validated AUC of a logistic regression between two samples, with a permutation p-value.

    Args:
        seed: of the permutations, the folds and the thinning.
        num_permutations: random relabellings; the smallest p-value is 1 / (1 + this).
        max_rows: most rows used of each sample.
        num_folds: of the cross-validation, 2 to 10.
        num_components: principal components kept.

    Raises:
        ConfigError: a setting is out of range; all problems at once.

    References:
        Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests", ICLR. Differs from the paper: AUC in
        place of accuracy, cross-validation in place of one split, and the null distribution by permutation with all
        classifiers fitted again, since folds are not independent.
    """

    name = "domain_classifier"

    def __init__(
        self,
        *,
        seed: int,
        num_permutations: int = 99,
        max_rows: int = 300,
        num_folds: int = 5,
        num_components: int = 32,
    ) -> None:
        check_test_settings(num_permutations, max_rows)
        if not 2 <= num_folds <= MIN_ROWS or num_components < 1:
            raise ConfigError(
                [f"num_folds must lie in [2, {MIN_ROWS}] and num_components be at least 1"],
                hint="leave the settings out to get the documented defaults",
            )
        self._seed, self._num_permutations, self._max_rows = seed, num_permutations, max_rows
        self._num_folds, self._num_components = num_folds, num_components

    def compare(self, reference: NDArray[np.floating[Any]], current: NDArray[np.floating[Any]]) -> ShiftResult:
        """Return the AUC between two samples with its p-value.

        Args:
            reference: (N, D).
            current: (M, D).

        Raises:
            EmptySliceError: a sample has no rows.
            DataError: a sample has too few rows, NaN or infinity, or another width or shape.
        """
        generator = numpy_generator(self._seed, self.name)
        first, second = checked_samples(reference, current, max_rows=self._max_rows, generator=generator)
        components = principal_components(np.vstack([first, second]), self._num_components)
        is_current = np.repeat([False, True], [len(first), len(second)])
        observed = self._auc(components, is_current, generator)
        permuted = np.array(
            [self._auc(components, generator.permutation(is_current), generator) for _ in range(self._num_permutations)]
        )
        return ShiftResult(self.name, observed, permutation_p(observed, permuted), len(first), len(second))

    def _auc(
        self, components: NDArray[np.float64], is_current: NDArray[np.bool_], generator: np.random.Generator
    ) -> float:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold

        folds = StratifiedKFold(self._num_folds, shuffle=True, random_state=int(generator.integers(2**31)))
        areas = []
        for train, test in folds.split(components, is_current):
            model = LogisticRegression(max_iter=1000).fit(components[train], is_current[train])
            areas.append(rank_auc(model.decision_function(components[test]), is_current[test]))
        # Scores of different folds are on different scales, so areas are averaged and scores never pooled.
        return float(np.mean(areas))


def rank_auc(scores: NDArray[np.float64], is_current: NDArray[np.bool_]) -> float:
    """Return the share of pairs in which the current row has the higher score, ties counted half.

    Args:
        scores: (N,).
        is_current: (N,), with both values.

    >>> rank_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    # scikit-learn's own takes longer than the fit, most of it checks; the ranks give the same figure.
    num_current = int(is_current.sum())
    above = rankdata(scores)[is_current].sum() - num_current * (num_current + 1) / 2
    return float(above / (num_current * (len(scores) - num_current)))


def principal_components(rows: NDArray[np.float64], num_components: int) -> NDArray[np.float64]:
    """Return the largest principal components of all rows, each with variance 1, (N, at most num_components).

    Args:
        rows: (N, D).
        num_components: most that are kept; those without variance never are.

    >>> principal_components(np.array([[0.0, 5.0], [0.0, 5.0], [3.0, 5.0]]), 2).round(4).tolist()
    [[-0.7071], [-0.7071], [1.4142]]
    """
    centred = rows - rows.mean(axis=0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    kept = int(np.count_nonzero(scales[:num_components] > 1e-10 * max(float(scales[0]), 1e-300)))
    if kept == 0:
        return np.zeros((len(rows), 1))
    # The sign of a singular vector is arbitrary and may differ between builds of LAPACK; fix it.
    columns = left[:, :kept]
    signs = np.sign(columns[np.abs(columns).argmax(axis=0), np.arange(kept)])
    found: NDArray[np.float64] = columns * signs * np.sqrt(len(rows))
    return found
