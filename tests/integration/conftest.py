"""The tiny models, and the tiny world with its pools, built once for the tests of this folder."""

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
    """The tiny encoder and dataset stand where worlds look for theirs."""
    tiny_world.install(monkeypatch, tiny.folder("encoder"))


@pytest.fixture(scope="session")
def built(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``home`` (base and high pool) and ``out`` (one undisturbed comparison)."""
    folder = tmp_path_factory.mktemp("tiny-world")
    with pytest.MonkeyPatch.context() as patch:
        tiny_world.install(patch, tiny.folder("encoder"))
        tiny_world.compare(folder / "home", folder / "out")
    return folder
