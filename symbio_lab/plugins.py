"""Objects that installed packages register by entry points: worlds, healing strategies, surgery methods.

Rules:
    1. A plugin is loaded when the list of its kind is asked for, never at import of the lab.
    2. A name that the lab has already is refused: a plugin never replaces a method of the lab.
    3. A plugin that cannot be loaded is an error that names its package, not a silent gap in a comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from symbio_lab.errors import PluginError


@cache
def _entries(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group; read once a process, since it walks every installed package."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: entry.name))


GROUPS = ("symbio_lab.strategies", "symbio_lab.surgery", "symbio_lab.worlds")
"""What can be registered."""


def installed_plugins() -> list[dict[str, str]]:
    """Return what installed packages register, without importing any of it: kind, name, package, version."""
    return [
        {
            "kind": group.removeprefix("symbio_lab."),
            "name": entry.name,
            "package": entry.dist.name if entry.dist else entry.value,
            "version": entry.dist.version if entry.dist else "",
        }
        for group in GROUPS
        for entry in _entries(group)
    ]


def load_plugins(group: str, kind: Any, taken: Collection[str]) -> Mapping[str, Any]:
    """Return the objects registered under ``group``, by entry point name, in order of name.

    Args:
        group: entry point group, e.g. ``symbio_lab.worlds``.
        kind: class (or runtime-checkable protocol) that each must be an instance of, ``type`` for classes.
        taken: names of the lab's own.

    Raises:
        PluginError: a plugin takes a name of the lab, cannot be imported or is of another kind.
    """
    found: dict[str, Any] = {}
    for entry in _entries(group):
        package = entry.dist.name if entry.dist else entry.value
        if entry.name in taken or entry.name in found:
            raise PluginError(f"{package} registers {entry.name!r} in {group}, a name that is taken")
        try:
            value = entry.load()
        except Exception as error:
            raise PluginError(f"{package}: {entry.name!r} of {group} cannot be loaded: {error!r}") from error
        if not isinstance(value, kind):
            raise PluginError(f"{package}: {entry.name!r} of {group} is a {type(value).__name__}")
        found[entry.name] = value
    return found
