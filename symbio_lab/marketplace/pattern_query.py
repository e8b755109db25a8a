"""A failure pattern becomes a query: words, labels, and where it fits the pattern's own centroid as the meaning.

Rules:
    1. The words are what the pattern says it should be searched with (``search_text``, else its description) and a few
       exemplars, joined as the healers' own query joins them.
    2. The centroid is the query's vector only when its embedder is the catalogue's: named alike, of equal dimensions.
       A centroid of another embedder has cosines too, and they mean nothing.
    3. A query stays on this machine. Its exemplars are texts of failures: whoever sends it to a market elsewhere asks
       for ``max_exemplars=0``.

Example:
    >>> from symbio_lab.records import FailurePattern
    >>> pattern = FailurePattern("domain = travel", ("id",), ("book_flight",), ("fly me to rome",), 12)
    >>> build_pattern_query(pattern, task_type="text_classification").query.text
    'domain = travel | fly me to rome'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError
from symbio_lab.records import FailurePattern, SearchQuery, TaskType

MAX_EXEMPLARS = 8


@dataclass(frozen=True, slots=True)
class PatternQuery:
    """A query and, where there is one, its vector."""

    query: SearchQuery
    vector: NDArray[np.float64] | None = None
    """Unit vector to search with, (D,); None lets the catalogue embed the words."""


def build_pattern_query(
    pattern: FailurePattern,
    *,
    task_type: TaskType,
    base_digest: str | None = None,
    domain: str = "",
    centroid_embedder: str = "",
    embedder: str = "",
    num_dims: int | None = None,
    max_exemplars: int = MAX_EXEMPLARS,
    max_results: int = 20,
    min_score: float = 0.0,
    licences: Sequence[str] = (),
    max_bytes: int | None = None,
) -> PatternQuery:
    """Return what to search a catalogue with to heal ``pattern``.

    Args:
        pattern: the failures.
        task_type: of the failing model.
        base_digest: digest of the failing model; None searches for any base.
        domain: name of the failing slice, where it has one.
        centroid_embedder: name of the embedder that made the pattern's centroid; empty where nobody knows.
        embedder: name of the embedder whose vectors the catalogue holds.
        num_dims: numbers of each of these vectors; None does not compare.
        max_exemplars: texts of failures to search with.
        max_results: candidates wanted.
        min_score: lowest score, in [0, 1].
        licences: allowed SPDX ids; empty allows all.
        max_bytes: largest patch, in bytes.

    Raises:
        DataError: the centroid is not finite.
    """
    words = [pattern.search_text or pattern.description, *pattern.exemplars[: max(0, max_exemplars)]]
    query = SearchQuery(
        task_type=task_type,
        text=" | ".join(word for word in words if word.strip()),
        base_digest=base_digest,
        labels=pattern.labels if task_type == "text_classification" else (),
        domain=domain,
        max_results=max_results,
        min_score=min_score,
        licences=tuple(licences),
        max_bytes=max_bytes,
    )
    if not pattern.centroid or not embedder or centroid_embedder != embedder:
        return PatternQuery(query)
    if num_dims not in (None, len(pattern.centroid)):
        return PatternQuery(query)
    vector = np.asarray(pattern.centroid, dtype=np.float64)
    if not np.isfinite(vector).all():
        raise DataError("the pattern's centroid holds numbers that are not finite", hint="find the pattern again")
    norm = float(np.linalg.norm(vector))
    # Members that cancel out have no direction to search in.
    return PatternQuery(query, vector / norm) if norm > 0 else PatternQuery(query)
