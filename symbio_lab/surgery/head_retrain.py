"""Last-layer retraining on frozen features.

With new labels, only the new rows are fitted (the base's rows are immutable): class-balanced multinomial logistic
regression over all rows, pulled towards the prototypes. With known labels, the whole head is refitted and returned
as a low-rank delta of the head (rank at most the number of labels), so that a patch still carries a delta only.

References:
    Kirichenko et al. 2023, Last layer re-training is sufficient for robustness to spurious correlations (DFR),
    section 5. Differs from the paper: L2 towards the base's or prototype rows instead of L1, class-balanced
    weights instead of group-balanced subsets; the base's bias stays where only a delta is returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from symbio_lab.budget import CostMeter
from symbio_lab.errors import EmptySliceError
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.operated import HeadRows, Operated
from symbio_lab.models.protocol import PatchableModel, count_tokens
from symbio_lab.records import LabelShift, Sample, TaskType
from symbio_lab.surgery.protocol import label_index, new_labels
from symbio_lab.surgery.prototype_rows import prototype_head

PULL = 1e-4
"""L2 pull towards the start, per squared weight."""
MAX_STEPS = 60
"""L-BFGS iterations."""


def balanced_weights(gold: Sequence[str]) -> torch.Tensor:
    """Return sample weights that give every label present the same total weight, mean 1, (N,).

    >>> balanced_weights(["a", "a", "b"]).tolist()
    [0.75, 0.75, 1.5]
    """
    count = Counter(gold)
    return torch.tensor([len(gold) / (len(count) * count[g]) for g in gold])


def fit_rows(
    features: torch.Tensor,
    fixed_logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    start_weight: torch.Tensor,
    start_bias: torch.Tensor,
    *,
    fit_bias: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit rows by weighted cross-entropy next to fixed logits, with an L2 pull to the start.

    Args:
        features: (N, D).
        fixed_logits: logits of rows that must not change, (N, C); C may be 0.
        target: index over fixed then fitted rows, (N,).
        weights: sample weights, (N,).
        start_weight: (R, D).
        start_bias: (R,).
        fit_bias: False keeps the bias as it is.

    Returns:
        Fitted weight (R, D) and bias (R,).
    """
    weight = start_weight.clone().requires_grad_()
    bias = start_bias.clone().requires_grad_(fit_bias)
    optimizer = torch.optim.LBFGS(
        [weight, bias] if fit_bias else [weight], max_iter=MAX_STEPS, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.cat([fixed_logits, features @ weight.T + bias], dim=1)
        loss = (torch.nn.functional.cross_entropy(logits, target, reduction="none") * weights).mean()
        loss = loss + PULL * ((weight - start_weight) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


class HeadRetrain:
    """Surgery ``head_retrain``."""

    name = "head_retrain"
    reference = "Kirichenko et al. 2023 (DFR), section 5"
    task_types: tuple[TaskType, ...] = ("text_classification",)
    label_shifts: tuple[LabelShift, ...] = ("known", "new")

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
        """Return new rows (new labels) or a low-rank delta of the head (known labels); ``seed`` has no effect.

        Raises:
            EmptySliceError: no repair or no replay sample.
            UnknownLabelsError: replay carries a label that neither the model nor ``repair`` has.
            BudgetExceededError: the forwards do not fit.
        """
        if not repair or not replay or not isinstance(model, TextClassifier):
            raise EmptySliceError("head_retrain needs a classifier, repair samples and replay samples")
        added = new_labels(model, repair)
        index = label_index(model, added, (*repair, *replay))
        texts = [s.text for s in (*repair, *replay)]
        meter.charge_forwards(len(texts), num_tokens=count_tokens(model, texts))
        features, _, _ = model.logits([s.text for s in repair])
        replay_features, replay_logits, _ = model.logits([s.text for s in replay])
        every = torch.cat([features, replay_features])
        gold = [s.expected for s in (*repair, *replay)]
        target = torch.tensor([index[g] for g in gold])
        weights = balanced_weights(gold)
        head, base = model.head.weight.float().cpu(), model.head.bias
        head_bias = base.float().cpu() if base is not None else torch.zeros(len(head))
        if added:
            start = prototype_head(model, added, features, [s.expected for s in repair], replay_features, replay_logits)
            fixed = every @ head.T + head_bias
            weight, bias = fit_rows(
                every, fixed, target, weights, torch.from_numpy(start.weight), torch.from_numpy(start.bias)
            )
            return Operated(self.name, rows=HeadRows(added, weight.numpy(), bias.numpy()))
        # A delta carries no bias, so the base's bias must be in place while the weight is fitted.
        weight, _ = fit_rows(every, every[:, :0], target, weights, head, head_bias, fit_bias=False)
        return self._as_delta(model.head_name, (weight - head).numpy())

    def _as_delta(self, head_name: str, change: np.ndarray) -> Operated:
        left, scale, right = np.linalg.svd(change.astype(np.float64), full_matrices=False)
        rank = max(int((scale > 1e-6 * max(scale[0], 1e-12)).sum()), 1)
        root = np.sqrt(scale[:rank])
        a = np.ascontiguousarray(right[:rank] * root[:, None], dtype=np.float32)
        b = np.ascontiguousarray(left[:, :rank] * root, dtype=np.float32)
        return Operated(self.name, deltas={head_name: (a, b)}, rank=rank, alpha=float(rank))
