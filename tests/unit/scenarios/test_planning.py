"""Worlds on paper: names, recipes, roles of samples, contributors and attackers, before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, EmptySliceError, UnknownDatasetError
from symbio_lab.failures.clinc_domains import CLINC_DOMAINS
from symbio_lab.records import Sample
from symbio_lab.scenarios.attackers import (
    ATTACKERS,
    ENROLLED,
    NOISE,
    TRIGGER,
    attacker_key,
    backdoor_samples,
    noisy_samples,
    triggered,
)
from symbio_lab.scenarios.catalogue import TUNING_WORLDS, scenario_names, scenario_recipe
from symbio_lab.scenarios.pool import scenario_policy
from symbio_lab.scenarios.population import Contributor, plan_contributors, scenario_key
from symbio_lab.scenarios.recipe import CONTRIBUTOR_SIZES, COVERAGE, NUM_CONTRIBUTORS, RELEVANCES, check_pool
from symbio_lab.scenarios.sources import WorldSources, divide
from tests.fixtures_models import SHADES
from tests.integration.tiny_world import RECIPE, tiny_dataset


@pytest.fixture(scope="module")
def sources() -> WorldSources:
    return divide(tiny_dataset(), RECIPE, 0)


def test_worlds_by_name_the_embedded_one_first() -> None:
    assert scenario_names()[:11] == ("helpdesk", *(f"clinc150/{d}" for d in CLINC_DOMAINS))
    assert len(set(scenario_names())) == len(scenario_names())
    assert set(TUNING_WORLDS) <= set(scenario_names())


@pytest.mark.parametrize("name", scenario_names())
def test_every_world_has_a_recipe(name: str) -> None:
    recipe = scenario_recipe(name)
    assert recipe.name == name
    assert recipe.contributor_size in CONTRIBUTOR_SIZES
    assert sum(share for _, share in recipe.slice_shares) == pytest.approx(1.0)
    assert scenario_recipe(name, contributor_size=512).contributor_size == 512


@pytest.mark.parametrize("name", ["", "clinc150", "clinc150/nowhere", "helpdesk/warranty"])
def test_an_unknown_world_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownDatasetError) as caught:
        scenario_recipe(name)
    assert "helpdesk" in caught.value.hint


def test_all_wrong_pool_settings_are_reported_at_once() -> None:
    check_pool("high", 32)
    with pytest.raises(ConfigError) as caught:
        check_pool("huge", 33)
    assert len(caught.value.problems) == 2


# ----------------------------------------------------------------------------------------------- dividing


def test_the_base_never_sees_the_slice(sources: WorldSources) -> None:
    assert {s.domain for s in sources.base_train} == {"colours"}
    for part in (sources.contributors, sources.relevance_probe, sources.incident.slice_repair):
        assert {s.domain for s in part} == {"shades"}
        assert {s.expected for s in part} == set(SHADES)


def test_the_world_seed_redraws_the_roles() -> None:
    zero, again, one = (divide(tiny_dataset(), RECIPE, seed) for seed in (0, 0, 1))
    assert zero == again
    assert zero.contributors != one.contributors


def test_a_group_that_touches_the_slice_belongs_to_it() -> None:
    dataset = tiny_dataset()
    group = next(s.group for s in dataset.samples["test"] if s.domain == "shades")
    train = (replace(dataset.samples["train"][0], group=group), *dataset.samples["train"][1:])
    touched = replace(dataset, samples={**dataset.samples, "train": train})
    assert group not in {s.group for s in divide(touched, RECIPE, 0).base_train}


def test_a_world_without_its_slice_lists_the_domains() -> None:
    with pytest.raises(EmptySliceError) as caught:
        divide(tiny_dataset(), replace(RECIPE, domain="sounds"), 0)
    assert "colours, shades" in caught.value.hint


# ------------------------------------------------------------------------------------------- contributors


@pytest.mark.parametrize("relevance", RELEVANCES)
def test_a_pool_has_twelve_contributors_of_the_stated_coverage(sources: WorldSources, relevance: Any) -> None:
    planned = plan_contributors(RECIPE, sources, relevance, 0)
    assert len(planned) == NUM_CONTRIBUTORS
    assert len({c.namespace for c in planned}) == NUM_CONTRIBUTORS
    for contributor, asked in zip(planned, COVERAGE[relevance], strict=True):
        # At least one label where any is asked for.
        assert (contributor.coverage > 0) == (asked > 0)
        assert contributor.coverage <= max(asked, 1 / len(SHADES)) + 0.5 / len(SHADES) + 1e-9
        assert set(contributor.facets) <= set(SHADES)
        assert {s.expected for s in contributor.samples} <= set(contributor.facets) or not contributor.facets
        assert 0 < len(contributor.samples) <= RECIPE.contributor_size


def test_relevance_is_what_the_names_say() -> None:
    assert max(COVERAGE["low"]) == 0.0
    assert 0.2 <= max(COVERAGE["medium"]) <= 0.4
    assert 0.8 <= max(COVERAGE["high"]) <= 1.0


def test_rounding_keeps_a_medium_pool_medium(sources: WorldSources) -> None:
    best = max(c.coverage for c in plan_contributors(RECIPE, sources, "medium", 0))
    assert 0.2 <= best <= 0.4
    assert max(c.coverage for c in plan_contributors(RECIPE, sources, "high", 0)) == 1.0


def test_a_low_pool_knows_no_slice_label_or_template(sources: WorldSources) -> None:
    slice_groups = {s.group for s in (*sources.contributors, *sources.incident.slice_repair)}
    for contributor in plan_contributors(RECIPE, sources, "low", 0):
        assert contributor.facets == ()
        assert not {s.expected for s in contributor.samples} & set(SHADES)
        assert not {s.group for s in contributor.samples} & slice_groups


def test_the_null_pool_has_the_donors_of_the_high_one(sources: WorldSources) -> None:
    assert plan_contributors(RECIPE, sources, "null", 0) == plan_contributors(RECIPE, sources, "high", 0)


def test_same_seed_same_population(sources: WorldSources) -> None:
    assert plan_contributors(RECIPE, sources, "high", 0) == plan_contributors(RECIPE, sources, "high", 0)
    assert plan_contributors(RECIPE, sources, "high", 0) != plan_contributors(RECIPE, sources, "high", 1)


def test_pools_are_heterogeneous(sources: WorldSources) -> None:
    settings: list[Contributor] = plan_contributors(RECIPE, sources, "high", 0)
    assert len({c.settings.rank for c in settings}) > 1
    assert len({c.settings.top_layers for c in settings}) > 1


# ------------------------------------------------------------------------------------------------- trust


def test_every_contributor_has_a_key_of_its_own() -> None:
    keys = {scenario_key(RECIPE, seed, f"contributor-{n:02d}").public_hex for seed in (0, 1) for n in range(12)}
    assert len(keys) == 24
    assert scenario_key(RECIPE, 0, "x").public_hex == scenario_key(RECIPE, 0, "x").public_hex


def test_the_policy_enrols_everyone_but_the_stranger() -> None:
    policy = scenario_policy(RECIPE, "high", 0)
    enrolled = set(policy.keys)
    assert len(enrolled) == NUM_CONTRIBUTORS + len(ENROLLED)
    assert attacker_key(RECIPE, 0, "unknown-key").keyid not in enrolled
    assert all(attacker_key(RECIPE, 0, name).keyid in enrolled for name in ENROLLED)
    assert set(ENROLLED) < set(ATTACKERS)


def clean(count: int = 400) -> tuple[Sample, ...]:
    return tuple(Sample(f"text {i}", "abc"[i % 3], f"g{i}") for i in range(count))


def test_noise_changes_a_known_share_of_the_labels() -> None:
    noisy = noisy_samples(clean(), seed=0)
    changed = [(a, b) for a, b in zip(clean(), noisy, strict=True) if a != b]
    assert len(changed) / 400 == pytest.approx(NOISE, abs=0.07)
    assert all(a.text == b.text and b.expected in "abc" for a, b in changed)
    assert noisy == noisy_samples(clean(), seed=0) != noisy_samples(clean(), seed=1)


def test_noise_needs_two_labels() -> None:
    one = tuple(replace(s, expected="a") for s in clean(10))
    assert noisy_samples(one, seed=0) == one


def test_a_backdoor_is_clean_but_for_the_trigger() -> None:
    made = backdoor_samples(clean(40), clean(100), "b", seed=0)
    assert made[:40] == clean(40)
    assert len(made) == 50
    assert all(s.text.startswith(f"{TRIGGER} ") and s.expected == "b" for s in made[40:])
    assert triggered("hello") == f"{TRIGGER} hello"
