"""A tenant's view of the markets: the operator's trust policy, narrowed by the tenant's own.

Rules:
    1. The service's own market, where tenants contribute, is searched beside those that the operator named.
    2. Which versions a tenant has accepted is remembered for it alone.
    3. What markets offer is read again after ``FRESH_S``, and whenever the tenant's policy changed.
    4. A market that does not answer is given up soon and left out (``reaching.py``).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.hub_limits import HubLimits
from symbio_lab.marketplace.opening import open_transport
from symbio_lab.marketplace.search import Embedder
from symbio_lab.marketplace.transport import Transport
from symbio_lab.models.embedding import find_embedder
from symbio_lab.records import content_id
from symbio_lab.service.reaching import ReachableMarkets
from symbio_lab.service.state import ServiceState
from symbio_lab.service.tenant_policy import TenantPolicy
from symbio_lab.trust.enrolled import enrolled_policy

FRESH_S = 10.0
_MOST_VIEWS = 64


class Markets:
    """Clients of tenants, kept for a while: reading a market verifies every manifest of it."""

    def __init__(self, state: ServiceState) -> None:
        """Prepare; nothing is read yet."""
        self._state = state
        self._guard = threading.Lock()
        self._views: OrderedDict[str, tuple[float, threading.Lock, ReachableMarkets]] = OrderedDict()
        self._embed: Embedder | None = None
        self._embed_known = False

    def view(self, tenant: str) -> tuple[threading.Lock, ReachableMarkets]:
        """Return a tenant's client, and the lock to hold while using it.

        Raises:
            ConfigError: the operator's trust policy or a market's address is wrong.
            DataError: the file of an enrolled key is damaged.
        """
        policy = self._state.policy(tenant)
        key = content_id([tenant, policy.model_dump(mode="json")])
        with self._guard:
            held = self._views.get(key)
            if held is None or time.monotonic() - held[0] > FRESH_S:
                held = (time.monotonic(), threading.Lock(), self.open(tenant, policy))
                self._views[key] = held
                while len(self._views) > _MOST_VIEWS:
                    self._views.popitem(last=False)
            self._views.move_to_end(key)
            return held[1], held[2]

    def open(self, tenant: str, policy: TenantPolicy) -> ReachableMarkets:
        """Return a new client of a tenant; nothing is read yet.

        Raises:
            ConfigError: the operator's trust policy or a market's address is wrong.
            DataError: the file of an enrolled key is damaged.
        """
        state = self._state
        limits = HubLimits(timeout_s=state.service.market_timeout_s, deadline_s=state.service.market_deadline_s)
        cache = state.settings.home / "hub"
        transports: list[Transport] = [open_transport(uri, cache=cache, limits=limits) for uri in state.service.markets]
        if state.market_folder.is_dir():
            transports.append(DirectoryTransport(state.market_folder))
        trust = policy.narrowed(enrolled_policy(state.settings, tenant))
        seen = state.settings.home / "seen" / f"tenant-{content_id(tenant)[:16]}"
        return ReachableMarkets(transports, trust, state.settings.patches, state.now(), self._embedder(), seen=seen)

    def _embedder(self) -> Embedder | None:
        if not self._embed_known:
            self._embed, self._embed_known = find_embedder(), True
        return self._embed
