"""The surgery methods by name, in the order that breaks ties: cheapest and least invasive first."""

from __future__ import annotations

from collections.abc import Callable

from symbio_lab.errors import ConfigError
from symbio_lab.plugins import load_plugins, make_plugin
from symbio_lab.records import LabelShift, TaskType
from symbio_lab.surgery.head_retrain import HeadRetrain
from symbio_lab.surgery.lora import Lora, LoraReplay
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.surgery.protocol import SurgeryMethod
from symbio_lab.surgery.prototype_rows import PrototypeRows

METHOD_NAMES = ("prototype_rows", "head_retrain", "lora_replay", "lora")
"""The lab's own."""
SURGERY_GROUP = "symbio_lab.surgery"
"""Entry point group of other packages' methods: callables that take ``LoraSettings`` or None and return a method."""


def method_names() -> tuple[str, ...]:
    """Return the names of all methods: the lab's, then those of installed packages.

    Raises:
        PluginError: an installed plugin cannot be loaded.
    """
    return (*METHOD_NAMES, *load_plugins(SURGERY_GROUP, Callable, METHOD_NAMES))


def surgery_method(name: str, settings: LoraSettings | None = None) -> SurgeryMethod:
    """Return the method of this name.

    Raises:
        ConfigError: there is none.
        PluginError: an installed plugin cannot be loaded, or what it makes is no surgery method.
    """
    if name == "prototype_rows":
        return PrototypeRows()
    if name == "head_retrain":
        return HeadRetrain()
    if name == "lora_replay":
        return LoraReplay(settings)
    if name == "lora":
        return Lora(settings)
    plugins = load_plugins(SURGERY_GROUP, Callable, METHOD_NAMES)
    if name in plugins:
        method: SurgeryMethod = make_plugin(SURGERY_GROUP, name, plugins[name], SurgeryMethod, settings)
        return method
    raise ConfigError([f"unknown surgery method {name!r}; use one of {', '.join(method_names())}"])


def applicable_methods(
    task_type: TaskType, label_shift: LabelShift, settings: LoraSettings | None = None
) -> list[SurgeryMethod]:
    """Return the methods that serve this task and label shift, in tie-breaking order."""
    methods = [surgery_method(name, settings) for name in method_names()]
    return [m for m in methods if task_type in m.task_types and label_shift in m.label_shifts]
