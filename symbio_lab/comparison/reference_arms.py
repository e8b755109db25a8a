"""Reference rows that read what no healer may.

``oracle_best`` takes the pool's best patch by the judged splits themselves: the ceiling of any selection rule.
``surgery_donor_data`` gives ``surgery_only`` the data of the best contributor in place of its own repair samples:
what the knowledge in the pool is worth to a surgeon.
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.comparison.judge import Judge
from symbio_lab.comparison.market import Market
from symbio_lab.errors import ModelError
from symbio_lab.evaluation.suites import FailureSuite
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Attempt, HealingOutcome, Patch, Sample, SearchQuery
from symbio_lab.scenarios.pool import best_contributor
from symbio_lab.scenarios.population import plan_contributors
from symbio_lab.scenarios.world import World


def oracle_best(model: PatchableModel, market: MarketplaceClient, judge: Judge) -> HealingOutcome:
    """Return the verified patch with the highest judged net gain, or nothing when none gains."""
    meter = CostMeter(Budget(forwards_equivalent=0))
    attempts: list[Attempt] = []
    bounded: list[tuple[float, str, Patch]] = []
    query = SearchQuery(model.task_type, "any", base_digest=model.digest, max_results=1000)
    for candidate in market.search(query):
        patch, attempt = market.fetch(candidate, base_digest=model.digest, task_type=model.task_type)
        if patch is None:
            attempts.append(attempt)
            continue
        try:
            bounded.append((judge.net_gain_bound(patch), patch.patch_id, patch))
        except ModelError as error:
            attempts.append(Attempt("control", patch.patch_id, "refused", error.code, str(error)))
    best: Patch | None = None
    best_gain = 0.0
    # Best bound first: a candidate whose bound lies below the best gain cannot win, so it is not judged in full.
    for bound, name, patch in sorted(bounded, key=lambda item: (-item[0], item[1])):
        if bound <= best_gain:
            attempts.append(Attempt("control", name, "skipped", "cannot_win", "", "", {"net_gain_bound_pp": bound}))
            continue
        value = judge.net_gain(patch)
        attempts.append(Attempt("control", name, "screened", "", "judged", "", {"net_gain_pp": value}))
        if value > best_gain:
            best, best_gain = patch, value
    return HealingOutcome(
        strategy="oracle_best",
        family="control",
        status="hindsight" if best else "no_patch_found",
        proposed=best,
        deployed=best,
        route="marketplace" if best else "none",
        attempts=tuple(attempts),
        cost=meter.cost(),
    )


def donor_suite(world: World, pool: Market, suite: FailureSuite) -> FailureSuite:
    """Return the incident with the best contributor's data as repair samples; its gate's samples stay."""
    namespace = best_contributor(pool.info).split("/")[0]
    planned = plan_contributors(world.recipe, world.sources, pool.name, world.world_seed)  # type: ignore[arg-type]
    donor = next(c for c in planned if c.namespace == namespace)
    samples: tuple[Sample, ...] = donor.samples
    return replace(suite, task=replace(suite.task, repair=samples))
