"""What every family of worlds promises, for both task types; and that a family that breaks a promise is found out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from symbio_lab.config import Settings
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.testing import TinyModels, check_world_family
from tests.integration import tiny_world


@pytest.fixture(scope="module", autouse=True)
def _installed(tiny: TinyModels) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny_world.install(patch, tiny.folder("encoder"))
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return tiny_world.settings(tmp_path_factory.mktemp("worlds"))


@pytest.fixture(scope="module", params=tiny_world.FAMILIES)
def family(request: pytest.FixtureRequest) -> WorldFamily:
    return tiny_world.FAMILIES[request.param]


def changed(family: WorldFamily, **recipe: Any) -> WorldFamily:
    (given,) = family.recipes.values()
    return replace(family, recipes={family.name: replace(given, **recipe)})


def edited(family: WorldFamily, edit: Any) -> WorldFamily:
    """Return the family with every sample edited as it is loaded."""

    def load(recipe: Any) -> FailureDataset:
        dataset = family.load(recipe)
        samples: dict[str, list[Sample]] = {}
        for sample in dataset.all_samples():
            samples.setdefault(sample.source, []).append(edit(sample))
        return FailureDataset.of(family.name, dataset.task_type, samples, licence="CC0-1.0", origin="generated")

    return replace(family, load=load)


def test_the_contract_is_kept(family: WorldFamily, settings: Settings) -> None:
    check_world_family(family, settings)


def test_a_family_without_worlds_is_found_out(family: WorldFamily, settings: Settings) -> None:
    with pytest.raises(AssertionError, match="no world"):
        check_world_family(replace(family, recipes={}), settings)


def test_a_world_of_another_name_is_found_out(family: WorldFamily, settings: Settings) -> None:
    with pytest.raises(AssertionError, match="not of family"):
        check_world_family(replace(family, name="other"), settings)
    with pytest.raises(AssertionError, match="is called 'stray'"):
        check_world_family(changed(family, name="stray"), settings)


def test_a_size_that_no_pool_has_is_found_out(family: WorldFamily, settings: Settings) -> None:
    with pytest.raises(AssertionError, match="contributor_size"):
        check_world_family(changed(family, contributor_size=33), settings)


def test_a_text_in_two_roles_is_found_out(family: WorldFamily, settings: Settings) -> None:
    (recipe,) = family.recipes.values()
    first = family.load(recipe).all_samples()[0]

    def repeat(sample: Sample) -> Sample:
        # Another group, so that dividing by group does not see that the text is there already.
        inside = sample.domain == recipe.domain and sample.text.endswith(("1", "now"))
        return replace(sample, text=first.text) if inside else sample

    with pytest.raises(AssertionError, match="share"):
        check_world_family(edited(changed(family, disjoint_by="group"), repeat), settings)


def test_label_shift_must_say_what_the_base_lacks(family: WorldFamily, settings: Settings) -> None:
    (recipe,) = family.recipes.values()
    other = "known" if recipe.label_shift == "new" else "new"
    with pytest.raises(AssertionError, match="label_shift"):
        check_world_family(changed(family, label_shift=other), settings)


def test_data_that_differ_each_time_are_found_out(family: WorldFamily, settings: Settings) -> None:
    loads = iter(range(100))

    def load(recipe: Any) -> FailureDataset:
        number = next(loads)
        return edited(family, lambda s: replace(s, text=f"{s.text} {number}")).load(recipe)

    with pytest.raises(AssertionError, match="other data"):
        check_world_family(replace(family, load=load), settings)


def test_a_base_that_does_not_fail_on_the_slice_is_found_out(family: WorldFamily, settings: Settings) -> None:
    trained = family.build_base

    def knows_the_slice_only(recipe: Any, sources: Any, seed: int, settings: Settings, listener: Any) -> Any:
        return trained(recipe, replace(sources, base_train=sources.contributors), seed, settings, listener)

    with pytest.raises(AssertionError, match="of the slice and"):
        check_world_family(replace(family, build_base=knows_the_slice_only), settings)


def test_a_base_that_differs_each_time_is_found_out(family: WorldFamily, settings: Settings) -> None:
    trained, builds = family.build_base, iter((0, 3))

    def drifts(recipe: Any, sources: Any, seed: int, settings: Settings, listener: Any) -> Any:
        some = sources.base_train[next(builds) :]
        return trained(recipe, replace(sources, base_train=some), seed, settings, listener)

    with pytest.raises(AssertionError, match="other weights"):
        check_world_family(replace(family, build_base=drifts), settings)
