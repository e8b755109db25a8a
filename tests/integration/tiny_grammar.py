"""A generation world in seconds: a toy grammar, and a decoder trained on all of it but the commands of one word.

``take the red cup`` is answered ``TAKE RED CUP``. To ``move`` is to take and to put: ``move the red cup`` is answered
``TAKE RED CUP PUT RED CUP``. The base sees ``move`` alone, so it has the word, and never gave an answer of that form:
it fails on the slice for a reason that no rounding of another machine changes. What contributors know is colours.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from symbio_lab.config import Settings
from symbio_lab.events import Listener
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.models.causal_training import CausalRecipe
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample
from symbio_lab.scenarios.causal_base import build_causal_base
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources
from symbio_lab.surgery.lora_training import LoraSettings

VERBS = ("take", "put", "wash", "sell", "paint")
HELD_OUT = "move"
COLOURS = ("red", "green", "blue", "grey", "black", "white", "brown", "pink")
THINGS = ("cup", "box", "hat", "pen", "bag", "lamp", "key", "book", "coat", "plate", "chair", "clock")
WHEN = ("now", "later", "today")
BARE = "bare"
"""Source of the held-out word alone."""
SURGERY = LoraSettings(rank=8, targets="all_linear", epochs=4, min_steps=40, learning_rate=1e-2)
DECODER = CausalRecipe(
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    epochs=16.0,
    batch_size=32,
    learning_rate=1e-2,
    warmup_steps=20,
    max_new_tokens=8,
)
RECIPE = WorldRecipe(
    name="tiny-generation",
    dataset="tiny-generation",
    domain="moving",
    task_type="text_generation",
    label_shift="known",
    train_sources=("commands", BARE),
    control_sources=(),
    held_out_share=0.65,
    kept_sources=(BARE,),
    group_by_text=False,
    disjoint_by="text",
    contributor_size=32,
    top_layers=(None, None, 1),
    ranks=(4, 8),
    targets=("all_linear",),
    contributor_lora=SURGERY,
    lora=SURGERY,
    n_replay_pool=200,
)


def answer(verb: str, colour: str, thing: str) -> str:
    """Return what a command means."""
    parts = ("take", "put") if verb == HELD_OUT else (verb,)
    return " ".join(f"{part} {colour} {thing}".upper() for part in parts)


def load_commands(recipe: WorldRecipe) -> FailureDataset:
    """Return every command once."""
    samples: dict[str, list[Sample]] = {"commands": [], BARE: [Sample(HELD_OUT, "TAKE PUT", HELD_OUT, "bare", BARE)]}
    for verb, colour, thing, when in product((*VERBS, HELD_OUT), COLOURS, THINGS, WHEN):
        text = f"{verb} the {colour} {thing} {when}"
        domain = recipe.domain if verb == HELD_OUT else verb
        samples["commands"].append(Sample(text, answer(verb, colour, thing), text, domain, "commands", colour))
    return FailureDataset.of(recipe.dataset, "text_generation", samples, licence="CC0-1.0", origin="generated")


def train_base(
    recipe: WorldRecipe, sources: WorldSources, world_seed: int, settings: Settings, listener: Listener | None
) -> PatchableModel:
    """Return the decoder, from the cache or trained now."""
    bare = [replace(s) for s in sources.base_train if s.source == BARE]
    train = [*sources.base_train, *bare * 10]
    return build_causal_base(recipe.name, train, DECODER, settings.bases, seed=world_seed, listener=listener)


FAMILY = WorldFamily(RECIPE.name, {RECIPE.name: RECIPE}, load_commands, train_base)
