"""Exact match and slot accuracy of generated answers as ``evaluate`` metrics that need no network.

Example:
    >>> exact_match(["I_WALK I_RUN", "I_RUN"], ["I_WALK  I_RUN", "I_WALK"])
    0.5
    >>> slot_accuracy(["it goes to [to]", "at [time]"], ["to [to]", "at [time] from [from]"])
    0.5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from symbio_lab.models.generator import slots_of

_FEATURES = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})


class ExactMatch(evaluate.Metric):
    """Share of answers equal to the reference up to white space, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of answers that equal the reference up to white space.",
            citation="Lake and Baroni 2018, Generalization without Systematicity, ICML, section 2",
            inputs_description="predictions and references: lists of strings, (N,) each",
            features=_FEATURES,
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str], **_: Any) -> dict[str, float]:
        right = [p.split() == r.split() for p, r in zip(predictions, references, strict=True)]
        return {"exact_match": sum(right) / len(right)}


class SlotAccuracy(evaluate.Metric):
    """Share of delexicalised replies without a slot error, in [0, 1]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of replies that mention each slot as often as the reference does.",
            citation="Wen et al. 2015, Semantically Conditioned LSTM-based Natural Language Generation, section 4.1",
            inputs_description="predictions and references: lists of strings with [slot] marks, (N,) each",
            features=_FEATURES,
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str], **_: Any) -> dict[str, float]:
        right = [slots_of(p) == slots_of(r) for p, r in zip(predictions, references, strict=True)]
        return {"slot_accuracy": sum(right) / len(right)}


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> float | None:
    """Return the exact match of N answers; None for N = 0."""
    return _run(ExactMatch, "exact_match", predictions, references)


def slot_accuracy(predictions: Sequence[str], references: Sequence[str]) -> float | None:
    """Return the slot accuracy of N replies; None for N = 0."""
    return _run(SlotAccuracy, "slot_accuracy", predictions, references)


def _run(kind: type[evaluate.Metric], name: str, predictions: Sequence[str], references: Sequence[str]) -> float | None:
    if not predictions:
        return None
    return float(kind(keep_in_memory=True).compute(predictions=list(predictions), references=list(references))[name])
