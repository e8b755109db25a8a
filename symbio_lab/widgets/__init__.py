"""Widgets for notebooks: state in, view out. None computes; each calls what a script would call, and shows that call.

Every widget works in JupyterLab 4 and in Voila, keeps a static twin in the saved notebook, and needs the extra ``lab``.

Example::

    from symbio_lab.widgets import HealingBench

    HealingBench("helpdesk")
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symbio_lab.widgets.failure_explorer import FailureExplorer as FailureExplorer
    from symbio_lab.widgets.healing_bench import HealingBench as HealingBench
    from symbio_lab.widgets.marketplace_browser import MarketplaceBrowser as MarketplaceBrowser
    from symbio_lab.widgets.own_run import OwnModel as OwnModel
    from symbio_lab.widgets.strategy_comparison import StrategyComparison as StrategyComparison
    from symbio_lab.widgets.sweep_monitor import SweepMonitor as SweepMonitor
    from symbio_lab.widgets.trust_manager import TrustManager as TrustManager

_PLACES = {
    "FailureExplorer": "failure_explorer",
    "HealingBench": "healing_bench",
    "MarketplaceBrowser": "marketplace_browser",
    "OwnModel": "own_run",
    "StrategyComparison": "strategy_comparison",
    "SweepMonitor": "sweep_monitor",
    "TrustManager": "trust_manager",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    """Import a widget when it is asked for.

    Raises:
        MissingExtraError: ipywidgets or anywidget is not installed.
        AttributeError: no such widget.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for package in ("ipywidgets", "anywidget"):
        if importlib.util.find_spec(package) is None:
            from symbio_lab.errors import MissingExtraError

            raise MissingExtraError(package, "lab")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
