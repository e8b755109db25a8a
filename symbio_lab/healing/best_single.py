"""Strategy ``best_single``: screen every candidate, take the best, ask the gate once.

References:
    arXiv 2602.12323, selection by evaluation with one adapter. Differs from the paper: chosen by net gain on the
    failures and a guard, confirmed on samples that screening never read.
"""

from __future__ import annotations

from symbio_lab.evaluation.screening import best_of
from symbio_lab.healing.adopting import find_patches, screen_patches
from symbio_lab.healing.context import HealingContext, Proposal, ask_gate
from symbio_lab.records import Attempt, Patch


def adopt_best(
    context: HealingContext, patches: list[Patch], attempts: list[Attempt], *, looks: int, route: str = "marketplace"
) -> Proposal:
    """Screen the patches, propose the best and gate it."""
    results, screened = screen_patches(context, patches)
    attempts = [*attempts, *screened]
    best = best_of(results)
    if best is None:
        return Proposal(None, "none", None, tuple(attempts))
    verdict, attempt = ask_gate(context, best.patch, route, looks=looks)
    return Proposal(best.patch, route, verdict, (*attempts, attempt))


class BestSingle:
    """Adopt the best single patch."""

    name = "best_single"
    family = "marketplace"
    looks = 1
    reference = "arXiv 2602.12323, section 4 (selection by evaluation)"

    def heal(self, context: HealingContext) -> Proposal:
        """Return the best candidate of the market, gated once."""
        patches, attempts = find_patches(context)
        return adopt_best(context, patches, attempts, looks=self.looks)
