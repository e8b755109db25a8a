"""Surgery ``mean_rows``: a head row for each new label, the scaled mean of its samples' features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symbio_lab.budget import CostMeter
from symbio_lab.errors import EmptySliceError
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.operated import HeadRows, Operated
from symbio_lab.models.protocol import PatchableModel, count_tokens
from symbio_lab.records import Sample
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.surgery.protocol import new_labels

SCALE = 8.0


class MeanRows:
    """Rows from means, without a bias."""

    name = "mean_rows"
    reference = "nearest class mean, as an example"
    task_types = ("text_classification",)
    label_shifts = ("new",)

    def estimate_forwards(self, model: PatchableModel, num_repair: int, num_replay: int) -> float:
        """Return one forward for each repair sample."""
        return float(num_repair)

    def operate(
        self,
        model: PatchableModel,
        repair: Sequence[Sample],
        replay: Sequence[Sample],
        *,
        seed: int,
        meter: CostMeter,
    ) -> Operated:
        """Return the rows; neither replay nor the seed has an effect."""
        if not repair or not isinstance(model, TextClassifier):
            raise EmptySliceError("mean_rows needs a classifier and repair samples")
        texts = [s.text for s in repair]
        meter.charge_forwards(len(texts), num_tokens=count_tokens(model, texts))
        features, _, _ = model.logits(texts)
        labels = new_labels(model, repair)
        gold = np.array([s.expected for s in repair])
        weight = np.stack([features.numpy()[gold == label].mean(axis=0) for label in labels]) * SCALE
        return Operated(self.name, rows=HeadRows(labels, weight.astype(np.float32), np.zeros(len(labels), np.float32)))


def mean_rows(settings: LoraSettings | None = None) -> MeanRows:
    """Return the method; it has no settings."""
    return MeanRows()
