"""All widgets on one page, for people who do not write code: ``symbio lab --dashboard``.

Example::

    Dashboard("helpdesk", markets=["file:///shared/market"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import prose, stack
from symbio_lab.widgets.failure_explorer import FailureExplorer
from symbio_lab.widgets.healing_bench import HealingBench
from symbio_lab.widgets.marketplace_browser import MarketplaceBrowser
from symbio_lab.widgets.panel import VIEW, Panel
from symbio_lab.widgets.trust_manager import TrustManager


class Dashboard(ipywidgets.Tab):
    """The widgets, a tab each."""

    def __init__(
        self,
        scenario: str = "helpdesk",
        *,
        markets: Sequence[str] = (),
        model_id: str = "",
        tenant: str = "default",
        out: str | Path = "runs/dashboard",
    ) -> None:
        """Put the tabs together.

        Args:
            scenario: the healing bench begins with it.
            markets: addresses of markets; none leaves the marketplace away.
            model_id: a model whose answers are in the store; empty leaves the explorer away.
            tenant: whose answers, and who gets what is deployed.
            out: folder of the bench's results.

        Raises:
            UnknownDatasetError: no such scenario.
            ConfigError: an address or the trust policy is wrong.
            StorageError: the store cannot be read.
        """
        self.panels: list[Panel] = [HealingBench(scenario, tenant=tenant, out=out)]
        if model_id:
            self.panels.append(FailureExplorer.of_store(model_id, tenant=tenant))
        if markets:
            self.panels.append(MarketplaceBrowser.of_markets(*markets, suite=scenario))
        self.panels.append(TrustManager(markets=markets))
        super().__init__(self.panels, titles=[panel.title for panel in self.panels])
        self.add_class("sl-dashboard")

    def twin(self) -> Bundle:
        """Return what each tab shows without a kernel."""
        parts = [part for panel in self.panels for part in (prose(f"<strong>{panel.title}</strong>"), panel.twin())]
        return stack(*parts)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return live view, static twin and text in one."""
        live = super()._repr_mimebundle_(**kwargs)
        data = dict(live[0] if isinstance(live, tuple) else live or {})
        twin = self.twin()
        return {VIEW: data.get(VIEW), "text/html": twin.html, "text/plain": str(twin)}
