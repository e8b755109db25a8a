"""symbio_lab: adopt a patch that others made, or operate? Evidence for both.

Importing this package loads no torch; everything heavy is imported where it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "heal": "symbio_lab.pipeline",
    "compare": "symbio_lab.comparison.compare",
    "build_world": "symbio_lab.scenarios.world",
    "load_classifier": "symbio_lab.models.loading",
    "load_generator": "symbio_lab.models.loading",
    "SymbioError": "symbio_lab.errors",
}
__all__ = [
    "SymbioError",
    "__version__",
    "build_world",
    "compare",
    "heal",
    "load_classifier",
    "load_generator",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'symbio_lab' has no attribute {name!r}")
