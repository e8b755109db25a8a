"""LoRA surgery: on the repair samples alone (``lora``) or mixed with replay (``lora_replay``).

References:
    Hu et al. 2022, LoRA, section 4. ``lora_replay``: Rolnick et al. 2019, Experience replay for continual
    learning, section 3. Differs from the papers: see ``lora_training``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbio_lab.budget import CostMeter
from symbio_lab.errors import EmptySliceError
from symbio_lab.models.operated import Operated
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import LabelShift, Sample, TaskType
from symbio_lab.surgery.lora_training import LoraSettings, train_lora, training_forwards


class Lora:
    """Surgery ``lora``: the repair samples alone; the naive baseline."""

    name = "lora"
    reference = "Hu et al. 2022, section 4"
    task_types: tuple[TaskType, ...] = ("text_classification", "text_generation")
    label_shifts: tuple[LabelShift, ...] = ("known", "new")
    uses_replay = False

    def __init__(self, settings: LoraSettings | None = None) -> None:
        """Keep the settings; nothing is loaded."""
        self.settings = settings or LoraSettings()
        if not self.uses_replay:
            self.settings = replace(self.settings, replay_ratio=0.0)

    def estimate_forwards(self, model: PatchableModel, num_repair: int, num_replay: int) -> float:
        """Return the forwards-equivalent of the training run."""
        return training_forwards(model, num_repair, num_replay if self.uses_replay else 0, self.settings)

    def operate(
        self,
        model: PatchableModel,
        repair: Sequence[Sample],
        replay: Sequence[Sample],
        *,
        seed: int,
        meter: CostMeter,
    ) -> Operated:
        """Return trained deltas, and new rows where labels are new.

        Raises:
            EmptySliceError: no repair samples, or no replay samples for ``lora_replay``.
            BudgetExceededError: the run does not fit.
            HealingTimeoutError: the wall limit was reached.
        """
        if self.uses_replay and not replay:
            raise EmptySliceError(f"{self.name} needs replay samples")
        used = replay if self.uses_replay else ()
        return train_lora(self.name, model, repair, used, self.settings, seed=seed, meter=meter)


class LoraReplay(Lora):
    """Surgery ``lora_replay``: repair and replay samples mixed in every epoch."""

    name = "lora_replay"
    reference = "Hu et al. 2022, section 4; Rolnick et al. 2019, section 3"
    uses_replay = True
