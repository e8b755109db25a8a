"""Building a pool once: train the population, publish it, add the attackers, measure its realised relevance.

A pool is a directory market plus ``pool.json``. Every contributor is published as it is trained, so a build that was
killed goes on where it stopped; ``pool.json`` is written last and marks the pool as whole.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from symbio_lab.codec import read_json, write_json
from symbio_lab.errors import EmptySliceError
from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
from symbio_lab.evaluation.metrics.net_gain import net_gain_pp
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.models.operated import randomized, tensors_of
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Patch, content_id
from symbio_lab.scenarios.attackers import ATTACKERS, ENROLLED, Backdoor, attacker_key, publish_attackers
from symbio_lab.scenarios.population import (
    NOW,
    Contributor,
    plan_contributors,
    scenario_key,
    seal_contribution,
    train_contributor,
)
from symbio_lab.scenarios.recipe import FORMAT, Relevance, WorldRecipe, check_pool, scenario_settings
from symbio_lab.scenarios.sources import WorldSources
from symbio_lab.seeding import derive_seed
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import verify_patch


@dataclass(frozen=True, slots=True)
class Pool:
    """A built marketplace of one world."""

    relevance: Relevance
    path: Path
    """Folder of the market."""
    policy: TrustPolicy
    """Enrols every key but the unknown one."""
    digest: str
    """Snapshot digest: names the pool's state."""
    info: Mapping[str, Any]
    """Contents of ``pool.json``."""

    @property
    def transport(self) -> DirectoryTransport:
        """The market, to be read only."""
        return DirectoryTransport(self.path)

    @property
    def backdoor(self) -> Backdoor:
        """What the backdoored patch was trained to do."""
        return Backdoor(**self.info["backdoor"])

    @property
    def best_contributor(self) -> str:
        """Reference of the honest patch with the highest gain on the relevance probe."""
        return best_contributor(self.info)


def best_contributor(info: Mapping[str, Any]) -> str:
    """Return the reference of the honest patch with the highest gain on the relevance probe."""
    return str(max(info["contributors"], key=lambda c: (c["probe_net_gain_pp"], c["ref"]))["ref"])


def build_pool(
    model: PatchableModel,
    recipe: WorldRecipe,
    sources: WorldSources,
    relevance: Relevance,
    world_seed: int,
    pools: Path,
    *,
    listener: Listener | None = None,
) -> Pool:
    """Return the pool of this relevance, building what is missing.

    Raises:
        ConfigError: unknown relevance or contributor size.
        StorageError: the cache cannot be written.
    """
    check_pool(relevance, recipe.contributor_size)
    data = [[[s.sample_id, s.group, s.facet] for s in part] for part in (sources.contributors, sources.relevance_probe)]
    key = content_id([FORMAT, scenario_settings(recipe), relevance, world_seed, model.digest, data])[:16]
    folder = pools / f"{recipe.name.replace('/', '-')}-{relevance}-{key}"
    market = DirectoryTransport(folder / "market")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / "pool.json").is_file():
            donors = None
            if relevance == "null":
                donors = build_pool(model, recipe, sources, "high", world_seed, pools, listener=listener)
            started = time.perf_counter()
            info = _build(model, recipe, sources, relevance, world_seed, folder, market, donors, listener)
            write_json(folder / "pool.json", {**info, "build_wall_s": time.perf_counter() - started})
    info = read_json(folder / "pool.json")
    policy = scenario_policy(recipe, relevance, world_seed)
    return Pool(relevance, folder / "market", policy, snapshot_digest(market), info)


def scenario_policy(recipe: WorldRecipe, relevance: Relevance, world_seed: int) -> TrustPolicy:
    """Return the tenant's policy: every contributor and every attacker with an enrolled key."""
    names = [f"contributor-{n:02d}" for n in range(12)]
    keys = {name: scenario_key(recipe, world_seed, name) for name in names}
    keys |= {name: attacker_key(recipe, world_seed, name) for name in ENROLLED}
    return policy_for(PublisherKey(key.public_hex, name, known=True) for name, key in keys.items())


