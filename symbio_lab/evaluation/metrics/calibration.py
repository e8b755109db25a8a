"""Expected calibration error, after the patch or before it.

References:
    Guo et al. 2017, On calibration of modern neural networks, section 2 (equal-width bins).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NUM_BINS = 15


def expected_calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float | None:
    """Return the expected calibration error in [0, 1]; None without samples.

    >>> expected_calibration_error([1.0, 1.0], [True, False])
    0.5
    """
    if not confidence:
        return None
    scores, hits = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    bins = np.clip(np.ceil(scores * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    gaps = [abs(hits[bins == b].sum() - scores[bins == b].sum()) for b in range(NUM_BINS)]
    return float(sum(gaps) / len(scores))
