"""Strategy ``null_pool``: the market's patches with their knowledge taken out. A control.

Every candidate's delta is replaced by random numbers of the same standard deviation, module by module. With new
labels the head rows are refitted as prototypes on ``repair`` under that random delta (``null_refit``); with known
labels the bare random delta is used. What this arm gains, regularisation and the healer's own samples gain: transfer
starts above it.

References:
    arXiv 2602.12323, random LoRA control (``reinit_case all_experts``). Differs from the paper: head rows.
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.errors import BudgetExceededError, EmptySliceError
from symbio_lab.evaluation.screening import MAX_GUARD
from symbio_lab.healing.adopting import find_patches, fitting_patches
from symbio_lab.healing.best_single import adopt_best
from symbio_lab.healing.context import HealingContext, Proposal, seal_operated
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.operated import HeadRows, randomized, tensors_of
from symbio_lab.models.protocol import count_tokens
from symbio_lab.records import Attempt, Patch
from symbio_lab.seeding import derive_seed
from symbio_lab.surgery.protocol import new_labels
from symbio_lab.surgery.prototype_rows import prototype_head


class NullPool:
    """Best single patch of a pool of random patches."""

    name = "null_pool"
    family = "control"
    looks = 1
    reference = "arXiv 2602.12323, section 5 (random LoRAs)"

    def heal(self, context: HealingContext) -> Proposal:
        """Return the best null patch, gated once."""
        patches, attempts = find_patches(context)
        patches, refused = fitting_patches(context, patches)
        attempts += refused
        nulls: list[Patch] = []
        with context.meter.phase("null_refit"):
            for patch in patches:
                if not patch.manifest.adapter.target_modules:
                    continue
                try:
                    nulls.append(self._null_of(context, patch, len(nulls)))
                except (BudgetExceededError, EmptySliceError) as error:
                    skipped = Attempt("control", patch.patch_id, "skipped", error.code, str(error))
                    attempts.append(context.note(skipped))
        return adopt_best(context, nulls, attempts, looks=self.looks, route="control")

    def _null_of(self, context: HealingContext, patch: Patch, number: int) -> Patch:
        model, task = context.model, context.task
        donor = replace(tensors_of(patch), method=f"null-{number}", rows=None)
        operated = randomized(donor, derive_seed(context.seed, "null", patch.patch_id))
        labels = new_labels(model, task.repair) if task.label_shift == "new" else ()
        if labels and isinstance(model, TextClassifier) and task.replay:
            texts = [s.text for s in (*task.repair, *task.replay[:MAX_GUARD])]
            context.meter.charge_forwards(len(texts), num_tokens=count_tokens(model, texts))
            with model.applied_adapter(operated.to_adapter(), operated.method):
                features, logits, _ = model.logits(texts)
            cut = len(task.repair)
            gold = [s.expected for s in task.repair]
            rows = prototype_head(model, labels, features[:cut], gold, features[cut:], logits[cut:])
            operated = replace(operated, rows=HeadRows(rows.labels, rows.weight, rows.bias))
        return seal_operated(context, operated, training_data="random delta; rows refitted on the healer's samples")
