"""What a surgery method takes and returns.

Rules:
    1. A method reads ``repair`` and ``replay`` only; selection, control and holdout never reach it.
    2. It never writes to the base model: it trains a copy, or solves for new head rows on frozen features.
    3. It charges its forwards-equivalent before the work; a charge beyond the budget raises and nothing is done.
    4. Same model, samples and seed: same tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from symbio_lab.budget import CostMeter
from symbio_lab.errors import UnknownLabelsError
from symbio_lab.models.operated import Operated
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import LabelShift, Sample, TaskType


class SurgeryMethod(Protocol):
    """One way to operate."""

    name: str
    reference: str
    task_types: tuple[TaskType, ...]
    label_shifts: tuple[LabelShift, ...]

    def estimate_forwards(self, model: PatchableModel, num_repair: int, num_replay: int) -> float:
        """Return the forwards-equivalent that ``operate`` will charge."""

    def operate(
        self,
        model: PatchableModel,
        repair: Sequence[Sample],
        replay: Sequence[Sample],
        *,
        seed: int,
        meter: CostMeter,
    ) -> Operated:
        """Return the tensors of a patch.

        Raises:
            EmptySliceError: no repair samples, or no replay samples where the method needs them.
            BudgetExceededError: the work does not fit; nothing was done.
        """


def label_index(model: PatchableModel, added: Sequence[str], samples: Sequence[Sample]) -> dict[str, int]:
    """Return label -> row number, the base's rows first.

    Raises:
        UnknownLabelsError: a sample carries a label that is neither the model's nor one of ``added``.
    """
    index = {name: i for i, name in enumerate((*model.labels, *added))}
    unknown = {s.expected for s in samples} - set(index)
    if unknown:
        raise UnknownLabelsError(sorted(unknown))
    return index


def new_labels(model: PatchableModel, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the gold labels that the model has no row for, sorted."""
    return tuple(sorted({s.expected for s in samples} - set(model.labels)))
