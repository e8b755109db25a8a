"""Objects that installed packages register by entry points: worlds, healing strategies, surgery methods.

Rules:
    1. A plugin is loaded when the list of its kind is asked for, never at import of the lab.
    2. A name that the lab has already is refused: a plugin never replaces a method of the lab.
    3. A plugin that cannot be loaded is an error that names its package, not a silent gap in a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from symbio_lab.errors import PluginError

GROUPS = ("symbio_lab.strategies", "symbio_lab.surgery", "symbio_lab.worlds")
"""What can be registered."""


@cache
def _entries(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group; read once a process, since it walks every installed package."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: entry.name))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def installed_plugins() -> list[dict[str, str]]:
    """Return what installed packages register, without importing any of it: kind, name, package, version."""
    return [
        {
            "kind": group.removeprefix("symbio_lab."),
            "name": entry.name,
            "package": _package(entry),
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
        where = f"{_package(entry)}: {entry.name!r} of {group}"
        if entry.name in taken or entry.name in found:
            raise PluginError(f"{where} takes a name that is taken")
        try:
            value = entry.load()
        except Exception as error:
            raise PluginError(f"{where} cannot be loaded: {error!r}") from error
        if not isinstance(value, kind):
            raise PluginError(f"{where} is a {type(value).__name__}, not a {kind.__name__}")
        found[entry.name] = value
    return found


def make_plugin(group: str, name: str, factory: Callable[..., Any], protocol: type, *arguments: Any) -> Any:
    """Return what a registered factory makes.

    Args:
        group: entry point group.
        name: entry point name; what is made must carry it.
        factory: the registered object.
        protocol: what the made object must have, e.g. ``HealingStrategy``.
        arguments: given to the factory.

    Raises:
        PluginError: the factory fails, or what it makes lacks members of ``protocol`` or carries another name.
    """
    package = next((_package(entry) for entry in _entries(group) if entry.name == name), group)
    where = f"{package}: {name!r} of {group}"
    try:
        made = factory(*arguments)
    except Exception as error:
        raise PluginError(f"{where} cannot be made: {error!r}") from error
    lacking = missing_members(made, protocol)
    if lacking:
        raise PluginError(f"{where} is no {protocol.__name__}: it lacks {', '.join(lacking)}")
    if made.name != name:
        raise PluginError(f"{where} calls itself {made.name!r}; both names must be equal")
    return made


def missing_members(made: Any, protocol: type) -> list[str]:
    """Return the members of ``protocol`` that an object lacks, sorted; methods must be callable.

    >>> class Healer:
    ...     name: str
    ...     def heal(self) -> None: ...
    >>> missing_members("text", Healer)
    ['heal', 'name']
    """
    methods = {name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")}
    fields = set(protocol.__annotations__)
    lacking = {name for name in fields if not hasattr(made, name)}
    return sorted(lacking | {name for name in methods if not callable(getattr(made, name, None))})
