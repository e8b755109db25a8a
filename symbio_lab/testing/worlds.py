"""The contract of worlds: roles that never overlap, a base that fails on the slice, incidents that a seed repeats."""

from __future__ import annotations

from itertools import combinations

from symbio_lab.config import Settings
from symbio_lab.evaluation.suites import SuiteSizes, failures_of
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.population import plan_contributors
from symbio_lab.scenarios.recipe import CONTRIBUTOR_SIZES, RELEVANCES, WorldRecipe
from symbio_lab.scenarios.sources import WorldSources, divide
from symbio_lab.scenarios.world import World


def roles(sources: WorldSources) -> dict[str, tuple[Sample, ...]]:
    """Return the samples of every role that must not overlap with another."""
    return {
        "base_train": sources.base_train,
        "contributors": sources.contributors,
        "relevance_probe": sources.relevance_probe,
        "probe_control": sources.probe_control,
        "repair": sources.incident.slice_repair,
        "judge": sources.incident.slice_judge,
        "control": sources.incident.control,
        "out_of_scope": sources.incident.out_of_scope,
    }


def check_roles(recipe: WorldRecipe, sources: WorldSources) -> None:
    """Assert that no text, and no group where groups are kept, is in two roles, and that every role has samples."""
    parts = roles(sources)
    for first, second in combinations(parts, 2):
        texts = {s.text for s in parts[first]} & {s.text for s in parts[second]}
        assert not texts, f"{first} and {second} share {len(texts)} text(s), e.g. {min(texts)!r}"
        if recipe.disjoint_by == "group":
            groups = {s.group for s in parts[first]} & {s.group for s in parts[second]}
            assert not groups, f"{first} and {second} share {len(groups)} group(s), e.g. {min(groups)!r}"
    for name, part in parts.items():
        assert part or name == "out_of_scope", f"no sample is left for {name}"
    assert {s.domain for s in sources.contributors} == {recipe.domain}, "contributors know another slice"


def check_population(recipe: WorldRecipe, sources: WorldSources) -> None:
    """Assert that contributors differ in what they know, as the relevance says."""
    for relevance in RELEVANCES:
        planned = plan_contributors(recipe, sources, relevance, 0)
        known = [len(c.facets) for c in planned]
        assert all(c.samples for c in planned), f"{relevance}: a contributor without samples"
        assert (max(known) > 0) == (relevance != "low"), f"{relevance}: contributors know {known} facets"
        assert known == sorted(known, reverse=True), f"{relevance}: not in order of coverage"


def check_failing(recipe: WorldRecipe, model: PatchableModel, sources: WorldSources) -> None:
    """Assert that the base serves the task, fails more inside the slice than outside, and lacks what it should."""
    assert model.task_type == recipe.task_type, "the base serves another task"
    rates = []
    for part in (sources.incident.slice_judge, sources.incident.control):
        rates.append(len(failures_of(model, part)) / len(part))
    assert rates[0] > rates[1], f"wrong on {rates[0]:.0%} of the slice and {rates[1]:.0%} of other traffic"
    if model.task_type == "text_classification":
        lacking = {s.expected for s in sources.incident.slice_judge} - set(model.labels)
        assert bool(lacking) == (recipe.label_shift == "new"), "label_shift does not say what the base lacks"
    else:
        assert recipe.label_shift == "known", "a generator has no label rows: label_shift must be 'known'"


def check_incidents(world: World, n_repair: int) -> None:
    """Assert that a seed repeats its incident and another draws another."""
    sizes = SuiteSizes(n_repair=n_repair)
    one, again, other = (world.incident(sizes, seed) for seed in (0, 0, 1))
    assert one == again, "the same seed drew another incident"
    assert one.task.repair != other.task.repair, "another seed drew the same incident"
    assert one.task.num_failures == n_repair, f"{one.task.num_failures} failures instead of {n_repair}"
    for sample in (*one.task.repair, *one.task.selection):
        (output,) = world.model.predict([sample.text]).outputs
        assert not world.model.is_correct(output, sample.expected), "a repair sample is no failure"


def check_world_family(family: WorldFamily, settings: Settings, *, n_repair: int = 16) -> None:
    """Run every check on every world of a family; builds each base.

    Args:
        family: the worlds.
        settings: state folder, device, threads.
        n_repair: failures of an incident.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    assert family.recipes, "the family has no world"
    for name, recipe in family.recipes.items():
        assert name == recipe.name, f"{name!r} is called {recipe.name!r} by its recipe"
        assert name == family.name or name.startswith(f"{family.name}/"), f"{name!r} is not of family {family.name!r}"
        assert recipe.contributor_size in CONTRIBUTOR_SIZES, f"contributor_size must be one of {CONTRIBUTOR_SIZES}"
        dataset = family.load(recipe)
        assert dataset.digest == family.load(recipe).digest, "loading twice gave other data"
        sources = divide(dataset, recipe, 0)
        assert sources == divide(dataset, recipe, 0), "dividing twice gave other roles"
        check_roles(recipe, sources)
        check_population(recipe, sources)
        model, again = (family.build_base(recipe, sources, 0, settings, None) for _ in range(2))
        assert model.digest == again.digest, "building the base twice gave other weights"
        check_failing(recipe, model, sources)
        world = World(recipe, 0, model, sources, settings, dataset.digest, dataset.origin)
        check_incidents(world, n_repair)
