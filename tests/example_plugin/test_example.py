"""What an author of a plugin tests: that the contracts are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from symbio_lab_example.cheapest_patch import CheapestPatch
from symbio_lab_example.mean_rows import mean_rows
from symbio_lab_example.numbers import NUMBERS

from symbio_lab.config import load_settings
from symbio_lab.healing.catalogue import healing_strategy, strategy_names
from symbio_lab.scenarios.catalogue import scenario_names
from symbio_lab.surgery.catalogue import applicable_methods
from symbio_lab.testing import TinyModels, check_strategy, check_surgery, check_world_family


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("tiny"))


def test_the_strategy_keeps_the_contract(tiny: TinyModels, tmp_path: Path) -> None:
    check_strategy(CheapestPatch, tiny, tmp_path)


def test_the_surgery_method_keeps_the_contract(tiny: TinyModels) -> None:
    check_surgery(mean_rows, tiny)


def test_the_worlds_keep_the_contract() -> None:
    check_world_family(NUMBERS, load_settings().settings)


def test_all_three_are_found_by_name() -> None:
    assert {"cheapest_patch", "mean_rows"} <= set(strategy_names())
    assert healing_strategy("mean_rows").family == "surgery"
    assert "numbers" in scenario_names()
    assert "mean_rows" in [m.name for m in applicable_methods("text_classification", "new")]
