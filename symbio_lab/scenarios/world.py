"""A failing world: a base that lacks something, a slice on which it fails, pools of patches, incidents.

Example::

    world = build_world("helpdesk", settings=load_settings().settings)
    pool = world.pool("high")
    suite = world.incident(SuiteSizes(n_repair=16), seed=0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from symbio_lab.config import Settings, load_settings
from symbio_lab.evaluation.suites import FailureSuite, SuiteSizes, build_suite
from symbio_lab.events import Listener
from symbio_lab.models.loading import use_threads
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.monitor.patterns import failure_records, find_patterns
from symbio_lab.records import FailurePattern, content_id
from symbio_lab.scenarios.catalogue import scenario_family, scenario_recipe
from symbio_lab.scenarios.pool import Pool, build_pool
from symbio_lab.scenarios.recipe import Relevance, WorldRecipe
from symbio_lab.scenarios.sources import WorldSources, divide


@dataclass(frozen=True, slots=True)
class World:
    """A built world; ``pool`` and ``incident`` build the rest on demand."""

    recipe: WorldRecipe
    world_seed: int
    model: PatchableModel
    sources: WorldSources
    settings: Settings
    dataset_digest: str
    dataset_origin: str
    listener: Listener | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a reader should know of how the world came about, shown in reports."""

    @property
    def facets(self) -> tuple[str, ...]:
        """What there is to know of the slice: labels, templates ..., sorted; of the repair side where none publish."""
        return tuple(sorted({s.known_by for s in self.sources.contributors or self.sources.incident.slice_repair}))

    @property
    def name(self) -> str:
        """``family/world``."""
        return self.recipe.name

    def digest(self) -> str:
        """Return the content id of everything that the world was built from."""
        return content_id([self.dataset_digest, self.model.digest, self.world_seed, self.name])

    def pool(self, relevance: Relevance) -> Pool:
        """Return the pool of this relevance, from the cache or built now."""
        return build_pool(
            self.model,
            self.recipe,
            self.sources,
            relevance,
            self.world_seed,
            self.settings.pools,
            listener=self.listener,
        )

    def incident(self, sizes: SuiteSizes, seed: int) -> FailureSuite:
        """Return the incident that ``seed`` draws.

        Raises:
            EmptySliceError: too few failures for ``sizes``.
        """
        suite = build_suite(
            self.model,
            self.sources.incident,
            sizes,
            label_shift=self.recipe.label_shift,
            domain=self.recipe.domain,
            description=self.recipe.domain,
            seed=seed,
            disjoint_by=self.recipe.disjoint_by,
        )
        return replace(suite, task=replace(suite.task, description=self.pattern(suite).description))

    def pattern(self, suite: FailureSuite) -> FailurePattern:
        """Return the failure pattern that a monitor would report: from ``repair`` alone.

        Nothing that the gate or the judge reads reaches the search text.
        """
        given = suite.task.repair
        records = failure_records(
            given,
            self.model.predict([s.text for s in given]).outputs,
            model_id=self.model.model_id,
            model_revision=self.model.digest,
            task_type=self.model.task_type,
        )
        return find_patterns(records, background=[s.text for s in suite.task.replay])[0]


def build_world(
    name: str,
    *,
    world_seed: int = 0,
    contributor_size: int | None = None,
    base_per_label: int | None = None,
    settings: Settings | None = None,
    listener: Listener | None = None,
) -> World:
    """Return a world, its base from the cache or trained now.

    Args:
        name: ``family/world``, or ``family``.
        world_seed: redraws base and population.
        contributor_size: 32, 128 or 512 training samples a contributor; None keeps the world's default.
        base_per_label: training samples of the base for each label, at most; None keeps the world's default.
        settings: state folder, device, threads; None loads them.
        listener: told about progress.

    Raises:
        UnknownDatasetError: no such world.
        ConfigError: ``base_per_label`` for a world of generation.
        NetworkUnavailableError: the dataset or the encoder must be downloaded and no network answers.
        EmptySliceError: the dataset has no such slice.
    """
    settings = settings or load_settings().settings
    use_threads(settings.num_threads)
    recipe = scenario_recipe(name, contributor_size=contributor_size, base_per_label=base_per_label)
    family = scenario_family(name)
    dataset = family.load(recipe)
    sources = divide(dataset, recipe, world_seed)
    model = family.build_base(recipe, sources, world_seed, settings, listener)
    return World(recipe, world_seed, model, sources, settings, dataset.digest, dataset.origin, listener)
