"""Who signs which part of a registry, and how long each signature lasts.

| role | says | who has the keys | lasts |
|---|---|---|---|
| root | whose keys count | several people, offline, a threshold of them | a year |
| targets | which bytes belong to which name; what is revoked | the registry's keeper | half a year |
| snapshot | which versions of the lists belong together | the publishing machine | a month |
| timestamp | that this is still current | a machine that renews it | a week |
A stolen timestamp or snapshot key can hold the market still until the metadata expire; it cannot offer anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.errors import ConfigError
from symbio_lab.trust.keys import SigningKey


@dataclass(frozen=True, slots=True)
class RegistryKeys:
    """Private keys by role; a keeper that only renews timestamps holds only that one."""

    root: tuple[SigningKey, ...] = ()
    targets: tuple[SigningKey, ...] = ()
    snapshot: tuple[SigningKey, ...] = ()
    timestamp: tuple[SigningKey, ...] = ()

    def of(self, role: str) -> tuple[SigningKey, ...]:
        """Return the keys of a role; bins are signed by those of targets."""
        keys: tuple[SigningKey, ...] = getattr(self, role if role in ("root", "snapshot", "timestamp") else "targets")
        return keys


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a role's metadata stay valid, in days."""

    root_days: int = 365
    targets_days: int = 180
    snapshot_days: int = 30
    timestamp_days: int = 7

    def __post_init__(self) -> None:
        """Check the order: what is above must not end before what it vouches for is renewed.

        Raises:
            ConfigError: a lifetime is below one day, or a role outlives the one above it.
        """
        days = (self.timestamp_days, self.snapshot_days, self.targets_days, self.root_days)
        if days[0] < 1 or list(days) != sorted(days):
            raise ConfigError(
                [f"lifetimes of timestamp, snapshot, targets and root are {days} days"],
                hint="give each at least one day, and no role fewer days than the one that is renewed more often",
            )

    def days_of(self, role: str) -> int:
        """Return the days of a role; bins last as long as targets."""
        known = {"root": self.root_days, "snapshot": self.snapshot_days, "timestamp": self.timestamp_days}
        return known.get(role, self.targets_days)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many distinct keys of a role must sign."""

    root: int = 1
    targets: int = 1
    snapshot: int = 1
    timestamp: int = 1

    def of(self, role: str) -> int:
        """Return the threshold of a role."""
        value: int = getattr(self, role)
        return value
