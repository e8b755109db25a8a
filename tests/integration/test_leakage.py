"""Nothing that is judged was trained on: every world, every seed, every role."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from symbio_lab.errors import LeakageError, ModelUnresolvedError, NetworkUnavailableError
from symbio_lab.evaluation.suites import FailureSuite, SuiteSizes, build_suite
from symbio_lab.failures.clinc_domains import CLINC_DOMAINS
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset
from symbio_lab.failures.locating import data_root
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Sample
from symbio_lab.scenarios.catalogue import scenario_family, scenario_names, scenario_recipe
from symbio_lab.scenarios.population import plan_contributors
from symbio_lab.scenarios.recipe import RELEVANCES, WorldRecipe
from symbio_lab.scenarios.sources import WorldSources, divide
from tests.integration.tiny_world import FAMILIES


class AlwaysWrong:
    """A model that fails on everything, so that the largest suite is drawn."""

    task_type = "text_classification"
    labels = ()

    def predict(self, texts: Any) -> Predictions:
        return Predictions(("",) * len(texts), (0.0,) * len(texts), 0)

    def is_correct(self, output: str, expected: str) -> bool:
        return output == expected


def suite_of(sources: WorldSources, recipe: WorldRecipe, seed: int, n_repair: int = 64) -> FailureSuite:
    model: Any = AlwaysWrong()
    return build_suite(
        model,
        sources.incident,
        SuiteSizes(n_repair=n_repair),
        label_shift="new",
        domain=recipe.domain,
        description=recipe.domain,
        seed=seed,
        disjoint_by=recipe.disjoint_by,
    )


def parts_of(suite: FailureSuite) -> dict[str, tuple[Sample, ...]]:
    task, judge = suite.task, suite.judge
    return {
        "repair": task.repair,
        "selection": task.selection,
        "replay": task.replay,
        "control_selection": task.control_selection,
        "slice_holdout": judge.slice_holdout,
        "control_holdout": judge.control_holdout,
        "out_of_scope": judge.out_of_scope,
    }


def assert_disjoint(parts: dict[str, tuple[Sample, ...]]) -> None:
    for (one, first), (other, second) in combinations(parts.items(), 2):
        assert not {s.group for s in first} & {s.group for s in second}, f"{one} and {other} share a group"
        assert not {s.text for s in first} & {s.text for s in second}, f"{one} and {other} share a text"


def assert_world_is_clean(dataset: FailureDataset, recipe: Any, n_repair: int) -> None:
    sources = divide(dataset, recipe, world_seed=0)
    for seed in (0, 1):
        suite = suite_of(sources, recipe, seed, n_repair)
        parts = parts_of(suite)
        assert all(parts[name] for name in ("repair", "selection", "replay", "control_selection", "slice_holdout"))
        assert_disjoint(parts)
        judged = {name: parts[name] for name in ("selection", "control_selection", "slice_holdout", "control_holdout")}
        roles = {"probe": sources.relevance_probe, "probe_control": sources.probe_control}
        assert_disjoint({**judged, **roles, "repair": parts["repair"]})
        assert_disjoint({**judged, "trained": (*sources.base_train, *sources.contributors)})
        for relevance in RELEVANCES:
            planned = plan_contributors(recipe, sources, relevance, 0)
            assert_disjoint({**judged, "contributed": tuple(s for c in planned for s in c.samples)})
    assert not [s for s in sources.base_train if s.domain == recipe.domain]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_split_of_a_tiny_world_overlaps(name: str) -> None:
    recipe = FAMILIES[name].recipe(name)
    assert_world_is_clean(FAMILIES[name].load(recipe), recipe, 24)


def test_no_split_of_the_helpdesk_overlaps() -> None:
    assert_world_is_clean(load_dataset("helpdesk"), scenario_recipe("helpdesk"), 64)


@pytest.fixture(scope="module")
def clinc150() -> FailureDataset:
    root = data_root()
    if root is None or not (root / "clinc150").is_dir():
        pytest.skip("CLINC150 NOT CHECKED: its files are not on this machine (set SYMBIO_LAB_DATA)")
    return load_dataset("clinc150")


@pytest.mark.parametrize("domain", CLINC_DOMAINS)
def test_no_split_of_any_clinc150_domain_overlaps(clinc150: FailureDataset, domain: str) -> None:
    assert_world_is_clean(clinc150, scenario_recipe(f"clinc150/{domain}"), 64)


STORED = ("banking77", "sentence_polarity", "hint3", "multidogo", "hatemoji")


@pytest.mark.parametrize("name", [name for name in scenario_names() if name.split("/")[0] in STORED])
def test_no_split_of_a_stored_world_overlaps(name: str) -> None:
    root = data_root()
    if root is None or not (root / name.split("/")[0]).is_dir():
        pytest.skip(f"{name} NOT CHECKED: its files are not on this machine (set SYMBIO_LAB_DATA)")
    recipe = scenario_recipe(name)
    try:
        dataset = scenario_family(name).load(recipe)
    except (ModelUnresolvedError, NetworkUnavailableError) as error:
        pytest.skip(f"{name} NOT CHECKED: {error}")
    assert_world_is_clean(dataset, recipe, 16)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_leak_planted_in_the_sources_raises(name: str) -> None:
    recipe = FAMILIES[name].recipe(name)
    sources = divide(FAMILIES[name].load(recipe), recipe, world_seed=0)
    stolen = sources.incident.slice_judge
    leaky = type(sources.incident)(
        slice_repair=(*sources.incident.slice_repair, *stolen),
        slice_judge=stolen,
        replay=sources.incident.replay,
        control=sources.incident.control,
    )
    with pytest.raises(LeakageError, match="share"):
        suite_of(replace(sources, incident=leaky), recipe, seed=0, n_repair=48)
