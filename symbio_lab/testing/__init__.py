"""For authors of plugins: tiny models of both task types, and the contracts of strategies, methods and worlds.

The lab's own tests run the same checks. Example, in a test of a package that registers a surgery method::

    from symbio_lab.testing import TinyModels, check_surgery

    def test_my_method_keeps_the_contract(tmp_path):
        check_surgery(MyMethod, TinyModels(tmp_path))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symbio_lab.testing.strategies import check_strategy
    from symbio_lab.testing.surgery import check_surgery
    from symbio_lab.testing.tiny_models import TinyModels
    from symbio_lab.testing.worlds import check_world_family

# On first use: the loopback Hub lies below this package and needs no torch.
_LAZY = {
    "TinyModels": "symbio_lab.testing.tiny_models",
    "check_strategy": "symbio_lab.testing.strategies",
    "check_surgery": "symbio_lab.testing.surgery",
    "check_world_family": "symbio_lab.testing.worlds",
}
__all__ = ["TinyModels", "check_strategy", "check_surgery", "check_world_family"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'symbio_lab.testing' has no attribute {name!r}")
