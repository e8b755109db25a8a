"""From traffic to patterns that a patch could heal: collecting, detecting, finding.

``monitor.watch(model)`` records what a model answers; see ``monitor/collector.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symbio_lab.monitor.collector import Watched, watch
    from symbio_lab.monitor.redaction import Redaction

__all__ = ["Redaction", "watch", "Watched"]
_HOMES = {"Redaction": "redaction", "watch": "collector", "Watched": "collector"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: most users of one part need no other."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
