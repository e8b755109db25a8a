"""The modules by name."""

from __future__ import annotations

import evaluate

from symbio_lab.errors import ConfigError
from symbio_lab.evaluation.metrics.answers import ExactMatch, SlotAccuracy
from symbio_lab.evaluation.modules.calibration import ExpectedCalibrationError
from symbio_lab.evaluation.modules.paired import (
    DeltaAccuracy,
    FixRate,
    Locality,
    NegativeFlipRate,
    NetGain,
    PositiveFlipRate,
)

METRICS: dict[str, type[evaluate.Metric]] = {
    "fix_rate": FixRate,
    "negative_flip_rate": NegativeFlipRate,
    "positive_flip_rate": PositiveFlipRate,
    "delta_accuracy": DeltaAccuracy,
    "locality": Locality,
    "net_gain_pp": NetGain,
    "expected_calibration_error": ExpectedCalibrationError,
    "exact_match": ExactMatch,
    "slot_accuracy": SlotAccuracy,
}
METRIC_NAMES = tuple(METRICS)


def load_metric(name: str) -> evaluate.Metric:
    """Return a metric of the lab as a module of ``evaluate``; nothing is fetched and nothing written.

    Args:
        name: one of ``METRIC_NAMES``.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in METRICS:
        raise ConfigError([f"unknown metric {name!r}; use one of {', '.join(METRIC_NAMES)}"])
    return METRICS[name](keep_in_memory=True)