def _build(
    model: PatchableModel,
    recipe: WorldRecipe,
    sources: WorldSources,
    relevance: Relevance,
    world_seed: int,
    folder: Path,
    market: DirectoryTransport,
    donors: Pool | None,
    listener: Listener | None,
) -> dict[str, Any]:
    planned = plan_contributors(recipe, sources, relevance, world_seed)
    store, policy = folder / "store", scenario_policy(recipe, relevance, world_seed)
    total = len(planned) + len(ATTACKERS) + 1
    replay = sources.base_train
    costs: dict[str, Mapping[str, float]] = {}
    for contributor in planned:
        ref, note = f"{contributor.namespace}/patch", folder / "costs" / f"{contributor.namespace}.json"
        if ref not in market.list_refs():
            key = scenario_key(recipe, world_seed, contributor.namespace)
            if donors is not None:
                donor = _verified(donors.transport, ref, donors.policy, store)
                operated = randomized(tensors_of(donor), derive_seed(world_seed, "null", contributor.number))
                spent = {"forwards_equivalent": 0.0, "cpu_s": 0.0, "num_labels": 0}
            else:
                seed = derive_seed(world_seed, recipe.name, relevance, "train", contributor.number)
                operated, cost = train_contributor(model, contributor, replay, seed=seed)
                spent = {
                    "forwards_equivalent": cost.total("forwards_equivalent"),
                    "cpu_s": cost.total("cpu_s"),
                    "num_labels": len(contributor.samples),
                }
            write_json(note, spent)
            patch = seal_contribution(model, operated, contributor, recipe, key, store)
            market.publish(patch.root, ref)
        costs[ref] = read_json(note)
        emit(listener, BuildProgress(f"pool {recipe.name} {relevance}", contributor.number + 1, total))
    honest = planned[0]
    best = _verified(market, f"{honest.namespace}/patch", policy, store)
    backdoor = publish_attackers(model, recipe, honest, best, replay, market, store, world_seed)
    emit(listener, BuildProgress(f"pool {recipe.name} {relevance}", total - 1, total))
    rows = _measure_relevance(model, sources, planned, market, policy, store, costs)
    emit(listener, BuildProgress(f"pool {recipe.name} {relevance}", total, total))
    return {
        "schema": 1,
        "world": recipe.name,
        "world_seed": world_seed,
        "relevance": relevance,
        "contributor_size": recipe.contributor_size,
        "base_digest": model.digest,
        "backdoor": asdict(backdoor),
        "contributors": rows,
        "realised_relevance_pp": max(row["probe_net_gain_pp"] for row in rows),
        "realised_fix_rate": max(row["probe_fix_rate"] for row in rows),
        "n_probe": len(sources.relevance_probe),
        "n_probe_control": len(sources.probe_control),
    }


def _verified(market: DirectoryTransport, ref: str, policy: TrustPolicy, store: Path) -> Patch:
    namespace, name = ref.split("/")
    version = max(market.list_versions(ref))
    folder = market.path / "patches" / namespace / name / f"v{version}"
    return verify_patch(folder, policy, TrustedState(), now=NOW, store=store, expect_ref=ref)


def contributor_patch(pool: Pool, ref: str, store: Path) -> Patch:
    """Return one patch of a pool, verified under the pool's policy.

    Raises:
        TrustError: the pool was damaged on disk.
    """
    return _verified(pool.transport, ref, pool.policy, store)


def _measure_relevance(
    model: PatchableModel,
    sources: WorldSources,
    planned: Sequence[Contributor],
    market: DirectoryTransport,
    policy: TrustPolicy,
    store: Path,
    costs: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Return one row a contributor: what it covers, what its patch gains on the probe, what it cost."""
    if not sources.relevance_probe or not sources.probe_control:
        raise EmptySliceError("the world has no relevance probe")
    base = BasePredictions(model)
    rows = []
    for contributor in planned:
        ref = f"{contributor.namespace}/patch"
        patch = _verified(market, ref, policy, store)
        on_slice = run_outcomes(model, patch, sources.relevance_probe, base)
        on_control = run_outcomes(model, patch, sources.probe_control, base)
        _, _, fixed, unfixed = on_slice.counts()
        rows.append(
            {
                "ref": ref,
                "topic": contributor.topic,
                "coverage": contributor.coverage,
                "num_facets_known": len(contributor.facets),
                "num_samples": len(contributor.samples),
                "rank": contributor.settings.rank,
                "targets": contributor.settings.targets,
                "top_layers": contributor.settings.top_layers,
                "probe_fix_rate": fixed / max(fixed + unfixed, 1),
                "probe_net_gain_pp": net_gain_pp(on_slice, on_control).value,
                **{f"train_{k}": v for k, v in costs[ref].items()},
            }
        )
    return rows
