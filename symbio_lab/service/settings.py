"""Limits of one service process, each with a reason to be what it is."""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.errors import ConfigError

LOCAL_TENANT = "local"
"""The one tenant of ``symbio serve --local``."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How one service process behaves."""

    local: bool = False
    """One tenant, no keys: only for a process that listens on the loopback interface."""
    markets: tuple[str, ...] = ()
    """Addresses of the markets that tenants may search; none: the local pools and overlays."""
    max_body_bytes: int = 8 << 20
    max_batch: int = 10_000
    """Records of one request."""
    requests_per_minute: int = 6_000
    """Of one tenant, all of its keys together."""
    max_open_jobs: int = 16
    """Queued and running jobs of one tenant."""
    max_resident: int = 4
    """Bases in memory."""
    max_wait_s: float = 30.0
    """Longest ``Prefer: wait``."""
    max_waiting: int = 4
    """Requests of one tenant that wait at once, each in a thread; one more is answered without waiting."""
    max_streams: int = 32
    """Event streams of one tenant that are open at once."""

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing, all at once."""
        names = ["max_body_bytes", "max_batch", "requests_per_minute", "max_open_jobs", "max_resident"]
        names += ["max_waiting", "max_streams"]
        problems = [f"{name} must be at least 1" for name in names if getattr(self, name) < 1]
        problems += [] if self.max_wait_s >= 0 else ["max_wait_s must not be negative"]
        if problems:
            raise ConfigError(problems)
