"""Strategy ``cheapest_patch``: adopt the smallest verified patch that fixes anything; never operate."""

from __future__ import annotations

from symbio_lab.healing.adopting import find_patches, screen_patches
from symbio_lab.healing.context import HealingContext, Proposal, ask_gate


class CheapestPatch:
    """Adopt the patch of fewest bytes among those that gain on the screening samples."""

    name = "cheapest_patch"
    family = "marketplace"
    looks = 1
    reference = "example of symbio_lab's documentation"

    def heal(self, context: HealingContext) -> Proposal:
        """Return the smallest patch that gains, gated once."""
        patches, attempts = find_patches(context)
        screened, tried = screen_patches(context, patches)
        attempts += tried
        useful = [s.patch for s in screened if s.problem is None and s.score > 0]
        if not useful:
            return Proposal(None, "none", None, tuple(attempts))
        patch = min(useful, key=lambda p: (p.size_bytes, p.patch_id))
        verdict, attempt = ask_gate(context, patch, "marketplace", looks=self.looks)
        return Proposal(patch, "marketplace", verdict, (*attempts, attempt))
