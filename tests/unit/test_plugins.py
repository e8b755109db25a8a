"""Plugins by entry points: found, checked, and refused with the name of their package and what is missing."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from symbio_lab import plugins
from symbio_lab.errors import ConfigError, PluginError
from symbio_lab.healing.catalogue import STRATEGY_NAMES, healing_strategy, strategy_names
from symbio_lab.plugins import load_plugins, make_plugin, missing_members
from symbio_lab.scenarios.catalogue import scenario_names
from symbio_lab.surgery.catalogue import METHOD_NAMES, applicable_methods, method_names, surgery_method
from symbio_lab.surgery.lora_training import LoraSettings
from symbio_lab.surgery.protocol import SurgeryMethod


class Registered:
    """Registers objects of this module as an installed package would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: dict[str, list[EntryPoint]] = {}
        monkeypatch.setattr(plugins, "_entries", lambda group: tuple(self.entries.get(group, ())))
        monkeypatch.setattr(EntryPoint, "load", lambda entry: globals()[entry.value.split(":")[1]])

    def __call__(self, kind: str, name: str, value: str) -> None:
        group = f"symbio_lab.{kind}"
        self.entries.setdefault(group, []).append(EntryPoint(name, f"elsewhere:{value}", group))


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Registered:
    return Registered(monkeypatch)


class Prayer:
    name, family, looks, reference = "prayer", "control", 0, "nowhere"

    def heal(self, context: Any) -> None:
        return None


class Leeches:
    name, reference = "leeches", "nowhere"
    task_types, label_shifts = ("text_generation",), ("known",)

    def __init__(self, settings: LoraSettings | None = None) -> None:
        self.settings = settings

    def estimate_forwards(self, model: Any, num_repair: int, num_replay: int) -> float:
        return 0.0

    def operate(self, model: Any, repair: Any, replay: Any, *, seed: int, meter: Any) -> None:
        return None


class Half:
    name, looks = "half", 1
    heal = "not a method"


def explode(*_: Any) -> None:
    raise ValueError("no settings")


NUMBER = 3


def test_without_plugins_the_lab_has_its_own_only(register: Registered) -> None:
    assert strategy_names() == STRATEGY_NAMES
    assert method_names() == METHOD_NAMES


def test_a_strategy_is_found_by_name_and_made_anew(register: Registered) -> None:
    register("strategies", "prayer", "Prayer")
    assert strategy_names() == (*STRATEGY_NAMES, "prayer")
    assert isinstance(healing_strategy("prayer"), Prayer)
    assert healing_strategy("prayer") is not healing_strategy("prayer")


def test_a_surgery_method_is_a_strategy_and_takes_part_in_the_choice(register: Registered) -> None:
    register("surgery", "leeches", "Leeches")
    assert method_names() == (*METHOD_NAMES, "leeches")
    assert strategy_names() == (*STRATEGY_NAMES, "leeches")
    strategy = healing_strategy("leeches")
    assert (strategy.name, strategy.family, strategy.looks, strategy.reference) == ("leeches", "surgery", 1, "nowhere")
    assert "leeches" in [m.name for m in applicable_methods("text_generation", "known")]
    assert "leeches" not in [m.name for m in applicable_methods("text_classification", "known")]


def test_a_surgery_method_gets_the_settings_of_the_run(register: Registered) -> None:
    register("surgery", "leeches", "Leeches")
    settings = LoraSettings(rank=3)
    made: Any = surgery_method("leeches", settings)
    assert made.settings == settings


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("strategies", "noop", "Prayer", "takes a name that is taken"),
        ("strategies", "lora", "Prayer", "takes a name that is taken"),
        ("strategies", "number", "NUMBER", "is a int, not a Callable"),
        ("strategies", "absent", "Absent", "cannot be loaded: KeyError"),
        ("strategies", "explode", "explode", "cannot be made: ValueError"),
        ("strategies", "half", "Half", "is no HealingStrategy: it lacks family, heal, reference"),
        ("strategies", "other", "Prayer", "calls itself 'prayer'"),
        ("surgery", "lora", "Leeches", "takes a name that is taken"),
        ("surgery", "explode", "explode", "cannot be made: ValueError"),
        ("surgery", "prayer", "Prayer", "cannot be made: TypeError"),
        ("surgery", "other", "Leeches", "calls itself 'leeches'"),
        ("worlds", "helpdesk", "NUMBER", "takes a name that is taken"),
        ("worlds", "number", "NUMBER", "is a int, not a WorldFamily"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    register: Registered, kind: str, name: str, value: str, message: str
) -> None:
    def use_all() -> None:
        for strategy in strategy_names():
            healing_strategy(strategy)
        scenario_names()

    register(kind, name, value)
    with pytest.raises(PluginError, match=message) as caught:
        use_all()
    assert str(caught.value).startswith(f"elsewhere:{value}: {name!r} of symbio_lab.{kind}")
    assert "symbio_lab.testing" in caught.value.hint


def test_two_packages_cannot_share_a_name(register: Registered) -> None:
    register("strategies", "prayer", "Prayer")
    register("strategies", "prayer", "Prayer")
    with pytest.raises(PluginError, match="takes a name that is taken"):
        strategy_names()


def test_a_strategy_cannot_take_the_name_of_another_package_s_method(register: Registered) -> None:
    register("surgery", "leeches", "Leeches")
    register("strategies", "leeches", "Prayer")
    with pytest.raises(PluginError, match="strategies takes a name that is taken"):
        strategy_names()


def test_plugins_are_listed_without_being_loaded(register: Registered) -> None:
    register("worlds", "absent", "Absent")
    (listed,) = plugins.installed_plugins()
    assert (listed["kind"], listed["name"], listed["package"]) == ("worlds", "absent", "elsewhere:Absent")


def test_a_name_that_nobody_has_is_an_error_that_lists_plugins(register: Registered) -> None:
    register("strategies", "prayer", "Prayer")
    with pytest.raises(ConfigError, match=r"unknown strategy 'nap'.*prayer"):
        healing_strategy("nap")


def test_every_strategy_and_method_of_the_lab_has_what_is_asked_of_plugins() -> None:
    from symbio_lab.healing.protocol import HealingStrategy

    assert not [n for n in STRATEGY_NAMES if missing_members(healing_strategy(n), HealingStrategy)]
    assert not [n for n in METHOD_NAMES if missing_members(surgery_method(n), SurgeryMethod)]


def test_a_group_without_plugins_is_empty(register: Registered) -> None:
    assert load_plugins("symbio_lab.strategies", type, ()) == {}
    made = make_plugin("symbio_lab.surgery", "leeches", Leeches, SurgeryMethod)
    assert made.name == "leeches"
