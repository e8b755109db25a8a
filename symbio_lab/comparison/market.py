"""The market of a comparison: a scenario's pool, a user's own folder of patches, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import to_plain
from symbio_lab.config import Settings
from symbio_lab.errors import NotFoundError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.opening import open_transport
from symbio_lab.marketplace.overlay import OverlayTransport
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.marketplace.transport import Transport
from symbio_lab.records import content_id
from symbio_lab.scenarios.attackers import Backdoor
from symbio_lab.scenarios.pool import Pool
from symbio_lab.scenarios.population import NOW
from symbio_lab.trust.enrolled import enrolled_policy
from symbio_lab.trust.policy import TrustPolicy


@dataclass(frozen=True, slots=True)
class Market:
    """What the marketplace arms of a comparison may search."""

    name: str
    """Relevance of a pool, address of a market, or ``none``."""
    transport: Transport | None = None
    """None: there is no market, and the arms that need one say so."""
    policy: TrustPolicy = field(default_factory=TrustPolicy)
    digest: str = "none"
    """Snapshot digest: names the market's state."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Contents of ``pool.json``; empty for a user's own market."""
    backdoor: Backdoor | None = None
    """What the backdoored patch of a pool does, for the judge."""
    now: str = NOW
    """UTC time at which expiry is judged."""
    rules: str = ""
    """Content id of the trust rules of a user's own market; a pool's rules follow from the pool."""

    @property
    def key(self) -> str:
        """What names market and rules in the keys of cells: another enrolled key is another market."""
        return content_id([self.digest, self.rules]) if self.rules else self.digest

    def view(self, overlay: Path, store: Path, embed: Any) -> tuple[MarketplaceClient | None, OverlayTransport | None]:
        """Return a cell's client and the overlay that takes its contributions; (None, None) without a market."""
        if self.transport is None:
            return None, None
        over = OverlayTransport(self.transport, overlay)
        return MarketplaceClient([over], self.policy, store, self.now, embed), over


NO_MARKET = Market("none")


def market_of_pool(pool: Pool) -> Market:
    """Return a scenario's pool as the market of a comparison."""
    return Market(pool.relevance, pool.transport, pool.policy, pool.digest, pool.info, pool.backdoor)


def market_at(uri: str, settings: Settings, *, now: str, policy: TrustPolicy | None = None) -> Market:
    """Return a user's own market.

    Args:
        uri: folder, or ``file://`` and a folder.
        settings: state folder, whose enrolled keys are trusted.
        now: UTC time at which expiry is judged.
        policy: the trust rules; None trusts our own key and those enrolled.

    Raises:
        ConfigError: the address is not supported.
        NotFoundError: there is no such folder.
        DataError: the file of an enrolled key is damaged.
    """
    transport = open_transport(uri)
    if isinstance(transport, DirectoryTransport) and not transport.path.is_dir():
        raise NotFoundError(f"there is no market at {uri}", hint="check the address; symbio market publish makes one")
    rules = policy if policy is not None else enrolled_policy(settings)
    return Market(uri, transport, rules, snapshot_digest(transport), now=now, rules=_rules_id(rules))


def _rules_id(policy: TrustPolicy) -> str:
    """Return the content id of what a policy lets through; names for people to read are no rule."""
    keys = [[keyid, key.known, sorted(key.namespaces)] for keyid, key in sorted(policy.keys.items())]
    limits = [policy.min_level, policy.min_evaluators, policy.max_file_bytes, policy.max_total_bytes, policy.max_rank]
    sets = [sorted(policy.revoked), sorted(policy.trusted), sorted(policy.licences)]
    plain = [keys, limits, sets, policy.check_expiry]
    # Rules that stand at their defaults do not count: runs that were made before there were such rules keep their ids.
    default = TrustPolicy()
    added = {name: _plain(getattr(policy, name)) for name in _ADDED if getattr(policy, name) != getattr(default, name)}
    return content_id([*plain, added] if added else plain)


_ADDED = (
    "min_signatures",
    "licence_levels",
    "max_age_days",
    "refuse_disputed",
    "check_lookalikes",
    "protected_names",
    "successors",
    "require_registry",
)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [[name, value[name]] for name in sorted(value)]
    if isinstance(value, tuple):
        return sorted(value)
    return to_plain(value) if is_dataclass(value) else value
