"""``multidogo/<domain>``: the base learned five service domains; the sixth brings intents of its own.

Some intents (greetings, confirmations) are shared, so the base is right on part of the slice: its rows stay, and
patches add rows for the new intents only. Short turns repeat across conversations; of each text the first is kept, in
the slice if it occurs there, and conversations are never split.

References:
    Peskov et al. 2019, Multi-Domain Goal-Oriented Dialogues (MultiDoGO), EMNLP-IJCNLP. Differs from the paper: customer
    turns with one intent, one domain held out.
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

DOMAINS = ("airline", "fastfood", "finance", "insurance", "media", "software")


def load_multidogo(recipe: WorldRecipe) -> FailureDataset:
    """Return all domains, each text once; the slice's turns are kept first."""
    data = load_dataset(recipe.dataset)
    everything = sorted(data.all_samples(), key=lambda s: s.domain != recipe.domain)
    seen: set[str] = set()
    samples: dict[str, list[Sample]] = {"train": [], "dev": [], "test": []}
    for sample in everything:
        text = " ".join(sample.text.lower().split())
        if text in seen:
            continue
        seen.add(text)
        source = sample.source.rsplit("_", 1)[1]
        group = f"{sample.domain} {sample.group}"
        samples[source].append(replace(sample, source=source, group=group))
    return FailureDataset.of(data.name, data.task_type, samples, licence=data.licence, origin=data.origin)


def _recipe(domain: str) -> WorldRecipe:
    return WorldRecipe(
        name=f"multidogo/{domain}",
        dataset="multidogo",
        domain=domain,
        control_sources=("dev", "test"),
        group_by_text=False,
        contributor_size=32,
        licence="CDLA-Permissive-1.0",
        notes="Most turns of the slice carry intents that the base knows (content, greetings) and gets right. "
        "Groups are conversations, each text occurs once; near duplicates of a turn may be on two sides.",
    )


MULTIDOGO = WorldFamily("multidogo", {f"multidogo/{domain}": _recipe(domain) for domain in DOMAINS}, load_multidogo)
