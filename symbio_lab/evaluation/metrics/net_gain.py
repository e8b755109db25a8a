"""The primary metric: accuracy gained over traffic in which the slice has share pi.

    net_gain_pp = 100 * [pi * delta_accuracy(slice_holdout) + (1 - pi) * delta_accuracy(control_holdout)]

References:
    Interval: Zou and Donner 2008, Construction of confidence limits about effect measures (MOVER), over Newcombe's
    1998 paired intervals.
"""

from __future__ import annotations

from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.evaluation.metrics.accuracy import delta_accuracy
from symbio_lab.records import Interval
from symbio_lab.stats.paired import weighted_sum

SLICE_SHARE = 0.10
"""pi: share of the slice in traffic; sensitivity at 0.01 and 0.30."""


def net_gain_pp(
    on_slice: Outcomes, on_control: Outcomes, slice_share: float = SLICE_SHARE, alpha: float = 0.05
) -> Interval:
    """Return the net gain in percentage points, in [-100, 100], with its interval."""
    parts = [delta_accuracy(on_slice, alpha), delta_accuracy(on_control, alpha)]
    return weighted_sum(parts, [100 * slice_share, 100 * (1 - slice_share)])
