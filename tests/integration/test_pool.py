"""A built pool: whole, verifiable, of the relevance it states, with its attackers refused or reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.errors import TrustError
from symbio_lab.evaluation.suites import failures_of
from symbio_lab.events import BuildProgress, Event
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.models.operated import tensors_of
from symbio_lab.records import SearchQuery
from symbio_lab.scenarios.attackers import ATTACKERS
from symbio_lab.scenarios.pool import Pool, contributor_patch
from symbio_lab.scenarios.population import NOW
from symbio_lab.scenarios.recipe import NUM_CONTRIBUTORS
from symbio_lab.scenarios.world import World, build_world
from tests.fixtures_models import KNOWN
from tests.integration import tiny_world
from tests.integration.tiny_world import BuiltWorld

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def world(built_world: BuiltWorld) -> World:
    return build_world(built_world.name, settings=tiny_world.settings(built_world.home))


@pytest.fixture
def pool(world: World) -> Pool:
    return world.pool("high")


def test_a_base_is_built_once_and_lacks_the_slice(world: World, built_world: BuiltWorld) -> None:
    classifies = world.recipe.task_type == "text_classification"
    assert world.model.labels == (tuple(sorted(KNOWN)) if classifies else ())
    judged = world.sources.incident
    assert len(failures_of(world.model, judged.slice_judge)) == len(judged.slice_judge)
    assert len(failures_of(world.model, judged.control)) < 0.05 * len(judged.control)
    (folder,) = (built_world.home / "bases").glob(f"{world.name}-*")
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    again = build_world(world.name, settings=tiny_world.settings(built_world.home))
    assert again.model.digest == world.model.digest
    assert again.digest() == world.digest()
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_every_contributor_and_attacker_is_there(pool: Pool) -> None:
    refs = pool.transport.list_refs()
    assert len(refs) == NUM_CONTRIBUTORS + len(ATTACKERS)
    assert {f"{name}/patch" for name in ATTACKERS} <= set(refs)


def test_the_realised_relevance_is_the_best_contributor_s_gain(pool: Pool) -> None:
    gains = {row["ref"]: row["probe_net_gain_pp"] for row in pool.info["contributors"]}
    assert pool.info["realised_relevance_pp"] == max(gains.values()) > 5.0
    assert gains[pool.best_contributor] == max(gains.values())
    covered = [row["coverage"] for row in pool.info["contributors"]]
    assert covered == sorted(covered, reverse=True)


def test_attackers_are_refused_with_their_codes_or_pass_on_purpose(world: World, pool: Pool, tmp_path: Path) -> None:
    client = MarketplaceClient([pool.transport], pool.policy, tmp_path, NOW)
    codes = {}
    for candidate in client.search(SearchQuery(world.recipe.task_type, world.recipe.domain, max_results=100)):
        patch, attempt = client.fetch(candidate, base_digest=world.model.digest)
        codes[candidate.ref.split("/")[0]] = "" if patch is not None else attempt.code
    assert {name: codes[name] for name in ATTACKERS} == {
        "tampered": "digest_mismatch",
        "unsigned": "unsigned",
        "unknown-key": "unknown_key",
        "wrong-base": "wrong_base",
        "noisy": "",
        "backdoor": "",
    }
    assert all(codes[f"contributor-{n:02d}"] == "" for n in range(NUM_CONTRIBUTORS))


def test_the_pool_s_own_patches_are_verified_when_read(pool: Pool, tmp_path: Path) -> None:
    assert contributor_patch(pool, pool.best_contributor, tmp_path).patch_id == pool.best_contributor
    with pytest.raises(TrustError):
        contributor_patch(pool, "tampered/patch", tmp_path)


def test_the_null_pool_keeps_rows_and_labels_and_loses_the_deltas(world: World, pool: Pool, tmp_path: Path) -> None:
    events: list[Event] = []
    null = build_world(world.name, settings=world.settings, listener=events.append).pool("null")
    assert null.digest != pool.digest
    assert [e for e in events if isinstance(e, BuildProgress)]
    for number in (0, 5, 11):
        ref = f"contributor-{number:02d}/patch"
        donor, random = (contributor_patch(p, ref, tmp_path) for p in (pool, null))
        assert donor.manifest.labels == random.manifest.labels
        assert donor.manifest.adapter == random.manifest.adapter
        of_donor, of_random = tensors_of(donor), tensors_of(random)
        assert (of_donor.rows is None) == (of_random.rows is None)
        if of_donor.rows is not None and of_random.rows is not None:
            assert (of_donor.rows.weight == of_random.rows.weight).all()
        for module, (a, _) in of_donor.deltas.items():
            assert not (a == of_random.deltas[module][0]).all()


def test_a_pool_is_read_again_without_building(world: World, pool: Pool) -> None:
    events: list[Event] = []
    again = build_world(world.name, settings=world.settings, listener=events.append).pool("high")
    assert again.digest == pool.digest
    assert not [e for e in events if isinstance(e, BuildProgress)]
