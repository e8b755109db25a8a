"""Strategies on a user's own model and data: one comparison for each slice.

Example::

    from symbio_lab.comparison.own_data import OwnData, compare_own_data

    done = compare_own_data("my/model", OwnData("traffic.csv", slice="topic=returns"), Path("runs/own"))
    print(done.comparisons["topic=returns"].summary["best_deployed"])
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from symbio_lab.codec import write_json
from symbio_lab.comparison.compare import Comparison, compare, write_rows
from symbio_lab.comparison.market import NO_MARKET, Market, market_at
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings, load_settings
from symbio_lab.deployment.gate import gate_policy
from symbio_lab.errors import ConfigError
from symbio_lab.events import Listener
from symbio_lab.models.generator import TextGenerator
from symbio_lab.models.loading import load_model, use_threads
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import TASK_TYPES, content_id
from symbio_lab.scenarios.own_data import PREFIX, own_worlds
from symbio_lab.scenarios.own_tables import OwnData as OwnData
from symbio_lab.scenarios.own_tables import OwnTables, read_own
from symbio_lab.store.observed_time import utc_now

MAX_ANSWER_TOKENS = 256
"""Longest answer that a generator is let write, however long the gold outputs are."""
SPARE_TOKENS = 8
"""A model may spell a gold output in a few more tokens than its tokenizer would."""
ORACLE = "oracle_best"
"""The one reference arm that a market of unknown contributors allows."""


@dataclass(frozen=True, slots=True)
class OwnComparison:
    """A finished comparison on a user's own data."""

    out: Path
    comparisons: Mapping[str, Comparison]
    """Slice -> its comparison."""
    left_out: tuple[str, ...]
    """Patterns that were not compared, with the reason."""
    accuracy: float
    """Of the model on all rows kept, in [0, 1]."""
    num_rows: int
    market: str
    """Address of the market, or ``none``."""
    notes: tuple[str, ...] = ()
    """What was merged, renamed or left out, in sentences."""


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
    should_stop: Callable[[], bool] | None = None,
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
        should_stop: asked before each cell and at every charge in it; True ends the comparison, finished cells stay.

    Raises:
        HealingCancelledError: ``should_stop`` said so.
        ConfigError: the plan or the settings of the data are wrong; all problems at once.
        DataError: the data cannot be used; EmptySliceError: too few failures or controls.
        ModelUnresolvedError: there is no such model, or without safetensors weights.
        WrongTaskError: the model serves another task.
        UnknownLabelsError: the gold labels are not the model's, or it is unclear which is meant.
        StorageError: ``out`` cannot be written; finished cells stay.
    """
    settings = settings or load_settings().settings
    asked = own_plan(plan or ComparisonPlan(""), market)
    if problems := own_problems(asked, own, market, task):
        raise ConfigError(problems)
    use_threads(settings.num_threads)
    # Tables before the model: a wrong column should not wait for gigabytes of weights.
    tables = read_own(own)
    if isinstance(model, str | Path):
        model = load_model(model, task=task, device=settings.device, dtype=settings.dtype)
        if isinstance(model, TextGenerator):
            model.max_new_tokens = _answer_tokens(model, tables)
    found = own_worlds(
        model,
        tables,
        settings,
        n_repair=asked.n_repair,
        min_controls=gate_policy(asked.gate).min_controls,
        task=task,
        listener=listener,
    )
    folders = folder_names(world.name.removeprefix(PREFIX) for world in found.worlds)
    done: dict[str, Comparison] = {}
    for world in found.worlds:
        name = world.name.removeprefix(PREFIX)
        folder = out if own.slice else out / folders[name]
        of_slice = replace(asked, scenario=world.name)
        done[name] = compare(
            of_slice,
            folder,
            settings=settings,
            listener=listener,
            world=world,
            market=market,
            should_stop=should_stop,
        )
    notes = (*found.notes, market_note(market))
    result = OwnComparison(out, done, found.left_out, found.accuracy, found.num_rows, market.name, notes)
    if not own.slice:
        write_rows(out / "results.parquet", tuple(row for c in done.values() for row in c.rows))
        write_json(out / "summary.json", overview(result))
    return result


def own_plan(plan: ComparisonPlan, market: Market) -> ComparisonPlan:
    """Return a plan for own data: reference arms that cannot exist there are left out."""
    references = tuple(name for name in plan.reference_arms if name == ORACLE and market.transport is not None)
    return replace(
        plan,
        scenario="own",
        pool=market.name,
        own_data=True,
        contributor_size=None,
        world_seed=0,
        reference_arms=references,
    )


def own_problems(plan: ComparisonPlan, own: OwnData, market: Market, task: str | None) -> list[str]:
    """Return everything that is wrong with a request, before anything is read.

    Args:
        plan: as ``own_plan`` returns it.
        own: the data and how to read them.
        market: what marketplace arms may search.
        task: the task type asked for, or None.
    """
    problems = own.problems()
    try:
        plan.check()
    except ConfigError as error:
        problems += error.problems
    if task not in (None, *TASK_TYPES):
        problems.append(f"unknown task {task!r}; use {' or '.join(TASK_TYPES)}")
    if "surgery_donor_data" in plan.strategies:
        problems.append("surgery_donor_data needs the contributors of a scenario's pool; own data have none")
    if ORACLE in plan.strategies and market.transport is None:
        problems.append(f"{ORACLE} needs a market: give one with --market")
    return problems


def market_note(market: Market) -> str:
    """Return what the market allows, in a sentence."""
    if market.transport is None:
        return (
            "No market was given: arms that adopt patches find none, and the reference arms oracle_best and "
            "surgery_donor_data are left out."
        )
    return (
        "The reference arm surgery_donor_data is left out: on which data the market's patches were trained is unknown."
    )


def market_or_none(uri: str | None, settings: Settings | None = None) -> Market:
    """Return the market at an address, judged by our own key and those enrolled, as of now; empty means none.

    Raises:
        ConfigError: the address is not supported.
        NotFoundError: there is no such folder.
    """
    if not uri:
        return NO_MARKET
    now = utc_now()
    return market_at(uri, settings or load_settings().settings, now=now)


def overview(result: OwnComparison) -> dict[str, object]:
    """Return what ``summary.json`` holds over several slices."""
    return {
        "schema": 1,
        "accuracy": result.accuracy,
        "num_rows": result.num_rows,
        "market": result.market,
        "slices": {
            name: {"folder": c.out.relative_to(result.out).as_posix(), **c.summary}
            for name, c in result.comparisons.items()
        },
        "left_out": list(result.left_out),
        "notes": list(result.notes),
    }


def slug(name: str) -> str:
    """Return a name as a folder name that is legal everywhere.

    >>> slug("requests of 'lost card'")
    'requests-of-lost-card'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "slice"


def folder_names(names: Iterable[str]) -> dict[str, str]:
    """Return name -> folder name, all different.

    >>> folder_names(["topic=a b", "topic=c"])
    {'topic=a b': 'topic-a-b', 'topic=c': 'topic-c'}
    """
    slugs = {name: slug(name) for name in names}
    times = Counter(slugs.values())
    return {n: s if times[s] == 1 else f"{s}-{content_id(n)[:8]}" for n, s in slugs.items()}


def _answer_tokens(model: TextGenerator, tables: OwnTables) -> int:
    """Return how many tokens an answer may have: the longest gold output and some, since longer ones are wrong."""
    longest = max(len(model.encode_answer(s.expected)) for s in tables.data.samples)
    return min(longest + SPARE_TOKENS, MAX_ANSWER_TOKENS)
