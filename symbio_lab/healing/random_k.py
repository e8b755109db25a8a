"""Strategy ``random_k``: k verified patches at random, added up exactly. A control, not a cure.

References:
    arXiv 2602.12323, random selection. Differs from the paper: exact sum of the updates, k = 3.
"""

from __future__ import annotations

from symbio_lab.composition.exact_sum import exact_sum
from symbio_lab.healing.adopting import find_patches, fitting_patches
from symbio_lab.healing.context import HealingContext, Proposal, ask_gate, seal_operated
from symbio_lab.models.adapters import load_adapter
from symbio_lab.records import Attempt
from symbio_lab.seeding import shuffled

NUM_PATCHES = 3


class RandomK:
    """Compose k random patches with equal weights."""

    name = "random_k"
    family = "control"
    looks = 1
    reference = "arXiv 2602.12323, section 4 (random selection)"

    def heal(self, context: HealingContext) -> Proposal:
        """Return the composition of k random verified patches, gated once."""
        patches, attempts = find_patches(context)
        fitting, refused = fitting_patches(context, patches)
        attempts += refused
        chosen = shuffled(sorted(fitting, key=lambda p: p.patch_id), context.seed, "random_k")[:NUM_PATCHES]
        if not chosen:
            return Proposal(None, "none", None, tuple(attempts))
        with context.meter.phase("compose"):
            operated = exact_sum("random-k", [load_adapter(p) for p in chosen], [1 / len(chosen)] * len(chosen))
            patch = seal_operated(context, operated, lineage=[p.digest for p in chosen], training_data="none")
        names = ", ".join(p.patch_id for p in chosen)
        attempts.append(context.note(Attempt("control", "random_k", "proposed", "", f"sum of {names}")))
        verdict, attempt = ask_gate(context, patch, "control", looks=self.looks)
        return Proposal(patch, "control", verdict, (*attempts, attempt))
