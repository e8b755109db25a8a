"""Strategy ``marketplace_first``: search, evaluate on the real failures, gate; else operate, gate again.

Two looks at the gate are declared beforehand, so both bounds are at alpha / 2. The fallback gets what the budget
has left. Publishing the accepted surgery back is the pipeline's last step, not the strategy's.

Flow: pipeline.py -> healing/marketplace_first.py -> marketplace/search.py
Next: symbio_lab/marketplace/search.py

References:
    Notes on healing methods, section 4 (hybrid ``fallback``).
"""

from __future__ import annotations

from symbio_lab.healing.adopting import find_patches
from symbio_lab.healing.best_single import adopt_best
from symbio_lab.healing.context import HealingContext, Proposal
from symbio_lab.healing.operating import operate_best
from symbio_lab.healing.surgery_arms import gate_surgery


class MarketplaceFirst:
    """Adopt the best patch if the gate accepts it, else operate."""

    name = "marketplace_first"
    family = "hybrid"
    looks = 2
    reference = "notes on healing methods, section 4 (fallback)"

    def heal(self, context: HealingContext) -> Proposal:
        """Return the adopted patch, or the surgery that replaced it."""
        patches, attempts = find_patches(context)
        adopted = adopt_best(context, patches, attempts, looks=self.looks)
        if adopted.verdict is not None and adopted.verdict.decision == "accept":
            return adopted
        patch, operated = operate_best(context)
        if patch is None:
            return Proposal(adopted.patch, adopted.route, adopted.verdict, (*adopted.attempts, *operated))
        return gate_surgery(context, patch, [*adopted.attempts, *operated], looks=self.looks)
