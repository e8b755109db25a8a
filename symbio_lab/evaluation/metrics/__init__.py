"""One metric, one file; each returns an ``Interval`` with its n."""

from symbio_lab.evaluation.metrics.accuracy import accuracy_after, accuracy_before, delta_accuracy
from symbio_lab.evaluation.metrics.calibration import expected_calibration_error
from symbio_lab.evaluation.metrics.fix_rate import fix_rate
from symbio_lab.evaluation.metrics.flips import negative_flip_rate, positive_flip_rate
from symbio_lab.evaluation.metrics.locality import locality
from symbio_lab.evaluation.metrics.net_gain import net_gain_pp

__all__ = [
    "accuracy_after",
    "accuracy_before",
    "delta_accuracy",
    "expected_calibration_error",
    "fix_rate",
    "locality",
    "negative_flip_rate",
    "net_gain_pp",
    "positive_flip_rate",
]
