"""Run a comparison cell by cell; every finished cell is kept, a killed run resumes.

Layout of the output folder::

    plan.json                 what was asked for
    cells/<key>/cell.json     row, attempts, examples of one cell (written last)
    results.parquet           one row a cell
    summary.json              figures by strategy over the seeds
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from symbio_lab import __version__
from symbio_lab.budget import Budget
from symbio_lab.codec import read_json, to_plain, write_atomic, write_json
from symbio_lab.comparison.judge import Judge, Judged
from symbio_lab.comparison.market import Market, market_of_pool
from symbio_lab.comparison.plan import REFERENCE_ARMS, ComparisonPlan
from symbio_lab.comparison.reference_arms import donor_suite, oracle_best
from symbio_lab.comparison.rows import result_row
from symbio_lab.comparison.sharing import SharedResults, reads_market
from symbio_lab.comparison.summary import summarize
from symbio_lab.config import Settings
from symbio_lab.deployment.gate import gate_policy
from symbio_lab.errors import HealingCancelledError
from symbio_lab.evaluation.suites import FailureSuite, SuiteSizes
from symbio_lab.events import CellFinished, CellStarted, Event, Listener, emit
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.pipeline import Contributing, heal
from symbio_lab.records import HealingOutcome
from symbio_lab.scenarios.population import EXPIRES, ISSUED, scenario_key
from symbio_lab.scenarios.world import World, build_world

NUM_EXAMPLES = 12
"""Held-out failures kept with their answers before and after, for the report."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finished comparison."""

    out: Path
    rows: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]


