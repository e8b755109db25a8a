"""One row of figures, as statistics over sweeps take them.

Example:
    >>> checked_values([0.5, 1.0])
    array([0.5, 1. ])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError

# One row of figures, shape (n,).
Figures = Sequence[float] | NDArray[np.float64]


def checked_values(values: Figures) -> NDArray[np.float64]:
    """Return finite figures as an array of shape (n,), n >= 1.

    Raises:
        DataError: nothing is given, a figure is not finite, or they do not form one row.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"figures of shape {array.shape}", hint="give one row of at least one figure")
    if not np.isfinite(array).all():
        raise DataError("a figure is not finite", hint="leave out runs without a figure, and say how many")
    return array
