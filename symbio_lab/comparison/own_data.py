"""Strategies on a user's own model and data: one comparison for each slice.

Example::

    from symbio_lab.comparison.own_data import OwnData, compare_own_data

    done = compare_own_data("my/model", OwnData("traffic.csv", slice="topic=returns"), Path("runs/own"))
    print(done.comparisons["topic=returns"].summary["best_deployed"])
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from symbio_lab.codec import write_json
from symbio_lab.comparison.compare import Comparison, compare, write_rows
from symbio_lab.comparison.market import NO_MARKET, Market, market_at
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings, load_settings
from symbio_lab.deployment.gate import gate_policy
from symbio_lab.events import Listener
from symbio_lab.models.loading import load_model, use_threads
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.scenarios.own_data import OwnData as OwnData
from symbio_lab.scenarios.own_data import own_worlds


@dataclass(frozen=True, slots=True)
class OwnComparison:
    """A finished comparison on a user's own data."""

    out: Path
    comparisons: Mapping[str, Comparison]
    """Slice -> its comparison."""
    left_out: tuple[str, ...]
    """Patterns that were too small, with the reason."""
    accuracy: float
    """Of the model on all rows, in [0, 1]."""
    num_rows: int
    market: str
    """Address of the market, or ``none``."""


def compare_own_data(
    model: str | Path | PatchableModel,
    own: OwnData,
    out: Path,
    *,
    plan: ComparisonPlan | None = None,
    market: Market = NO_MARKET,
    task: str | None = None,
    settings: Settings | None = None,
    listener: Listener | None = None,
) -> OwnComparison:
    """Run ``plan`` on every slice of a user's data; what is finished in ``out`` is kept.

    Args:
        model: Hub id or folder of a sequence classifier or causal language model, or a loaded one.
        own: the data and how to read them.
        out: output folder. With ``own.slice`` it holds the one comparison; without, a folder for each pattern, and
            ``results.parquet`` and ``summary.json`` over all.
        plan: strategies, seeds, sizes, gate, budget; scenario and pool are filled in. None takes the defaults.
        market: what marketplace arms may search; without one they find nothing and say so.
        task: ``text_classification`` or ``text_generation``; None reads it from the model's configuration.
        settings: state folder, device, threads; None loads them.
        listener: told about every step.

    Raises:
        ConfigError: the plan is wrong; all problems at once.
        ModelUnresolvedError: there is no such model, or without safetensors weights.
        WrongTaskError: the model serves another task.
        DataError: the data cannot be used; EmptySliceError: too few failures or controls.
        StorageError: ``out`` cannot be written; finished cells stay.
    """
    settings = settings or load_settings().settings
    use_threads(settings.num_threads)
    references = ("oracle_best",) if market.transport is not None else ()
    asked = replace(
        plan or ComparisonPlan(""),
        scenario="own",
        pool=market.name,
        own_data=True,
        contributor_size=None,
        world_seed=0,
        reference_arms=references,
    )
    asked.check()
    if isinstance(model, str | Path):
        model = load_model(model, task=task, device=settings.device, dtype=settings.dtype)
    gate = gate_policy(asked.gate)
    found = own_worlds(model, own, settings, n_repair=asked.n_repair, min_controls=gate.min_controls, listener=listener)
    done: dict[str, Comparison] = {}
    for world in found.worlds:
        name = world.recipe.domain
        folder = out if own.slice else out / slug(name)
        of_slice = replace(asked, scenario=world.name)
        done[name] = compare(of_slice, folder, settings=settings, listener=listener, world=world, market=market)
    result = OwnComparison(out, done, found.left_out, found.accuracy, found.num_rows, market.name)
    if not own.slice:
        write_rows(out / "results.parquet", tuple(row for c in done.values() for row in c.rows))
        write_json(out / "summary.json", overview(result))
    return result


def market_or_none(uri: str | None, settings: Settings | None = None) -> Market:
    """Return the market at an address, judged by our own key and those enrolled, as of now; empty means none.

    Raises:
        ConfigError: the address is not supported.
        NotFoundError: there is no such folder.
    """
    if not uri:
        return NO_MARKET
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return market_at(uri, settings or load_settings().settings, now=now)


def overview(result: OwnComparison) -> dict[str, object]:
    """Return what ``summary.json`` holds over several slices."""
    return {
        "schema": 1,
        "accuracy": result.accuracy,
        "num_rows": result.num_rows,
        "market": result.market,
        "slices": {name: {"folder": slug(name), **c.summary} for name, c in result.comparisons.items()},
        "left_out": list(result.left_out),
    }


def slug(name: str) -> str:
    """Return a name as a folder name that is legal everywhere.

    >>> slug("requests of 'lost card'")
    'requests-of-lost-card'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "slice"
