"""A population of contributors, each with a key, data of its own groups, and a LoRA patch it publishes.

Rules:
    1. Contributors train on ``contributors`` groups and on base training data only: never on a group that an
       incident draws from, so every judged sample is new to every patch.
    2. Pools are heterogeneous, as real ones are: ranks, target modules and adapted layers are drawn at random.
    3. Keys are derived from the world seed: they belong to the scenario, protect nothing and sign nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.models.operated import HeadRows, Operated
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Cost, Patch, Sample
from symbio_lab.scenarios.recipe import COVERAGE, Relevance, WorldRecipe
from symbio_lab.scenarios.sources import WorldSources
from symbio_lab.seeding import derive_seed, numpy_generator, shuffled
from symbio_lab.surgery.lora_training import LoraSettings, train_lora
from symbio_lab.trust import sealing
from symbio_lab.trust.keys import SigningKey

ISSUED = "2026-01-01T00:00:00Z"
NOW = "2026-06-01T00:00:00Z"
EXPIRES = "2036-01-01T00:00:00Z"
EPOCHS = {32: 12, 128: 8, 512: 4}
MIN_REPLAY = 256
"""Base training samples that each contributor replays, at least."""


@dataclass(frozen=True, slots=True)
class Contributor:
    """One publisher of the population, before training."""

    number: int
    namespace: str
    facets: tuple[str, ...]
    """Slice facets it knows; empty for a patch of another domain."""
    coverage: float
    """Share of the slice's facets."""
    samples: tuple[Sample, ...]
    topic: str
    """Domain of its data."""
    settings: LoraSettings


def scenario_key(recipe: WorldRecipe, world_seed: int, *names: object) -> SigningKey:
    """Return a key derived from the world seed (reproducible pools; never a key to trust elsewhere)."""
    seed = derive_seed(world_seed, recipe.name, "key", *names)
    return SigningKey.from_seed(hashlib.sha256(f"scenario key {seed}".encode()).digest())


def plan_contributors(
    recipe: WorldRecipe, sources: WorldSources, relevance: Relevance, world_seed: int
) -> list[Contributor]:
    """Return the K contributors of a pool, in order of coverage."""
    # A null pool has the donors of ``high``; only their deltas are random.
    drawn_as = "high" if relevance == "null" else relevance
    facets = sorted({s.known_by for s in sources.contributors})
    sizes = Counter(s.domain for s in sources.base_train)
    # A domain of a handful of samples is no topic to publish a patch on.
    others = sorted(d for d, size in sizes.items() if size >= min(recipe.contributor_size, max(sizes.values())))
    # Rounding up must not lift a pool above its relevance: 0.4 of four labels is one label, not two.
    most = max(math.floor(max(COVERAGE[relevance]) * len(facets) + 1e-9), 1)
    planned: list[Contributor] = []
    for number, coverage in enumerate(COVERAGE[relevance]):
        rng = numpy_generator(world_seed, recipe.name, drawn_as, "contributor", number)
        count = min(max(round(coverage * len(facets)), 1), most) if coverage else 0
        known = tuple(sorted(rng.choice(facets, size=count, replace=False).tolist())) if count else ()
        topic = recipe.domain if known else str(rng.choice(others))
        if known:
            data = [s for s in sources.contributors if s.known_by in known]
        else:
            data = [s for s in sources.base_train if s.domain == topic]
        drawn = _balanced(data, recipe.contributor_size, derive_seed(world_seed, drawn_as, "data", number))
        rank = int(rng.choice(recipe.ranks))
        top = recipe.top_layers[int(rng.integers(len(recipe.top_layers)))]
        settings = replace(
            recipe.contributor_lora or LoraSettings(epochs=EPOCHS[recipe.contributor_size]),
            rank=rank,
            alpha=2.0 * rank,
            targets=str(rng.choice(recipe.targets)),
            top_layers=top,
        )
        namespace = f"contributor-{number:02d}"
        planned.append(Contributor(number, namespace, known, count / len(facets), drawn, topic, settings))
    return planned


def _balanced(data: Sequence[Sample], size: int, seed: int) -> tuple[Sample, ...]:
    """Draw up to ``size`` samples, facet by facet in turn."""
    by_facet: dict[str, list[Sample]] = {}
    for sample in shuffled(data, seed, "draw"):
        by_facet.setdefault(sample.known_by, []).append(sample)
    drawn: list[Sample] = []
    for turn in range(max(map(len, by_facet.values()), default=0)):
        drawn += [by_facet[facet][turn] for facet in sorted(by_facet) if turn < len(by_facet[facet])]
    return tuple(drawn[:size])


def train_contributor(
    model: PatchableModel, contributor: Contributor, replay: Sequence[Sample], *, seed: int
) -> tuple[Operated, Cost]:
    """Return a contributor's tensors and what they cost the pool."""
    meter = CostMeter(Budget(forwards_equivalent=1e12), num_parameters=model.num_parameters)
    name = contributor.namespace
    ratio = max(contributor.settings.replay_ratio, 1.0)
    size = max(MIN_REPLAY, round(ratio * len(contributor.samples)))
    replay = shuffled(replay, seed, "contributor replay")[:size]
    with meter.phase("train"):
        operated = train_lora(name, model, contributor.samples, replay, contributor.settings, seed=seed, meter=meter)
    return operated, meter.cost()


def seal_contribution(
    model: PatchableModel,
    operated: Operated,
    contributor: Contributor,
    recipe: WorldRecipe,
    key: SigningKey,
    store: Path,
    *,
    base_digest: str | None = None,
    name: str = "patch",
) -> Patch:
    """Return a contributor's signed patch in ``store``."""
    topic = contributor.topic.replace("_", " ")
    facets = contributor.facets or tuple(sorted({s.known_by for s in contributor.samples}))
    words = ", ".join(facet.replace("_", " ") for facet in facets[:20])
    kind = "outputs" if model.task_type == "text_generation" else "intents"
    rows = operated.rows
    return sealing.seal_patch(
        store=store,
        deltas=operated.deltas,
        rank=operated.rank,
        alpha=operated.alpha,
        head_rows=_rows(rows),
        base_id=model.model_id,
        base_digest=base_digest or model.digest,
        task_type=model.task_type,
        patch_id=f"{contributor.namespace}/{name}",
        title=f"{topic} {kind}",
        scope=f"Requests about {topic}: {words}.",
        labels=_labels(model, contributor),
        domain=contributor.topic,
        licence=recipe.licence,
        training_data=f"{len(contributor.samples)} labelled samples of {topic}, replay of base training data",
        issued=ISSUED,
        expires=EXPIRES,
        key=key,
    )


def _labels(model: PatchableModel, contributor: Contributor) -> tuple[str, ...]:
    """Return the gold labels that a contributor's patch answers with; empty for generation."""
    if model.task_type == "text_generation":
        return ()
    return tuple(sorted({s.expected for s in contributor.samples}))


def _rows(rows: HeadRows | None) -> sealing.HeadRows | None:
    return sealing.HeadRows(rows.labels, rows.weight, rows.bias) if rows else None
