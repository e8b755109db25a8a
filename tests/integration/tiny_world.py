"""Two whole worlds in seconds, one of each task type: the lab's own code but for encoder, decoder and datasets.

``tiny`` classifies on the tiny encoder; ``tiny-generation`` is the toy grammar of ``tiny_grammar``.
``python -m tests.integration.tiny_world WORLD ENCODER HOME OUT EVENT COUNT`` runs a comparison on one and kills itself
at the COUNT-th EVENT.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.comparison import compare as comparing
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings
from symbio_lab.events import Event, Listener
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.records import Sample
from symbio_lab.scenarios import base as basing
from symbio_lab.scenarios import catalogue
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.surgery.lora_training import LoraSettings
from tests.fixtures_models import KNOWN, SHADES, samples_of
from tests.integration import tiny_grammar

RECIPE = WorldRecipe(
    name="tiny",
    dataset="tiny",
    domain="shades",
    control_sources=("test",),
    group_by_text=False,
    contributor_size=32,
    top_layers=(1, 2, None),
    lora=LoraSettings(),
    n_replay_pool=200,
)
PLAN = ComparisonPlan(
    scenario="tiny",
    strategies=("noop", "null_pool", "best_single", "surgery_only", "marketplace_first"),
    seeds=(0,),
    n_repair=24,
    n_replay=60,
)


def tiny_dataset() -> FailureDataset:
    colours = {label: label for label in KNOWN}
    shades = {label: label for label in SHADES}
    train = samples_of(colours, 60, 100, domain="colours", source="train")
    known = {s.text for s in train}
    test = [s for s in samples_of(colours, 260, 200, domain="colours", source="test") if s.text not in known]
    parts: dict[str, list[Sample]] = {
        "train": [*train, *samples_of(shades, 40, 300, domain="shades", source="train")],
        "test": [*test, *samples_of(shades, 40, 400, domain="shades", source="test")],
    }
    unique: dict[str, Sample] = {}
    for rows in parts.values():
        for sample in rows:
            unique.setdefault(sample.text, sample)
    kept = {source: [s for s in unique.values() if s.source == source] for source in parts}
    return FailureDataset.of("tiny", "text_classification", kept, licence="CC0-1.0", origin="generated")


FAMILY = WorldFamily("tiny", {"tiny": RECIPE}, lambda _recipe: tiny_dataset())
FAMILIES = {family.name: family for family in (FAMILY, tiny_grammar.FAMILY)}
PLANS = {name: replace(PLAN, scenario=name) for name in FAMILIES}


@dataclass(frozen=True, slots=True)
class BuiltWorld:
    """A tiny world with its base and high pool, and one undisturbed comparison."""

    name: str
    folder: Path

    @property
    def home(self) -> Path:
        """State folder with base and pool."""
        return self.folder / "home"

    @property
    def out(self) -> Path:
        """Results of the comparison."""
        return self.folder / "out"

    @property
    def plan(self) -> ComparisonPlan:
        """What was compared."""
        return PLANS[self.name]

    @property
    def recipe(self) -> WorldRecipe:
        """The world's settings."""
        return FAMILIES[self.name].recipe(self.name)


def build(name: str, folder: Path, encoder: Path) -> BuiltWorld:
    """Build a world in ``folder`` and compare the plan's strategies on it."""
    built = BuiltWorld(name, folder)
    with pytest.MonkeyPatch.context() as patch:
        install(patch, encoder)
        compare(built.home, built.out, built.plan)
    return built


def install(patch: pytest.MonkeyPatch, encoder: Path) -> None:
    """Put the tiny encoder and datasets where worlds look for theirs."""
    embedder = partial(SentenceEmbedder, encoder)
    patch.setattr(catalogue, "BUILT_IN", (*catalogue.BUILT_IN, *FAMILIES.values()))
    patch.setattr(basing, "SentenceEmbedder", embedder)
    patch.setattr(basing, "MINILM_ID", str(encoder))
    patch.setattr(comparing, "SentenceEmbedder", embedder)


def settings(home: Path) -> Settings:
    return Settings(home=home, device="cpu", num_threads=1)


def same_rows(rows: Any) -> list[dict[str, Any]]:
    """Rows without the columns that measure time."""
    timings = ("_wall_s", "_cpu_s")
    return [{name: value for name, value in row.items() if not name.endswith(timings)} for row in rows]


def compare(home: Path, out: Path, plan: ComparisonPlan = PLAN, **options: Any) -> Any:
    return comparing.compare(plan, out, settings=settings(home), **options)


def kill_at(kind: str, count: int) -> Listener:
    """Return a listener that kills its own process, without any clean-up, at the n-th event of a kind."""
    left = [count]

    def listen(event: Event) -> None:
        left[0] -= type(event).__name__ == kind
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


def main(name: str, encoder: str, home: str, out: str, kind: str, count: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        install(patch, Path(encoder))
        compare(Path(home), Path(out), PLANS[name], listener=kill_at(kind, int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
