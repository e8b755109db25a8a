"""Nearest-class-mean head rows on frozen features: no training at all.

A new label's row points from the centre of the replay features to the mean of its repair features, with the mean
length of the base's rows. One common bias is set so that the new rows win on at most ``flip_target`` of the replay
samples: the damage is chosen, the gain follows.

References:
    Mensink et al. 2013, Distance-based image classification, section 3.2 (nearest class mean); Qi et al. 2018,
    Low-shot learning with imprinted weights, section 3.
    Differs from the papers: rows are centred on replay features and share one bias calibrated on replay.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from symbio_lab.budget import CostMeter
from symbio_lab.errors import EmptySliceError
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.operated import HeadRows, Operated
from symbio_lab.models.protocol import PatchableModel, count_tokens
from symbio_lab.records import LabelShift, Sample, TaskType
from symbio_lab.surgery.protocol import new_labels

FLIP_TARGET = 0.005
"""Share of replay samples that the new rows may win."""


def calibrated_bias(base_logits: torch.Tensor, row_logits: torch.Tensor, flip_target: float = FLIP_TARGET) -> float:
    """Return the largest common bias at which the rows win on at most ``flip_target`` of the replay samples.

    Args:
        base_logits: the base's logits on replay, (N, C).
        row_logits: the new rows' logits without bias, (N, R).
        flip_target: share in [0, 1).
    """
    margin = row_logits.max(dim=1).values - base_logits.max(dim=1).values
    return -float(torch.quantile(margin, 1.0 - flip_target))


def prototype_head(
    model: TextClassifier,
    labels: Sequence[str],
    features: torch.Tensor,
    gold: Sequence[str],
    replay_features: torch.Tensor,
    replay_logits: torch.Tensor,
) -> HeadRows:
    """Return prototype rows for ``labels``.

    Args:
        model: supplies the base's rows.
        labels: new labels, each with at least one sample, (R,).
        features: repair features, (N, D).
        gold: their labels, (N,).
        replay_features: (M, D).
        replay_logits: the base's logits on replay, (M, C).
    """
    centre = replay_features.mean(0)
    rows = model.head.weight.float().cpu()
    length = (rows - rows.mean(0)).norm(dim=1).mean()
    means = torch.stack([features[[i for i, g in enumerate(gold) if g == label]].mean(0) for label in labels])
    weight = torch.nn.functional.normalize(means - centre, dim=1) * length / features.norm(dim=1).mean()
    bias = calibrated_bias(replay_logits, replay_features @ weight.T)
    return HeadRows(tuple(labels), weight.numpy(), torch.full((len(labels),), bias).numpy())


class PrototypeRows:
    """Surgery ``prototype_rows``."""

    name = "prototype_rows"
    reference = "Mensink et al. 2013, section 3.2; Qi et al. 2018, section 3"
    task_types: tuple[TaskType, ...] = ("text_classification",)
    label_shifts: tuple[LabelShift, ...] = ("new",)

    def estimate_forwards(self, model: PatchableModel, num_repair: int, num_replay: int) -> float:
        """Return one forward for each repair and replay sample."""
        return float(num_repair + num_replay)

    def operate(
        self,
        model: PatchableModel,
        repair: Sequence[Sample],
        replay: Sequence[Sample],
        *,
        seed: int,
        meter: CostMeter,
    ) -> Operated:
        """Return new head rows; ``seed`` has no effect (the method is closed-form).

        Raises:
            EmptySliceError: no repair sample with a new label, or no replay sample.
            BudgetExceededError: the forwards do not fit.
        """
        labels = new_labels(model, repair)
        if not labels or not replay:
            raise EmptySliceError("prototype_rows needs repair samples with new labels, and replay samples")
        if not isinstance(model, TextClassifier):
            raise EmptySliceError("prototype_rows needs a classifier")
        texts = [s.text for s in (*repair, *replay)]
        meter.charge_forwards(len(texts), num_tokens=count_tokens(model, texts))
        features, _, _ = model.logits([s.text for s in repair])
        replay_features, replay_logits, _ = model.logits([s.text for s in replay])
        rows = prototype_head(model, labels, features, [s.expected for s in repair], replay_features, replay_logits)
        return Operated(self.name, rows=rows)
