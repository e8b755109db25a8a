"""A family of worlds: what a world's data are and how its base comes about. Plugins provide the same.

A third-party package adds a family by the entry point group ``symbio_lab.worlds``; the value is a ``WorldFamily``.

Rules:
    1. ``load`` marks the slice by ``Sample.domain == recipe.domain``; samples without a domain take no part, but for
       out-of-scope sources.
    2. Groups are whole: a family fills them, or sets ``group_by_text`` to have near duplicates kept together.
    3. ``build_base`` trains on ``sources.base_train`` only, from the world seed, or takes a base that was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from symbio_lab.config import Settings
from symbio_lab.errors import UnknownDatasetError
from symbio_lab.events import Listener
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.models.loading import resolve_device
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.scenarios.base import build_base as train_linear_base
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources


class BaseBuilder(Protocol):
    """Builds, or finds in the cache, the base of one world."""

    def __call__(
        self,
        recipe: WorldRecipe,
        sources: WorldSources,
        world_seed: int,
        settings: Settings,
        listener: Listener | None,
    ) -> PatchableModel:
        """Return the base."""


def linear_base(
    recipe: WorldRecipe, sources: WorldSources, world_seed: int, settings: Settings, listener: Listener | None
) -> PatchableModel:
    """Return a linear head on the embedded sentence encoder, fitted on ``sources.base_train``."""
    device = resolve_device(settings.device)
    return train_linear_base(recipe.name, sources.base_train, settings.bases, device=device, listener=listener)


@dataclass(frozen=True, slots=True)
class WorldFamily:
    """Worlds that share a dataset and a kind of base."""

    name: str
    recipes: Mapping[str, WorldRecipe]
    """World name (``family/world``, or ``family``) -> its settings."""
    load: Callable[[WorldRecipe], FailureDataset]
    build_base: BaseBuilder = linear_base

    def recipe(self, name: str) -> WorldRecipe:
        """Return the settings of one world.

        Raises:
            UnknownDatasetError: the family has no such world.
        """
        if name not in self.recipes:
            raise UnknownDatasetError(name, known=tuple(self.recipes))
        return self.recipes[name]
