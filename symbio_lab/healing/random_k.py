"""Strategy ``random_k``: k verified patches at random, added up exactly. A control, not a cure.

The draw depends on the seed and on the base. On the seed alone, pools whose patches bear the same names would all give
the same publishers, the most knowing ones with seed 0, and the control would be random in nothing but its name.

References:
    arXiv 2602.12323, random selection. Differs from the paper: exact sum of the updates, k = 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from symbio_lab.composition.exact_sum import exact_sum
from symbio_lab.healing.adopting import find_patches, fitting_patches
from symbio_lab.healing.context import HealingContext, Proposal, ask_gate, seal_operated
from symbio_lab.models.adapters import load_adapter
from symbio_lab.records import Attempt, Patch
from symbio_lab.seeding import shuffled

NUM_PATCHES = 3


def draw_patches(patches: Sequence[Patch], seed: int, base_digest: str) -> list[Patch]:
    """Return ``NUM_PATCHES`` patches at random, or all where there are fewer; their order does not matter."""
    named = sorted(patches, key=lambda patch: patch.patch_id)
    return shuffled(named, seed, "random_k", base_digest)[:NUM_PATCHES]


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
        chosen = draw_patches(fitting, context.seed, context.model.digest)
        if not chosen:
            return Proposal(None, "none", None, tuple(attempts))
        with context.meter.phase("compose"):
            operated = exact_sum("random-k", [load_adapter(p) for p in chosen], [1 / len(chosen)] * len(chosen))
            patch = seal_operated(context, operated, lineage=[p.digest for p in chosen], training_data="none")
        names = ", ".join(p.patch_id for p in chosen)
        attempts.append(context.note(Attempt("control", "random_k", "proposed", "", f"sum of {names}")))
        verdict, attempt = ask_gate(context, patch, "control", looks=self.looks)
        return Proposal(patch, "control", verdict, (*attempts, attempt))
