"""What a healing strategy is.

Rules:
    1. A strategy sees a ``HealingContext``: the repair task, a market, a budget. Never a judge set.
    2. It returns a ``Proposal``; it does not deploy and does not publish.
    3. It declares its looks at the gate before the first one, and asks no more often.
"""

from __future__ import annotations

from typing import Protocol

from symbio_lab.healing.context import HealingContext, Proposal


class HealingStrategy(Protocol):
    """One way to heal."""

    name: str
    family: str
    """``marketplace``, ``surgery``, ``hybrid`` or ``control``."""
    looks: int
    """Looks at the gate, at most."""
    reference: str

    # Optional: ``reads_market = False`` says that the strategy looks at no market. It is given none, and its result is
    # computed once for all pools of a sweep.

    def heal(self, context: HealingContext) -> Proposal:
        """Return the ungated candidate and the gate's verdict on it."""
