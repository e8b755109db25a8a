"""What the failure explorer runs in a process of its own: embeddings, a plane of them, and the patterns.

A study is a folder: ``traffic.json`` is what is studied, ``embeddings.npy`` its unit vectors, kept for the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.codec import read_json, write_atomic, write_json
from symbio_lab.errors import DataError
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.records import Interval, content_id

CHUNK = 512
"""Texts embedded between two looks at whether to stop."""


@dataclass(frozen=True, slots=True)
class Found:
    """One pattern, by rows of the traffic."""

    description: str
    rows: tuple[int, ...]
    """All rows inside, failures first."""
    num_failures: int
    inside: Interval
    outside: Interval
    p_value: float
    confirmed: bool
    symptom: bool
    """Whether it says how the model failed, not what it was asked."""


def study_folder(root: Path, traffic: Traffic) -> Path:
    """Return the folder of a study of this traffic below ``root``, with the traffic in it.

    Raises:
        StorageError: it cannot be written.
    """
    rows = {
        "ids": list(traffic.ids),
        "texts": list(traffic.texts),
        "actual": list(traffic.actual),
        "expected": list(traffic.expected),
        "domains": list(traffic.domains),
        "metadata": {name: list(column) for name, column in traffic.metadata.items()},
        "confidence": [None if np.isnan(c) else float(c) for c in traffic.confidence],
        "failed": traffic.failed.tolist(),
        "labelled": traffic.labelled.tolist(),
    }
    folder = root / content_id(rows)[:20]
    if not (folder / "traffic.json").is_file():
        write_json(folder / "traffic.json", rows)
    return folder


def read_traffic(folder: Path) -> Traffic:
    """Return the traffic of a study.

    Raises:
        NotFoundError: there is none.
        DataError: the file is damaged.
    """
    rows = read_json(folder / "traffic.json")
    return Traffic(
        ids=tuple(rows["ids"]),
        texts=tuple(rows["texts"]),
        actual=tuple(rows["actual"]),
        expected=tuple(rows["expected"]),
        domains=tuple(rows["domains"]),
        confidence=np.array([np.nan if c is None else c for c in rows["confidence"]], dtype=np.float64),
        failed=np.array(rows["failed"], dtype=np.bool_),
        labelled=np.array(rows["labelled"], dtype=np.bool_),
        metadata={name: tuple(column) for name, column in rows["metadata"].items()},
    )


def embeddings_of(folder: Path, num_rows: int) -> NDArray[np.float32] | None:
    """Return the kept unit vectors of a study, (N, D), or None if there are none yet.

    Raises:
        DataError: the file is damaged, or of another number of rows.
    """
    path = folder / "embeddings.npy"
    if not path.is_file():
        return None
    try:
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read: {error}", hint="delete it; it is computed again") from error
    if kept.ndim != 2 or len(kept) != num_rows:
        raise DataError(f"{path.name} has shape {kept.shape}, not {num_rows} rows", hint="delete it")
    return kept


def plane_of(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return positions in the plane that shows most of the spread, (N, 2): principal components, signs fixed.

    References:
        Jolliffe 2002, Principal Component Analysis, chapter 2.
    """
    centred = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0)
    # The covariance is D x D: cheaper than a decomposition of N rows.
    _, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, [-1, -2]] if axes.shape[1] > 1 else np.pad(axes, ((0, 0), (0, 1)))
    two = two * np.where(two[np.abs(two).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    positions: NDArray[np.float64] = centred @ two
    return positions


def study_traffic(folder: str, seed: int, *, listener: Listener, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Return plane and patterns of the traffic in ``folder``.

    Returns:
        ``plane``: (N, 2); ``patterns``: fields of ``Found``, the most significant first; ``notes``: what could not be
        looked for.

    Raises:
        HealingCancelledError: it was stopped; embeddings made so far are not kept.
        EmptySliceError: nothing failed, or no ground truth is known.
    """
    from symbio_lab.monitor.slices import SliceSettings, find_slices

    where = Path(folder)
    traffic = read_traffic(where)
    vectors = embeddings_of(where, len(traffic))
    if vectors is None:
        vectors = _embed(traffic.texts, listener, should_stop)
        kept = vectors
        write_atomic(where / "embeddings.npy", lambda path: _save(path, kept))
    labels = len(set(traffic.expected)) <= max(len(traffic) // 4, 2)
    search = find_slices(traffic, vectors, settings=SliceSettings(seed=seed, labels=labels))
    patterns = [
        {
            "description": one.description,
            "rows": list(one.members),
            "num_failures": one.support,
            "inside": _interval(one.inside),
            "outside": _interval(one.outside),
            "p_value": one.p_value,
            "confirmed": one.confirmed,
            "symptom": one.is_symptom,
        }
        for one in (*search.confirmed, *search.unconfirmed)
    ]
    return {"plane": plane_of(vectors).tolist(), "patterns": patterns, "notes": list(search.notes)}


def found_from(fields: dict[str, Any]) -> Found:
    """Return a pattern from JSON."""
    return Found(
        fields["description"],
        tuple(fields["rows"]),
        fields["num_failures"],
        Interval(**fields["inside"]),
        Interval(**fields["outside"]),
        fields["p_value"],
        fields["confirmed"],
        fields["symptom"],
    )


def _embed(texts: Sequence[str], listener: Listener, should_stop: Callable[[], bool]) -> NDArray[np.float32]:
    from symbio_lab.errors import HealingCancelledError
    from symbio_lab.models.embedding import SentenceEmbedder

    embed, parts = SentenceEmbedder(), []
    for first in range(0, len(texts), CHUNK):
        if should_stop():
            raise HealingCancelledError("stopped while texts were embedded")
        parts.append(embed(texts[first : first + CHUNK]))
        emit(listener, BuildProgress("the map", min(first + CHUNK, len(texts)), len(texts)))
    return np.concatenate(parts)


def _interval(figure: Interval) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n, "method": figure.method}


def _save(path: Path, vectors: NDArray[np.float32]) -> None:
    with path.open("wb") as handle:
        np.save(handle, vectors, allow_pickle=False)
