"""The healing strategies by name."""

from __future__ import annotations

from symbio_lab.errors import ConfigError
from symbio_lab.healing.best_single import BestSingle
from symbio_lab.healing.marketplace_first import MarketplaceFirst
from symbio_lab.healing.noop import Noop
from symbio_lab.healing.null_pool import NullPool
from symbio_lab.healing.protocol import HealingStrategy
from symbio_lab.healing.random_k import RandomK
from symbio_lab.healing.surgery_arms import SingleSurgery, SurgeryOnly
from symbio_lab.surgery.catalogue import METHOD_NAMES

STRATEGY_NAMES = (
    "noop",
    "random_k",
    "null_pool",
    "best_single",
    *METHOD_NAMES,
    "surgery_only",
    "marketplace_first",
)


def healing_strategy(name: str) -> HealingStrategy:
    """Return the strategy of this name.

    Raises:
        ConfigError: there is none.
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
    if name in METHOD_NAMES:
        return SingleSurgery(name)
    raise ConfigError([f"unknown strategy {name!r}; use one of {', '.join(STRATEGY_NAMES)}"])
