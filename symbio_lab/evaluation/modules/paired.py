"""Metrics of answers before and after a patch, on the same samples.

Every module takes ``predictions`` (after), ``references`` (gold) and ``before`` (the base's answers), lists of N texts,
and returns the figure with its bounds and its n: ``<name>``, ``<name>_low``, ``<name>_high`` and ``<name>_n``. Figures
are those of ``symbio_lab.evaluation.metrics``, which these modules call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import evaluate

from symbio_lab.errors import DataError
from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.evaluation.metrics import (
    delta_accuracy,
    fix_rate,
    locality,
    negative_flip_rate,
    net_gain_pp,
    positive_flip_rate,
)
from symbio_lab.evaluation.metrics.net_gain import SLICE_SHARE
from symbio_lab.records import Interval

_TEXT = datasets.Value("string")
PAIRED = {"predictions": _TEXT, "references": _TEXT, "before": _TEXT}


def paired_outcomes(predictions: Sequence[str], references: Sequence[str], before: Sequence[str]) -> Outcomes:
    """Return answers as paired outcomes; an answer is right when it equals its reference."""
    return Outcomes(
        before=tuple(before),
        after=tuple(predictions),
        right_before=tuple(b == r for b, r in zip(before, references, strict=True)),
        right_after=tuple(p == r for p, r in zip(predictions, references, strict=True)),
    )


def as_columns(name: str, figure: Interval) -> dict[str, Any]:
    """Return a figure with its bounds and its n; None where it is not defined."""
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high, f"{name}_n": figure.n}


class PairedMetric(evaluate.Metric, ABC):
    """A metric of paired answers; subclasses name it and the function that it calls."""

    metric: ClassVar[str]
    description: ClassVar[str]
    source: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.source,
            inputs_description="predictions (after), references, before: lists of strings, (N,) each; alpha in (0, 1)",
            features=datasets.Features(PAIRED),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        before: Sequence[str],
        alpha: float = 0.05,
    ) -> dict[str, Any]:
        outcomes = paired_outcomes(predictions, references, before)
        return as_columns(self.metric, self._figure(outcomes, alpha))

    @abstractmethod
    def _figure(self, outcomes: Outcomes, alpha: float) -> Interval:
        """Return the figure of paired outcomes with its interval at level 1 - ``alpha``."""


class FixRate(PairedMetric):
    """Share of the base's failures that are answered rightly after."""

    metric = "fix_rate"
    description = "Share of wrong answers that are right after, with its Clopper-Pearson interval."
    source = "De Cao et al. 2021, Editing factual knowledge in language models, section 3"

    def _figure(self, outcomes: Outcomes, alpha: float) -> Interval:
        return fix_rate(outcomes, alpha)


class NegativeFlipRate(PairedMetric):
    """Share of the base's right answers that are wrong after."""

    metric = "negative_flip_rate"
    description = "Share of right answers that are wrong after, with its Clopper-Pearson interval."
    source = "Yan et al. 2021, Positive-congruent training, section 3"

    def _figure(self, outcomes: Outcomes, alpha: float) -> Interval:
        return negative_flip_rate(outcomes, alpha)


class PositiveFlipRate(PairedMetric):
    """Share of the base's wrong answers that are right after."""

    metric = "positive_flip_rate"
    description = "Share of wrong answers that are right after, with its Clopper-Pearson interval."
    source = "Yan et al. 2021, Positive-congruent training, section 3"

    def _figure(self, outcomes: Outcomes, alpha: float) -> Interval:
        return positive_flip_rate(outcomes, alpha)


class DeltaAccuracy(PairedMetric):
    """Accuracy after minus accuracy before."""

    metric = "delta_accuracy"
    description = "Accuracy after minus accuracy before, with Newcombe's paired interval."
    source = "Newcombe 1998, Improved confidence intervals for the difference between binomial proportions, method 10"

    def _figure(self, outcomes: Outcomes, alpha: float) -> Interval:
        return delta_accuracy(outcomes, alpha)


class Locality(PairedMetric):
    """Share of answers that are the same before and after."""

    metric = "locality"
    description = "Share of answers that did not change, for inputs outside the edit's scope."
    source = "Mitchell et al. 2022, Fast model editing at scale, section 2"

    def _figure(self, outcomes: Outcomes, alpha: float) -> Interval:
        return locality(outcomes, alpha)


class NetGain(evaluate.Metric):
    """Accuracy gained over traffic in which the failing slice has a given share, in percentage points."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Percentage points of right answers gained where slice_share of the traffic is the slice.",
            citation="Zou and Donner 2008, Construction of confidence limits about effect measures (MOVER)",
            inputs_description="predictions (after), references, before: lists of strings; in_slice: whether a sample "
            "is of the failing slice, (N,) each; slice_share in [0, 1]; alpha in (0, 1)",
            features=datasets.Features({**PAIRED, "in_slice": datasets.Value("bool")}),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        before: Sequence[str],
        in_slice: Sequence[bool],
        slice_share: float = SLICE_SHARE,
        alpha: float = 0.05,
    ) -> dict[str, Any]:
        if not any(in_slice) or all(in_slice):
            raise DataError(
                "net gain needs samples inside and outside the failing slice", hint="mark the slice with in_slice"
            )
        parts = []
        for wanted in (True, False):
            chosen = [i for i, inside in enumerate(in_slice) if bool(inside) is wanted]
            columns = ([values[i] for i in chosen] for values in (predictions, references, before))
            parts.append(paired_outcomes(*columns))
        return as_columns("net_gain_pp", net_gain_pp(parts[0], parts[1], slice_share, alpha))
