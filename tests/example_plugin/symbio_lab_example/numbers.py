"""World family ``numbers``: which number a sentence names, on the embedded encoder; the base never learns the teens."""

from __future__ import annotations

from itertools import product

from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.surgery.lora_training import LoraSettings

SMALL = ("one", "two", "three", "four", "five", "six")
TEENS = ("thirteen", "fourteen", "fifteen", "sixteen")
OPENINGS = ("Please send", "We ordered", "I still need", "Do you have")
THINGS = ("boxes", "chairs", "lamps", "tickets", "bottles", "pens", "maps", "plates", "cups", "bags", "books", "keys")
ENDINGS = ("today.", "for the shop.")


def load_numbers(recipe: WorldRecipe) -> FailureDataset:
    """Return every sentence once; a thing and an ending are the group, so no carrier sentence is in two parts."""
    samples: dict[str, list[Sample]] = {"train": [], "test": []}
    for number in (*SMALL, *TEENS):
        domain = recipe.domain if number in TEENS else "small numbers"
        for opening, (i, thing), ending in product(OPENINGS, enumerate(THINGS), ENDINGS):
            source = "test" if i % 3 == 0 else "train"
            text = f"{opening} {number} {thing} {ending}"
            group = f"{thing} {ending} {'teen' if number in TEENS else 'small'} {source}"
            samples[source].append(Sample(text, number, group, domain, source))
    return FailureDataset.of("numbers", "text_classification", samples, licence="CC0-1.0", origin="generated")


_RECIPE = WorldRecipe(
    name="numbers",
    dataset="numbers",
    domain="teens",
    control_sources=("test",),
    group_by_text=False,
    contributor_size=32,
    contributor_lora=LoraSettings(epochs=3, min_steps=10),
    n_replay_pool=120,
)
NUMBERS = WorldFamily("numbers", {"numbers": _RECIPE}, load_numbers)