def compare(
    plan: ComparisonPlan,
    out: Path,
    *,
    settings: Settings | None = None,
    listener: Listener | None = None,
    world: World | None = None,
    market: Market | None = None,
    shared: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Comparison:
    """Run every cell of ``plan`` that is missing in ``out`` and return all rows.

    Args:
        plan: what to run.
        out: output folder; cells already there under equal keys are kept.
        settings: state folder, device, threads; None loads them.
        listener: told about every step.
        world: the world to run on; None builds the plan's scenario.
        market: what marketplace arms may search; None takes the scenario's pool.
        shared: folder of results that other comparisons share; None shares nothing.
        should_stop: asked before each cell and at every charge in it; True ends the comparison, finished cells stay.

    Raises:
        HealingCancelledError: ``should_stop`` said so.
        ConfigError: the plan is wrong; all problems at once.
        UnknownDatasetError: no such scenario.
        EmptySliceError: too few failures for ``n_repair``.
        StorageError: ``out`` or the state folder cannot be written; finished cells stay.
    """
    plan.check()
    if world is None:
        world = world_of(plan, settings=settings, listener=listener)
    pool = market or market_of_pool(world.pool(plan.pool))  # type: ignore[arg-type]
    write_json(out / "plan.json", asdict(plan))
    write_json(out / "world.json", _world_info(world, pool))
    embed = SentenceEmbedder()
    common = SharedResults(shared) if shared is not None else None
    judges: dict[int, tuple[FailureSuite, Judge]] = {}
    details = []
    cells = plan.cells()
    for number, (strategy, seed) in enumerate(cells, start=1):
        folder = out / "cells" / plan.cell_key(strategy, seed, world.digest(), pool.key)
        if not (folder / "cell.json").is_file():
            if should_stop is not None and should_stop():
                raise HealingCancelledError(f"stopped before {strategy}, seed {seed}")
            emit(listener, CellStarted(strategy, seed, number, len(cells)))
            if seed not in judges:
                sizes = SuiteSizes(n_repair=plan.n_repair, n_replay=plan.n_replay, n_control_selection=plan.n_control)
                suite = world.incident(sizes, seed)
                judges[seed] = (suite, Judge(world.model, suite.judge, pool.backdoor, common))
            own = not reads_market(strategy)

            def run(work: Path, arm: str = strategy, draw: int = seed, alone: bool = own) -> dict[str, Any]:
                suite, judge = judges[draw]
                return _run_cell(
                    plan,
                    world,
                    pool,
                    suite,
                    judge,
                    arm,
                    draw,
                    work,
                    embed,
                    listener,
                    alone=alone,
                    should_stop=should_stop,
                )

            try:
                if common is not None and own:
                    cell = common.cell(plan, strategy, seed, world.digest(), pool, run)
                else:
                    cell = run(folder)
            except BaseException:
                # Stopped or failed: no half of a cell stays.
                shutil.rmtree(folder, ignore_errors=True)
                raise
            write_json(folder / "cell.json", cell)
        details.append(read_json(folder / "cell.json"))
        row = details[-1]["row"]
        emit(listener, CellFinished(strategy, seed, str(row["status"]), number, len(cells)))
    rows = tuple(detail["row"] for detail in details)
    write_rows(out / "results.parquet", rows)
    summary = summarize(plan, rows, _world_info(world, pool))
    write_json(out / "summary.json", summary)
    return Comparison(out, rows, summary)


def world_of(plan: ComparisonPlan, *, settings: Settings | None = None, listener: Listener | None = None) -> World:
    """Return the world of the catalogue that a plan names.

    Raises:
        UnknownDatasetError: no such scenario; a user's own data cannot be built again from their name.
        SymbioError: as ``build_world``.
    """
    return build_world(
        plan.scenario,
        world_seed=plan.world_seed,
        contributor_size=plan.contributor_size,
        base_per_label=plan.base_per_label,
        settings=settings,
        listener=listener,
    )


def write_rows(path: Path, rows: tuple[Mapping[str, Any], ...]) -> None:
    """Write result rows as Parquet, atomically; columns that are empty in all rows keep type float64."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    arrays = {
        name: pyarrow.array(values, type=pyarrow.float64() if all(v is None for v in values) else None)
        for name, values in columns.items()
    }
    table = pyarrow.table(arrays)
    write_atomic(path, lambda temporary: pyarrow.parquet.write_table(table, temporary))


def _world_info(world: World, pool: Market) -> dict[str, Any]:
    sources = world.sources
    return {
        "name": world.name,
        "domain": world.recipe.domain,
        "label_shift": world.recipe.label_shift,
        "dataset": world.recipe.dataset,
        "dataset_origin": world.dataset_origin,
        "dataset_digest": world.dataset_digest,
        "base_digest": world.model.digest,
        "num_base_labels": len(world.model.labels),
        "facts": dict(world.facts),
        "num_base_train": len(sources.base_train),
        "task_type": world.recipe.task_type,
        "disjoint_by": world.recipe.disjoint_by,
        "notes": world.recipe.notes,
        "num_slice_labels": len(world.facets),
        "slice_labels": list(world.facets),
        "pool_digest": pool.digest,
        "pool": to_plain(pool.info),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Return the versions that the figures were made with."""
    found = {"python": platform.python_version(), "symbio-lab": __version__}
    for name in ("torch", "transformers", "peft", "numpy"):
        found[name] = metadata.version(name).split("+")[0]
    return found


def _run_cell(
    plan: ComparisonPlan,
    world: World,
    pool: Market,
    suite: FailureSuite,
    judge: Judge,
    strategy: str,
    seed: int,
    folder: Path,
    embed: SentenceEmbedder,
    listener: Listener | None,
    *,
    alone: bool = False,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    store = folder / "store"
    # What an arm declares not to read, it does not get.
    market, overlay = (None, None) if alone else pool.view(folder / "overlay", store, embed)
    events: list[dict[str, Any]] = []

    def record(event: Event) -> None:
        events.append({**event.to_json(), "at_wall_s": time.perf_counter() - started})
        emit(listener, event)

    # Every arm starts without cached activations: the first one must not pay for the others.
    world.model.forget()
    started = time.perf_counter()
    before = world.model.weights_digest()
    outcome: HealingOutcome
    used = suite
    if strategy == "oracle_best" and market is not None:
        outcome = oracle_best(world.model, market, judge)
    else:
        if strategy in REFERENCE_ARMS:
            used = donor_suite(world, pool, suite)
        key = scenario_key(world.recipe, world.world_seed, "healer", strategy, seed)
        healed = heal(
            world.model,
            used.task,
            store=store,
            strategy="surgery_only" if strategy in REFERENCE_ARMS else strategy,
            market=market,
            budget=Budget(forwards_equivalent=plan.budget_forwards or world.recipe.budget_forwards),
            gate=gate_policy(plan.gate),
            seed=seed,
            max_marketplace_patches=plan.max_marketplace_patches,
            lora=world.recipe.lora,
            contributing=Contributing(overlay, key, "healer", f"{strategy.replace('_', '-')}-{seed}", screened=False)
            if strategy == "marketplace_first" and overlay is not None
            else None,
            listener=record,
            key=key,
            issued=ISSUED,
            expires=EXPIRES,
            should_stop=should_stop,
        )
        outcome = healed.outcome
    proposed, deployed = judge.judge(outcome.proposed), judge.judge(outcome.deployed)
    row = result_row(plan, world, pool, suite, seed, outcome, proposed, deployed)
    row |= {"strategy": strategy, "base_unchanged": world.model.weights_digest() == before}
    keep = {p.digest for p in (outcome.proposed, outcome.deployed) if p is not None}
    for path in store.iterdir() if store.is_dir() else ():
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
    return {
        "schema": 1,
        "row": row,
        "pattern": suite.task.description,
        "attempts": [to_plain(a) for a in outcome.attempts],
        "phases": to_plain(outcome.cost)["phases"],
        "examples": _examples(suite, proposed),
        "events": events,
    }


def _examples(suite: FailureSuite, judged: Judged) -> list[dict[str, str]]:
    """Return some judged inputs of the slice with their answers before and after."""
    outcomes = judged.on_slice
    answers = zip(outcomes.before, outcomes.after, outcomes.right_before, outcomes.right_after, strict=True)
    return [
        {
            "text": sample.text,
            "expected": sample.expected,
            "before": before,
            "after": after,
            "was_right": "yes" if was_right else "no",
            "is_right": "yes" if is_right else "no",
        }
        for sample, (before, after, was_right, is_right) in list(zip(suite.judge.slice_holdout, answers, strict=True))[
            :NUM_EXAMPLES
        ]
    ]
