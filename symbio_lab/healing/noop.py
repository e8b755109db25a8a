"""Strategy ``noop``: keep the base. The lower bound of every comparison."""

from __future__ import annotations

from symbio_lab.healing.context import HealingContext, Proposal


class Noop:
    """Do nothing."""

    name = "noop"
    family = "control"
    looks = 0
    reads_market = False
    reference = "none"

    def heal(self, context: HealingContext) -> Proposal:
        """Return no candidate."""
        return Proposal(None, "none", None, ())
