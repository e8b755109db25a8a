"""The healing strategies by name."""

from __future__ import annotations

from collections.abc import Callable

from symbio_lab.errors import ConfigError
from symbio_lab.healing.best_single import BestSingle
from symbio_lab.healing.marketplace_first import MarketplaceFirst
from symbio_lab.healing.noop import Noop
from symbio_lab.healing.null_pool import NullPool
from symbio_lab.healing.protocol import HealingStrategy
from symbio_lab.healing.random_k import RandomK
from symbio_lab.healing.surgery_arms import SingleSurgery, SurgeryOnly
from symbio_lab.plugins import load_plugins, make_plugin
from symbio_lab.surgery.catalogue import METHOD_NAMES, method_names

STRATEGY_NAMES = (
    "noop",
    "random_k",
    "null_pool",
    "best_single",
    *METHOD_NAMES,
    "surgery_only",
    "marketplace_first",
)
"""The lab's own."""
STRATEGY_GROUP = "symbio_lab.strategies"
"""Entry point group of other packages' strategies: classes, or callables without arguments."""


def strategy_names() -> tuple[str, ...]:
    """Return the names of all strategies: the lab's, other packages' surgery methods, other packages' strategies.

    Raises:
        PluginError: an installed plugin cannot be loaded.
    """
    own = (*STRATEGY_NAMES, *(name for name in method_names() if name not in STRATEGY_NAMES))
    return (*own, *load_plugins(STRATEGY_GROUP, Callable, own))


def healing_strategy(name: str) -> HealingStrategy:
    """Return the strategy of this name.

    Raises:
        ConfigError: there is none.
        PluginError: an installed plugin cannot be loaded, or what it makes is no strategy.
    """
    plain: dict[str, type] = {
        "noop": Noop,
        "random_k": RandomK,
        "null_pool": NullPool,
        "best_single": BestSingle,
        "surgery_only": SurgeryOnly,
        "marketplace_first": MarketplaceFirst,
    }
    if name in plain:
        strategy: HealingStrategy = plain[name]()
        return strategy
    if name in method_names():
        return SingleSurgery(name)
    plugins = load_plugins(STRATEGY_GROUP, Callable, (*STRATEGY_NAMES, *method_names()))
    if name in plugins:
        other: HealingStrategy = make_plugin(STRATEGY_GROUP, name, plugins[name], HealingStrategy)
        return other
    raise ConfigError([f"unknown strategy {name!r}; use one of {', '.join(strategy_names())}"])
