"""Do today's inputs look like those of before? What the two-sample tests on embeddings have in common.

Rules:
    1. A test compares two samples of embeddings and returns a statistic with a permutation p-value: under the null that
       both samples are from one distribution, P[p <= alpha] <= alpha, whatever the distribution.
    2. It is a batch test: repeated on growing data it needs its own correction, unlike the detectors on outcomes.
    3. Cost is bounded: above ``max_rows`` a sample is thinned at random, by the seed. Nothing else is random but the
       permutations, by the same seed.
    4. A shift of inputs is no rise of errors: it says where to look and what to label, not that the model fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import ConfigError, DataError, EmptySliceError

MIN_ROWS = 10
"""Fewest rows of either sample: below, no permutation test can say anything."""


@dataclass(frozen=True, slots=True)
class ShiftResult:
    """What a shift test found."""

    name: str
    """Name of the test."""
    statistic: float
    """Its statistic; larger is further apart."""
    p_value: float
    """Permutation p-value in (0, 1]; never below 1 / (1 + number of permutations)."""
    n_reference: int
    """Rows of the reference that were used, after thinning."""
    n_current: int
    """Rows of the current sample that were used, after thinning."""


@runtime_checkable
class ShiftTest(Protocol):
    """Compares two samples of embeddings."""

    name: str
    """Short name of the test."""

    def compare(self, reference: NDArray[np.floating[Any]], current: NDArray[np.floating[Any]]) -> ShiftResult:
        """Return how far the current sample is from the reference, and how surprising that is.

        Args:
            reference: embeddings of normal traffic, (N, D).
            current: embeddings of the traffic in question, (M, D).

        Raises:
            EmptySliceError: a sample has no rows.
            DataError: a sample has too few rows, NaN or infinity, or another width or shape.
        """
        ...


def checked_samples(
    reference: NDArray[np.floating[Any]],
    current: NDArray[np.floating[Any]],
    *,
    max_rows: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both samples as float64, thinned to ``max_rows`` each.

    Args:
        reference: (N, D).
        current: (M, D).
        max_rows: most rows kept of each.
        generator: draws the rows that are kept.

    Raises:
        EmptySliceError: a sample has no rows.
        DataError: a sample has too few rows, NaN or infinity, or another width or shape.
    """
    kept = []
    for name, sample in (("reference", reference), ("current", current)):
        try:
            rows = np.asarray(sample, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"the {name} sample is no table of numbers: {error}", hint=_HINT) from error
        if rows.size == 0:
            raise EmptySliceError(f"the {name} sample is empty", hint="collect traffic first")
        if rows.ndim != 2:
            raise DataError(f"the {name} sample has shape {rows.shape}", hint=_HINT)
        if len(rows) < MIN_ROWS:
            raise DataError(f"the {name} sample has {len(rows)} rows", hint=f"collect at least {MIN_ROWS}")
        if not np.isfinite(rows).all():
            raise DataError(f"the {name} sample has NaN or infinity", hint="leave out rows without an embedding")
        if len(rows) > max_rows:
            rows = rows[np.sort(generator.choice(len(rows), max_rows, replace=False))]
        kept.append(rows)
    if kept[0].shape[1] != kept[1].shape[1]:
        raise DataError(
            f"the samples are {kept[0].shape[1]} and {kept[1].shape[1]} wide",
            hint="embed both with the same model",
        )
    return kept[0], kept[1]


def check_test_settings(num_permutations: int, max_rows: int) -> None:
    """Accept settings that every shift test has.

    Args:
        num_permutations: at least 19, where the smallest p-value is 0.05.
        max_rows: at least ``MIN_ROWS``.

    Raises:
        ConfigError: a setting is out of range; all problems at once.
    """
    problems = [] if num_permutations >= 19 else [f"num_permutations must be at least 19, not {num_permutations!r}"]
    problems += [] if max_rows >= MIN_ROWS else [f"max_rows must be at least {MIN_ROWS}, not {max_rows!r}"]
    if problems:
        raise ConfigError(problems, hint="leave the settings out to get the documented defaults")


def permutation_p(observed: float, permuted: NDArray[np.float64]) -> float:
    """Return (1 + number of permuted statistics at least as large) / (1 + number of permutations).

    Args:
        observed: statistic of the samples as they are.
        permuted: statistics after random relabelling, (B,).

    References:
        Phipson and Smyth (2010), "Permutation p-values should never be zero", SAGMB 9. Differs from the paper: nothing.

    >>> permutation_p(2.0, np.array([0.5, 2.0, 1.0]))
    0.5
    """
    # Equal statistics summed in another order differ in the last bits; a tie must count against the shift.
    slack = 1e-12 * max(1.0, abs(observed))
    return float(1 + np.count_nonzero(permuted >= observed - slack)) / (1 + len(permuted))


_HINT = "give one row for each text and one column for each dimension of the embedding"
