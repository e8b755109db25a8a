"""Expected calibration error as a module: how far confidences are from the share of right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from symbio_lab.evaluation.metrics import expected_calibration_error


class ExpectedCalibrationError(evaluate.Metric):
    """Mean distance of confidence and accuracy over bins of equal width, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Mean distance of confidence and accuracy over 15 bins of equal width.",
            citation="Guo et al. 2017, On calibration of modern neural networks, section 2",
            inputs_description="predictions and references: lists of strings; confidences in [0, 1], (N,) each",
            features=datasets.Features(
                {"predictions": text, "references": text, "confidences": datasets.Value("float64")}
            ),
        )

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], confidences: Sequence[float]
    ) -> dict[str, Any]:
        right = [p == r for p, r in zip(predictions, references, strict=True)]
        return {"expected_calibration_error": expected_calibration_error(list(confidences), right)}
