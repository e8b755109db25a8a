"""Per-sample outcomes before and after a patch: the raw material of every metric.

Flow: trust/verifying.py -> evaluation/evaluate.py -> deployment/deploy.py
Next: symbio_lab/deployment/deploy.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symbio_lab.budget import CostMeter
from symbio_lab.models.protocol import PatchableModel, Predictions, count_tokens
from symbio_lab.records import Patch, Sample


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Paired outcomes on one split, (N,) each."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    right_before: tuple[bool, ...]
    right_after: tuple[bool, ...]
    confidence_before: tuple[float, ...] = ()
    confidence_after: tuple[float, ...] = ()

    def __len__(self) -> int:
        """Return N."""
        return len(self.before)

    def counts(self) -> tuple[int, int, int, int]:
        """Return (right-right, right-wrong, wrong-right, wrong-wrong)."""
        pairs = list(zip(self.right_before, self.right_after, strict=True))
        return (
            sum(b and a for b, a in pairs),
            sum(b and not a for b, a in pairs),
            sum(not b and a for b, a in pairs),
            sum(not b and not a for b, a in pairs),
        )


class BasePredictions:
    """The base's answers, computed once for each split and charged once to the run that asks."""

    def __init__(self, model: PatchableModel) -> None:
        """Start empty."""
        self._model = model
        self._known: dict[tuple[str, ...], Predictions] = {}

    def on(self, texts: Sequence[str], meter: CostMeter | None = None) -> Predictions:
        """Return the base's predictions for ``texts``."""
        key = tuple(texts)
        if meter is not None and key not in self._known:
            meter.charge_forwards(len(key), num_tokens=count_tokens(self._model, key))
        if key not in self._known:
            self._known[key] = self._model.predict(key)
        return self._known[key]


def run_outcomes(
    model: PatchableModel,
    patch: Patch | None,
    samples: Sequence[Sample],
    base: BasePredictions,
    meter: CostMeter | None = None,
) -> Outcomes:
    """Return the outcomes of ``patch`` on ``samples`` beside the base's.

    Args:
        model: the base model.
        patch: a verified patch; None gives the base twice.
        samples: the split, N samples.
        base: cache of the base's answers.
        meter: charged one forward a sample for the patch, and for the base where not yet known; None is free
            (the judge's work is not the healer's cost).

    Raises:
        BudgetExceededError: the forwards do not fit.
    """
    texts = [s.text for s in samples]
    before = base.on(texts, meter)
    after = before
    if patch is not None and texts:
        if meter is not None:
            meter.charge_forwards(len(texts), num_tokens=count_tokens(model, texts))
        with model.applied(patch):
            after = model.predict(texts)
    return pair_outcomes(model, samples, before, after)


def pair_outcomes(
    model: PatchableModel, samples: Sequence[Sample], before: Predictions, after: Predictions
) -> Outcomes:
    """Return answers before and after on the same N samples as paired outcomes."""
    return Outcomes(
        before=before.outputs,
        after=after.outputs,
        right_before=tuple(model.is_correct(o, s.expected) for o, s in zip(before.outputs, samples, strict=True)),
        right_after=tuple(model.is_correct(o, s.expected) for o, s in zip(after.outputs, samples, strict=True)),
        confidence_before=before.confidences,
        confidence_after=after.confidences,
    )
