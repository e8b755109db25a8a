"""The tiny models, and the tiny worlds with their pools, built once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures_models import TinyModels
from tests.fixtures_models import tiny as tiny
from tests.integration import tiny_world


@pytest.fixture(autouse=True, scope="session")
def _threads() -> Iterator[None]:
    """Worlds set torch's threads; put them back for the tests that follow."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def installed(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny encoder and datasets stand where worlds look for theirs."""
    tiny_world.install(monkeypatch, tiny.folder("encoder"))


@pytest.fixture(scope="session")
def built(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the classification world: ``home`` (base and high pool) and ``out`` (an undisturbed comparison)."""
    return tiny_world.build("tiny", tmp_path_factory.mktemp("tiny-world"), tiny.folder("encoder")).folder


@pytest.fixture(scope="session")
def built_generation(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the generation world."""
    folder = tmp_path_factory.mktemp("tiny-generation")
    return tiny_world.build("tiny-generation", folder, tiny.folder("encoder")).folder


@pytest.fixture(scope="session", params=["tiny", "tiny-generation"])
def built_world(request: pytest.FixtureRequest) -> tiny_world.BuiltWorld:
    """Either world, whatever the test promises of both task types."""
    folder = request.getfixturevalue("built" if request.param == "tiny" else "built_generation")
    return tiny_world.BuiltWorld(request.param, folder)
