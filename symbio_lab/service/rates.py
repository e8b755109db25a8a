"""How often a tenant may call: a moving window over the last minute, kept in this process.

With several server processes on one store each counts by itself; the limit protects a process, it is no quota.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class Rates:
    """Requests of the last minute by tenant."""

    def __init__(self, per_minute: int) -> None:
        """Start empty."""
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def hit(self, tenant: str) -> int | None:
        """Count a request; return None when it is within the limit, else the seconds to wait.

        >>> rates = Rates(1)
        >>> rates.hit("acme"), rates.hit("other"), rates.hit("acme") > 0
        (None, None, True)
        """
        if self._limiter.hit(self._limit, tenant):
            return None
        reset_s = self._limiter.get_window_stats(self._limit, tenant).reset_time
        return max(1, math.ceil(reset_s - time.time()))
