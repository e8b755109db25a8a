"""Stored predictions as columns: a bounded window of them, for detectors and pattern finders.

Rules:
    1. What is loaded is bounded: the newest rows, or a sample drawn with equal chance over all of them.
    2. Rows stand in order of arrival.
"""

from __future__ import annotations

from symbio_lab.errors import ConfigError
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.seeding import numpy_generator
from symbio_lab.store.prediction_reading import PredictionReader, StoredPrediction

WINDOW_ROWS = 50_000


def recent_traffic(
    reader: PredictionReader, *, num_rows: int = WINDOW_ROWS, labelled: bool | None = None
) -> tuple[Traffic, int]:
    """Return the newest rows and the cursor after them.

    Args:
        reader: one tenant's model.
        num_rows: rows to look at, from the newest arrival.
        labelled: of these, only rows with (True) or without (False) ground truth.

    Returns:
        The traffic, and the ``seq`` of the newest row seen (0 without rows): later rows come ``after`` it.

    Raises:
        ConfigError: ``num_rows`` is below 1.
        StorageError: the store cannot be read.
    """
    _check(num_rows)
    rows = list(reader.rows(after=reader.cursor_before_last(num_rows), labelled=labelled))
    return traffic_of(row.record for row in rows), rows[-1].seq if rows else 0


def sampled_traffic(
    reader: PredictionReader, *, seed: int, num_rows: int = WINDOW_ROWS, labelled: bool | None = None
) -> Traffic:
    """Return rows drawn with equal chance over everything stored, in order of arrival.

    Args:
        reader: one tenant's model.
        seed: draws the rows.
        num_rows: rows to keep.
        labelled: only rows with (True) or without (False) ground truth.

    Raises:
        ConfigError: ``num_rows`` is below 1.
        StorageError: the store cannot be read.

    References:
        Vitter (1985), "Random sampling with a reservoir", algorithm R. Differs from the paper: nothing.
    """
    _check(num_rows)
    rng = numpy_generator(seed, "traffic", reader.tenant, reader.model_id)
    kept: list[StoredPrediction] = []
    for count, row in enumerate(reader.rows(labelled=labelled), start=1):
        if len(kept) < num_rows:
            kept.append(row)
        elif (place := int(rng.integers(count))) < num_rows:
            kept[place] = row
    return traffic_of(row.record for row in sorted(kept, key=lambda row: row.seq))


def _check(num_rows: int) -> None:
    if num_rows < 1:
        raise ConfigError([f"num_rows must be at least 1, not {num_rows}"])
