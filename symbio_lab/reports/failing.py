"""What failed: the slice, its words and labels, and how right the base is inside and outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from symbio_lab.display.accuracy import accuracy_figure
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import count, percent, percent_range, plural
from symbio_lab.display.prose import code, esc, prose, stack
from symbio_lab.display.table import Cell, Column, TableRow, table
from symbio_lab.reports.collecting import CellResult, Results
from symbio_lab.seeding import shuffled
from symbio_lab.stats.intervals import to_interval

if TYPE_CHECKING:
    from symbio_lab.records import Interval, Sample
    from symbio_lab.scenarios.world import World

MAX_GROUP = 40
"""Samples of a group that a first look runs, at most."""


def failing_slice(results: Results) -> Bundle:
    """Return the failure in words and the base's accuracy inside and outside the slice."""
    world = results.world
    labels = [str(label) for label in world["slice_labels"]]
    patterns = dict.fromkeys(results.at(seed)[0].pattern for seed in results.seeds)
    seen = "; ".join(f"“{esc(text)}”" for text in patterns)
    reports = "What a monitor reports" + (" in each incident" if len(patterns) > 1 else "")
    return stack(
        prose(
            f"The model in use fails on requests about {code(world['domain'])} ({code(world['name'])}). "
            f"{reports}, with the words that set the failures apart: {seen}.",
            _knowledge(world, labels),
            _caveats(world),
        ),
        _base_table(results),
    )


MAX_FACETS = 30
"""Facets of the slice that are named, at most."""
MAX_OUTPUTS = 5
"""Right outputs of a generator that are named, at most."""


def _knowledge(world: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Return what there is to know of the slice, and what the base lacks."""
    named = ", ".join(code(label) for label in labels[:MAX_FACETS]) + (" ..." if len(labels) > MAX_FACETS else "")
    parts = plural(len(labels), "part")
    generates = world.get("task_type") == "text_generation"
    if "contributors" not in world["pool"] and generates:
        some = "; ".join(code(label) for label in labels[:MAX_OUTPUTS])
        return f"The slice has {plural(len(labels), 'right output')}, such as {some}. The base writes others."
    if generates:
        return f"What there is to know of it, in {parts}: {named}. The base writes other outputs."
    if world["label_shift"] == "new":
        return (
            f"The slice has {plural(len(labels), 'label')}: {named}. The base knows "
            f"{plural(int(world['num_base_labels']), 'label')}; those it lacks are new, so a patch must bring its own "
            "rows for the head."
        )
    if "contributors" not in world["pool"]:
        return f"The slice has {plural(len(labels), 'label')}, known to the base: {named}."
    return f"What there is to know of it, in {parts}: {named}. The base has the labels but errs."


def _caveats(world: Mapping[str, Any]) -> str:
    """Return what a reader must know of these data."""
    by_text = (
        "Splits share no exact text; groups could not be kept apart." if world.get("disjoint_by") == "text" else ""
    )
    facts = world.get("facts") or {}
    drawn = ""
    if "accuracy" in facts:
        drawn = (
            f"The model is right on {percent(facts['accuracy'])} of the {count(facts['num_rows'])} rows of "
            f"{world['dataset']}; {count(facts['slice_rows'])} belong to this slice, and it is wrong on "
            f"{count(facts['slice_failures'])} of these."
        )
    return " ".join(esc(part) for part in (drawn, str(world.get("notes") or ""), by_text) if part)


def _base_table(results: Results) -> Bundle:
    rows: list[TableRow] = []
    for seed in results.seeds:
        cell = base_cell(results, seed)
        for part, title in (("slice", "inside the slice"), ("control", "all other traffic")):
            # Accuracy before = accuracy after - its change: exact, whatever the arm did.
            value = cell.row[f"deployed_{part}_accuracy"] - cell.row[f"deployed_{part}_delta_accuracy"]
            n = int(cell.row[f"deployed_{part}_accuracy_n"])
            rate = to_interval(round(value * n), n)
            rows.append([title, str(seed), Cell(percent(rate.value), percent_range(rate.low, rate.high)), count(n)])
    columns = [
        Column("base model"),
        Column("incident (seed)", number=True),
        Column("right answers", number=True),
        Column("n", number=True),
    ]
    return table(columns, rows, "The base before any healing, on held-out samples; 95 % Clopper-Pearson intervals.")


def base_cell(results: Results, seed: int) -> CellResult:
    """Return a cell whose row describes the base itself where there is one, else any of the incident."""
    cells = results.at(seed)
    return next((c for c in cells if not c.row["deployed"]), cells[0])


def base_accuracy(world: World) -> tuple[tuple[str, Interval, bool], ...]:
    """Return how often the base is right in each domain: the failing slice first, the rest by name.

    Args:
        world: the failing world; held-out traffic is read, and nothing of it reaches a healer.

    Returns:
        Domain, accuracy with interval and n (at most ``MAX_GROUP`` samples each), whether it is the failing slice.
    """
    domain, incident = world.recipe.domain, world.sources.incident
    by_domain: dict[str, list[Sample]] = defaultdict(list)
    for sample in shuffled((*incident.slice_judge, *incident.control), world.world_seed, "first look"):
        if len(by_domain[sample.domain]) < MAX_GROUP:
            by_domain[sample.domain].append(sample)
    samples = [s for group in by_domain.values() for s in group]
    outputs = world.model.predict([s.text for s in samples]).outputs
    right: dict[str, int] = defaultdict(int)
    for sample, output in zip(samples, outputs, strict=True):
        right[sample.domain] += world.model.is_correct(output, sample.expected)
    ordered = sorted(by_domain, key=lambda name: (name != domain, name))
    return tuple(
        (name.replace("_", " "), to_interval(right[name], len(by_domain[name])), name == domain) for name in ordered
    )


def base_accuracy_figure(world: World) -> Bundle:
    """Return ``base_accuracy`` as a figure."""
    title = f"{world.name}: where the base is right, and where it fails"
    return accuracy_figure(base_accuracy(world), title)
