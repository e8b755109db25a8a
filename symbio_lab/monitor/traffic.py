"""Traffic as columns: what detectors and pattern finders read.

One row is one answer of a model in use. An outcome may be unknown (the ground truth comes late or never); rates are
stated over labelled rows only, and every figure's n says how many these were.

Example:
    >>> traffic = traffic_of([PredictionRecord("m", "text_classification", "hi", "greet", expected_output="bye")])
    >>> len(traffic), traffic.labelled.tolist(), traffic.failed.tolist()
    (1, [True], [True])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError
from symbio_lab.records import PredictionRecord


@dataclass(frozen=True, slots=True)
class Traffic:
    """N answers of one model, in the order in which they were observed."""

    ids: tuple[str, ...]
    """``prediction_id`` of each answer, (N,)."""
    texts: tuple[str, ...]
    """Inputs, (N,)."""
    actual: tuple[str, ...]
    """Answers of the model, (N,)."""
    expected: tuple[str | None, ...]
    """Gold outputs, (N,); None where the ground truth is not known (yet)."""
    domains: tuple[str, ...]
    """Domain of each row, (N,); empty where the caller named none."""
    confidence: NDArray[np.float64]
    """Confidence in the answer, in [0, 1], (N,); NaN where the caller gave none."""
    failed: NDArray[np.bool_]
    """Whether the answer was wrong, (N,); False where it is not known: read ``labelled`` first."""
    labelled: NDArray[np.bool_]
    """Whether the ground truth is known, (N,)."""
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The caller's further columns, (N,) each; empty string where a row has none."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def error_rate(self) -> float | None:
        """Share of labelled answers that were wrong, in [0, 1]; None without labelled rows."""
        num_labelled = int(self.labelled.sum())
        return float(self.failed.sum()) / num_labelled if num_labelled else None

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Traffic:
        """Return some of the rows.

        Args:
            rows: positions, or a mask of shape (N,).
        """
        kept = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        places = [int(i) for i in kept]
        return Traffic(
            ids=tuple(self.ids[i] for i in places),
            texts=tuple(self.texts[i] for i in places),
            actual=tuple(self.actual[i] for i in places),
            expected=tuple(self.expected[i] for i in places),
            domains=tuple(self.domains[i] for i in places),
            confidence=self.confidence[kept],
            failed=self.failed[kept],
            labelled=self.labelled[kept],
            metadata={name: tuple(column[i] for i in places) for name, column in self.metadata.items()},
        )


def traffic_of(records: Iterable[PredictionRecord]) -> Traffic:
    """Return prediction records of one model as columns, in the order given.

    Args:
        records: answers of one model and one tenant.

    Raises:
        DataError: the records are of several models or tenants.
    """
    rows = tuple(records)
    sources = {(row.tenant, row.model_id) for row in rows}
    if len(sources) > 1:
        raise DataError(
            f"the traffic is of {len(sources)} models or tenants",
            hint="read the traffic of one tenant and one model at a time",
        )
    names = sorted({name for row in rows for name in row.metadata})
    outcomes = [row.failed for row in rows]
    return Traffic(
        ids=tuple(row.prediction_id for row in rows),
        texts=tuple(row.input_sample for row in rows),
        actual=tuple(row.actual_output for row in rows),
        expected=tuple(row.expected_output for row in rows),
        domains=tuple(row.domain for row in rows),
        confidence=np.array([np.nan if row.confidence is None else row.confidence for row in rows], dtype=np.float64),
        failed=np.array([outcome is True for outcome in outcomes], dtype=np.bool_),
        labelled=np.array([outcome is not None for outcome in outcomes], dtype=np.bool_),
        metadata={name: tuple(row.metadata.get(name, "") for row in rows) for name in names},
    )
