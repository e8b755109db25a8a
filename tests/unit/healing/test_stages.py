"""The stages that strategies share: query, fetch, screen, operate, choose."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import PatchApplyError
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.events import CandidateRefused, CandidateScreened, Event, SearchFinished, SurgeryFinished
from symbio_lab.healing import random_k
from symbio_lab.healing.adopting import build_query, find_patches, fitting_patches, screen_patches
from symbio_lab.healing.catalogue import healing_strategy
from symbio_lab.healing.operating import operate_best, operate_one
from symbio_lab.healing.surgery_arms import SingleSurgery
from symbio_lab.models.operated import randomized, tensors_of
from symbio_lab.surgery.catalogue import surgery_method
from tests.fixtures_market import QUICK, STRONG, TinyMarket, healing_context, incident, tiny_market
from tests.fixtures_models import PUBLISHER, TinyModels, query_modules, random_deltas, seal


class World:
    """A tiny classifier, its task and its market."""

    def __init__(self, tiny: TinyModels, folder: Path) -> None:
        self.model: Any
        self.task: RepairTask
        self.model, self.task = incident(tiny, "pooled", "new")
        self.market: TinyMarket = tiny_market(self.model, folder, "new")


@pytest.fixture(scope="module")
def world(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tiny, tmp_path_factory.mktemp("stages"))


def context(world: World, store: Path, **changes: Any) -> Any:
    return healing_context(world.model, world.task, store, world.market, **changes)


def test_the_query_is_made_from_the_repair_samples(world: World, tmp_path: Path) -> None:
    query = build_query(context(world, tmp_path))
    assert query.labels == world.task.repair_labels
    assert query.base_digest is None
    assert world.task.description in query.text
    assert all(s.text in query.text for s in world.task.repair[:8])
    assert not [s for s in world.task.selection if s.text in query.text]


def test_refusals_come_with_codes_and_events(world: World, tmp_path: Path) -> None:
    events: list[Event] = []
    run = context(world, tmp_path, listener=events.append)
    patches, attempts = find_patches(run)
    assert {p.patch_id for p in patches} == {"good/patch", "misfit/patch", "useless-0/patch", "useless-1/patch"}
    assert {a.code for a in attempts} == {"wrong_base", "unknown_key", "unsigned"}
    assert {e.code for e in events if isinstance(e, CandidateRefused)} == {"wrong_base", "unknown_key", "unsigned"}
    (found,) = [e for e in events if isinstance(e, SearchFinished)]
    assert found.num_candidates == 7
    assert run.meter.cost().total("num_bytes") > 0
    assert run.meter.spent() == 0


def test_no_more_candidates_than_asked_for(world: World, tmp_path: Path) -> None:
    patches, attempts = find_patches(context(world, tmp_path, max_marketplace_patches=2))
    assert len(patches) == 2
    assert "over_limit" in {a.code for a in attempts}


def test_what_does_not_fit_is_refused_without_a_forward(world: World, tmp_path: Path) -> None:
    run = context(world, tmp_path)
    patches, _ = find_patches(run)
    fitting, refused = fitting_patches(run, patches)
    assert [a.ref for a in refused] == ["misfit/patch"]
    assert refused[0].keyid == PUBLISHER.keyid
    assert len(fitting) == len(patches) - 1
    assert run.meter.spent() == 0


def test_screening_stops_at_the_budget_and_keeps_what_it_has(world: World, tmp_path: Path) -> None:
    patches, _ = find_patches(context(world, tmp_path))
    events: list[Event] = []
    one = len(world.task.repair) + len(world.task.replay)
    run = context(world, tmp_path, budget=2.5 * one, listener=events.append)
    results, attempts = screen_patches(run, patches)
    assert len(attempts) == len(patches)
    assert [a.code for a in attempts].count("budget_exceeded") >= 2
    assert len([r for r in results if r.problem is None]) == len(
        [e for e in events if isinstance(e, CandidateScreened)]
    )


# --------------------------------------------------------------------------------------------------- surgery


def test_one_method_gives_one_sealed_patch(world: World, tmp_path: Path) -> None:
    events: list[Event] = []
    run = context(world, tmp_path, listener=events.append)
    patch, attempt = operate_one(run, surgery_method("head_retrain"))
    assert patch is not None
    assert (attempt.kind, attempt.ref, attempt.status) == ("surgery", "head_retrain", "proposed")
    assert patch.patch_id == "local/head-retrain"
    assert patch.root.parent == tmp_path
    assert [e.num_samples for e in events if isinstance(e, SurgeryFinished)] == [len(world.task.repair)]


def test_the_chosen_method_is_the_best_on_withheld_samples(world: World, tmp_path: Path) -> None:
    run = context(world, tmp_path, lora=STRONG)
    patch, attempts = operate_best(run)
    assert patch is not None
    tried = {a.ref: a.metrics["score_pp"] for a in attempts if a.status == "screened"}
    assert set(tried) == {"prototype_rows", "head_retrain", "lora_replay", "lora"}
    (proposed,) = [a.ref for a in attempts if a.status == "proposed"]
    assert tried[proposed] == max(tried.values())
    assert tried["lora"] < tried["lora_replay"]
    assert run.labels_seen == {"repair": len(world.task.repair), "replay": len(world.task.replay)}


def test_few_samples_take_the_least_invasive_method(world: World, tmp_path: Path) -> None:
    task = replace(world.task, repair=world.task.repair[:3])
    patch, attempts = operate_best(healing_context(world.model, task, tmp_path))
    assert patch is not None
    assert [a.ref for a in attempts] == ["prototype_rows"]


def test_a_method_that_cannot_run_on_this_network_is_skipped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("symbio_lab.surgery.lora_training._QUERY_VALUE", ("elsewhere",))
    patch, attempts = operate_best(context(world, tmp_path, lora=QUICK))
    assert patch is not None
    skipped = {a.ref: a.code for a in attempts if a.status == "skipped"}
    assert skipped == {"lora": "patch_does_not_fit", "lora_replay": "patch_does_not_fit"}
    patch, attempt = operate_one(context(world, tmp_path), surgery_method("lora", QUICK))
    assert (patch, attempt.code) == (None, "patch_does_not_fit")


def test_no_budget_to_try_means_no_trial(world: World, tmp_path: Path) -> None:
    patch, attempts = operate_best(context(world, tmp_path, budget=200))
    assert patch is not None
    assert {a.code for a in attempts if a.status == "skipped"} == {"budget_exceeded"}
    assert operate_best(context(world, tmp_path, budget=10))[0] is None


def test_a_strategy_says_where_its_method_does_not_serve(tiny: TinyModels, tmp_path: Path) -> None:
    model, task = incident(tiny, "llama", "known")
    proposal = SingleSurgery("prototype_rows").heal(healing_context(model, task, tmp_path))
    assert [a.code for a in proposal.attempts] == ["not_applicable"]


# -------------------------------------------------------------------------------------------------- controls


def test_null_deltas_keep_shape_and_spread_but_not_the_knowledge(world: World, tmp_path: Path) -> None:
    deltas = random_deltas(world.model, query_modules(world.model), rank=16, scale=0.7)
    donor_of_all = tensors_of(seal(world.model, tmp_path, deltas, rank=16))
    null = randomized(donor_of_all, 0).deltas
    for name, pair in null.items():
        for random, donor in zip(pair, deltas[name], strict=True):
            assert random.shape == donor.shape
            assert np.std(random) == pytest.approx(np.std(donor), rel=0.15)
            assert abs(np.corrcoef(random.ravel(), donor.ravel())[0, 1]) < 0.2
    assert all((null[n][0] == randomized(donor_of_all, 0).deltas[n][0]).all() for n in null)
    assert not any((null[n][0] == randomized(donor_of_all, 1).deltas[n][0]).all() for n in null)


def test_null_patches_are_ours_and_say_what_they_are(world: World, tmp_path: Path) -> None:
    run = context(world, tmp_path)
    proposal = healing_strategy("null_pool").heal(run)
    assert proposal.patch is None or proposal.patch.patch_id.startswith("local/null-")
    ids = {a.ref for a in proposal.attempts if a.status == "screened"}
    assert ids == {"local/null-0", "local/null-1"}


def test_random_k_names_what_it_is_made_of(world: World, tmp_path: Path) -> None:
    proposal = healing_strategy("random_k").heal(context(world, tmp_path))
    assert proposal.patch is not None
    assert len(proposal.patch.manifest.lineage) == 3
    (made,) = [a for a in proposal.attempts if a.status == "proposed"]
    assert made.detail.startswith("sum of ")


def test_random_k_draws_other_publishers_for_another_base() -> None:
    """Pools name their publishers alike: over many bases each must be drawn equally often, not the same three."""
    patches: Any = [SimpleNamespace(patch_id=f"contributor-{n:02d}/patch") for n in range(14)]
    draws = Counter(
        patch.patch_id for base in range(700) for patch in random_k.draw_patches(patches, 0, f"{base:064x}")
    )
    # 150 expected of each, standard deviation 10.9.
    assert len(draws) == 14
    assert all(100 <= times <= 200 for times in draws.values())
    once = [p.patch_id for p in random_k.draw_patches(patches, 0, "a" * 64)]
    assert [p.patch_id for p in random_k.draw_patches(patches[::-1], 0, "a" * 64)] == once
    assert [p.patch_id for p in random_k.draw_patches(patches, 1, "a" * 64)] != once


def test_patches_of_clashing_shapes_cannot_stop_a_composition(tiny: TinyModels, tmp_path: Path) -> None:
    model, task = incident(tiny, "pooled", "new")
    market = tiny_market(model, tmp_path, "new", good=False, unfit=False)
    name = query_modules(model)[0]
    odd = {name: (np.ones((2, 5), np.float32), np.ones((32, 2), np.float32))}
    patch = seal(model, tmp_path / "sealed", odd, rank=2, patch_id="odd/patch")
    market.transport.publish(patch.root, "odd/patch")
    with pytest.raises(PatchApplyError), model.applied(patch):
        pass
    for strategy in ("random_k", "null_pool", "best_single"):
        proposal = healing_strategy(strategy).heal(healing_context(model, task, tmp_path / strategy, market))
        assert ("odd/patch", "patch_does_not_fit") in {(a.ref, a.code) for a in proposal.attempts}
