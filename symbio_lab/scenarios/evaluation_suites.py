"""What an honest evaluation reads of a world: splits on which nobody heals and by which nobody judges.

Which splits:
    1. A scenario's world keeps a share of the slice and of the traffic outside it as its *relevance probe*
       (``WorldSources.relevance_probe`` and ``probe_control``). Its groups are in no training data, in no incident and
       in no judge's hold-out, whatever the seed. An evaluation reads exactly these two: publishing its result tells a
       healer nothing about the samples that he is gated or judged on. The same scenario and world seed give the same
       suite digest to everybody, and no model is needed to know it.
    2. A world of a user's own table has no probe. An evaluation reads the side of the slice that is given to healers
       (``slice_repair``, all of it: what the model gets right as well) and the share of the other traffic that is
       replay, never control: a comparison on the same table and slice judges by the other side and by control traffic.
       Both may be trained on by whoever heals on this table, so the evaluation is about patches that others made.
       Another slice divides the table anew: whoever compares on several slices evaluates on another table.

So no honest evaluation is a ``leaky_evaluation`` here. At most ``MOST_SAMPLES`` of a split are read, drawn by the seed.

Example::

    suite = scenario_suite("clinc150/travel")          # data alone, no model
    suite == world_suite(build_world("clinc150/travel"))
"""

from __future__ import annotations

from symbio_lab.advice.claims import EvaluationSuite
from symbio_lab.errors import EmptySliceError
from symbio_lab.records import Sample
from symbio_lab.scenarios.catalogue import scenario_family, scenario_recipe
from symbio_lab.scenarios.sources import WorldSources, divide
from symbio_lab.scenarios.world import World
from symbio_lab.seeding import shuffled

MOST_SAMPLES = 2000
"""Samples of a split that an evaluation reads, at most."""


def scenario_suite(name: str, *, world_seed: int = 0, seed: int = 0) -> EvaluationSuite:
    """Return the suite of a scenario, from its data alone.

    Args:
        name: ``family/world``, or ``family``.
        world_seed: divides the data; another one is another suite.
        seed: draws the samples where there are more than are read.

    Raises:
        UnknownDatasetError: no such world.
        EmptySliceError: the world keeps no relevance probe.
        NetworkUnavailableError: the dataset must be downloaded and no network answers.
    """
    recipe = scenario_recipe(name)
    sources = divide(scenario_family(name).load(recipe), recipe, world_seed)
    return _suite(_title(name, world_seed), sources, seed)


def world_suite(world: World, *, seed: int = 0) -> EvaluationSuite:
    """Return the suite of a built world: a scenario's, or one of a user's own table.

    Args:
        world: as ``build_world`` or ``own_worlds`` returns it.
        seed: draws the samples where there are more than are read.

    Raises:
        EmptySliceError: there is nothing to read.
    """
    return _suite(_title(world.name, world.world_seed), world.sources, seed)


def _title(name: str, world_seed: int) -> str:
    return name if world_seed == 0 else f"{name}, world seed {world_seed}"


def _suite(name: str, sources: WorldSources, seed: int) -> EvaluationSuite:
    of_slice, control = sources.relevance_probe, sources.probe_control
    notes = ("Read: the relevance probe, which no healer and no judge reads.",)
    if not of_slice and not control:
        of_slice, control = sources.incident.slice_repair, sources.incident.replay
        notes = ("Read: the healers' side of the slice, and replay outside it; no judge reads them.",)
    if not of_slice or not control:
        raise EmptySliceError(f"{name} holds nothing that an evaluation could read inside or outside the slice")
    taken, others = _drawn(of_slice, seed), _drawn(control, seed)
    was_drawn = len(taken) < len(of_slice) or len(others) < len(control)
    return EvaluationSuite(name, taken, others, (seed,) if was_drawn else (), notes)


def _drawn(samples: tuple[Sample, ...], seed: int) -> tuple[Sample, ...]:
    if len(samples) <= MOST_SAMPLES:
        return samples
    # Sorted first: the draw depends on the samples, not on how they were read.
    ordered = sorted(samples, key=lambda sample: sample.sample_id)
    return tuple(shuffled(ordered, seed, "evaluation suite")[:MOST_SAMPLES])
