"""Limits of one service process, each with a reason to be what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

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
    max_records: int = 5_000_000
    """Predictions and failure reports stored of one tenant."""
    max_patch_bytes: int = 4 << 30
    """Files of the patches deployed for one tenant, in bytes."""
    max_forwards_per_day: float = 2_000_000.0
    """Forwards-equivalent that healing may spend for one tenant in a day (UTC)."""
    market_timeout_s: float = 5.0
    """Seconds without a byte after which a market is given up."""
    market_deadline_s: float = 20.0
    """Seconds after which an operation at a market is given up, tries and waits included; files add time."""
    max_resident: int = 4
    """Bases in memory."""
    max_waiting_texts: int = 4_096
    """Texts that wait for one base, at most; half of them may be one tenant's."""
    max_batch_tokens: int = 8_192
    """Tokens, estimated, of what is answered in one go; a larger request is a batch of its own."""
    max_adapter_bytes: int = 256 << 20
    """Tensors of patches kept in memory for each base."""
    max_wait_s: float = 30.0
    """Longest ``Prefer: wait``."""
    max_waiting: int = 4
    """Requests of one tenant that wait at once, each in a thread; one more is answered without waiting."""
    max_streams: int = 32
    """Event streams of one tenant that are open at once."""

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing, all at once."""
        names = (
            "max_body_bytes",
            "max_batch",
            "requests_per_minute",
            "max_open_jobs",
            "max_resident",
            "max_waiting_texts",
            "max_batch_tokens",
            "max_adapter_bytes",
            "max_records",
            "max_patch_bytes",
            "max_forwards_per_day",
            "max_waiting",
            "max_streams",
        )
        problems = [f"{name} must be at least 1" for name in names if not getattr(self, name) >= 1]
        problems += [] if self.max_wait_s >= 0 else ["max_wait_s must not be negative"]
        times = ("market_timeout_s", "market_deadline_s")
        problems += [f"{name} must be above 0" for name in times if not getattr(self, name) > 0]
        if problems:
            raise ConfigError(problems)


def read_limits(texts: Sequence[str]) -> dict[str, Any]:
    """Return limits by name from ``NAME=NUMBER``.

    Raises:
        ConfigError: a name that is no limit, or a value that is no such number, all at once.

    >>> read_limits(["max_wait_s=5", "max_batch=1_000"])
    {'max_wait_s': 5.0, 'max_batch': 1000}
    """
    kinds = {"int": int, "float": float}
    types = {field.name: kinds[str(field.type)] for field in fields(ServiceSettings) if str(field.type) in kinds}
    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, _, value = text.partition("=")
        kind = types.get(name.strip())
        try:
            if kind is None:
                problems.append(f"{text!r:.80} names no limit")
            else:
                found[name.strip()] = kind(value)
        except ValueError:
            problems.append(f"{text!r:.80} is not NAME={'INTEGER' if kind is int else 'NUMBER'}")
    if problems:
        raise ConfigError(problems, hint=f"limits are: {', '.join(types)}")
    return found
