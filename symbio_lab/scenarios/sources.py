"""Dividing a dataset into what the base learns, what contributors know, and what incidents are drawn from.

Rules:
    1. Groups are the unit: near-duplicates of a text stay on its side.
    2. A group that touches the slice belongs to the slice; it leaves base training, replay and control.
    3. Control groups never occur in base training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from symbio_lab.errors import EmptySliceError
from symbio_lab.evaluation.suites import SuiteSources
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.grouping import with_groups
from symbio_lab.failures.splitting import check_disjoint, split_groups
from symbio_lab.records import Sample
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.seeding import derive_seed, shuffled


@dataclass(frozen=True, slots=True)
class WorldSources:
    """All samples of a world by role; groups are disjoint between roles, but for base training and replay."""

    base_train: tuple[Sample, ...]
    contributors: tuple[Sample, ...]
    """Slice samples that contributors train on."""
    relevance_probe: tuple[Sample, ...]
    """Slice samples that measure a pool's relevance; no arm reads them."""
    probe_control: tuple[Sample, ...]
    """Control samples that measure a pool's relevance; no arm reads them."""
    incident: SuiteSources
    """What incidents are drawn from."""


def _without_groups(samples: Iterable[Sample], *others: Iterable[Sample]) -> tuple[Sample, ...]:
    taken = {s.group for other in others for s in other}
    return tuple(s for s in samples if s.group not in taken)


def _first_of_text(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Drop repeated texts, keeping the first."""
    seen: dict[str, Sample] = {}
    for sample in samples:
        seen.setdefault(sample.text, sample)
    return tuple(seen.values())


def _few_of_each(samples: Iterable[Sample], most: int, seed: int) -> tuple[Sample, ...]:
    """Return at most ``most`` samples of each label, drawn at random, in their old order."""
    samples = tuple(samples)
    taken: Counter[str] = Counter()
    kept: set[int] = set()
    for number in shuffled(range(len(samples)), seed, "base_per_label"):
        label = samples[number].expected
        if taken[label] < most:
            taken[label] += 1
            kept.add(number)
    return tuple(sample for number, sample in enumerate(samples) if number in kept)


def divide(dataset: FailureDataset, recipe: WorldRecipe, world_seed: int) -> WorldSources:
    """Return the world's samples by role.

    Raises:
        EmptySliceError: the dataset has no such domain.
        LeakageError: two roles share a group (never, unless a dataset's own groups are broken).
    """
    samples = dataset.all_samples()
    if recipe.group_by_text:
        samples = with_groups(samples)
    scoped = [s for s in samples if s.source not in recipe.out_of_scope_sources and s.domain]
    slice_samples = _first_of_text(s for s in scoped if s.domain == recipe.domain)
    if not slice_samples:
        raise EmptySliceError(
            f"dataset {dataset.name!r} has no domain {recipe.domain!r}", hint=f"domains: {', '.join(dataset.domains)}"
        )
    other = [s for s in scoped if s.domain != recipe.domain]
    train = _without_groups(_first_of_text(s for s in other if s.source in recipe.train_sources), slice_samples)
    control = _without_groups(
        _first_of_text(s for s in other if s.source in recipe.control_sources), slice_samples, train
    )
    oos = _without_groups(
        _first_of_text(s for s in samples if s.source in recipe.out_of_scope_sources), slice_samples, train, control
    )
    seed = derive_seed(world_seed, recipe.name, "divide")
    if recipe.held_out_share:
        may_leave = [s for s in train if s.source not in recipe.kept_sources]
        parts = split_groups(may_leave, {"train": 1 - recipe.held_out_share, "held_out": recipe.held_out_share}, seed)
        gone = {s.group for s in parts["held_out"]}
        train, control = tuple(s for s in train if s.group not in gone), (*control, *parts["held_out"])
    if recipe.base_per_label is not None:
        train = _few_of_each(train, recipe.base_per_label, seed)
    parts = split_groups(slice_samples, dict(recipe.slice_shares), seed)
    share = recipe.probe_control_share
    controls = split_groups(control, {"control": 1 - share, "probe": share}, seed)
    replay = tuple(shuffled(train, seed, "replay")[: recipe.n_replay_pool])
    incident = SuiteSources(
        slice_repair=parts["repair"],
        slice_judge=parts["judge"],
        replay=replay,
        control=controls["control"],
        out_of_scope=oos,
    )
    check_disjoint(
        {**parts, "base_train": train, "control": controls["control"], "probe_control": controls["probe"], "oos": oos},
        by=recipe.disjoint_by,
    )
    return WorldSources(train, parts["contributors"], parts["relevance_probe"], controls["probe"], incident)
