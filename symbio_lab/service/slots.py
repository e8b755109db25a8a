"""How many of something a tenant may hold at once: open event streams, requests that wait.

Rules:
    1. A tenant has its own limit and the process has one over all, so that one tenant cannot take what all share.
    2. Who gets no slot is told at once; nobody queues.

Example:
    >>> slots = Slots(per_tenant=1, total=2)
    >>> slots.take("a"), slots.take("a"), slots.take("b"), slots.take("c")
    (True, False, True, False)
    >>> slots.release("a")
    >>> slots.take("c"), slots.num_taken
    (True, 2)
"""

from __future__ import annotations

import threading
from collections import Counter


class Slots:
    """Slots of one kind in one process."""

    def __init__(self, per_tenant: int, total: int) -> None:
        """Start with all of them free."""
        self._per_tenant, self._total = per_tenant, total
        self._guard = threading.Lock()
        self._taken: Counter[str] = Counter()

    @property
    def num_taken(self) -> int:
        """Slots that are held now."""
        return self._taken.total()

    def take(self, tenant: str) -> bool:
        """Take one; return False when the tenant or the process has no more."""
        with self._guard:
            if self._taken[tenant] >= self._per_tenant or self._taken.total() >= self._total:
                self._taken += Counter()  # names that hold none are forgotten
                return False
            self._taken[tenant] += 1
            return True

    def release(self, tenant: str) -> None:
        """Give one back."""
        with self._guard:
            self._taken[tenant] -= 1
            self._taken += Counter()
