"""``scan/<split>``: commands to action sequences; the base never saw one primitive, one template, or long outputs.

| world | the base never saw | facets of the slice |
|---|---|---|
| ``scan/add-jump`` | ``jump`` in any compound | how the jump is directed and repeated |
| ``scan/around-right`` | ``around right`` with a verb | verb and repetition of the template |
| ``scan/length`` | more than 22 actions | number of actions |
| ``scan/add-look`` | ``look`` in any compound | as ``add-jump``; hyper-parameters were chosen here |

A fifth of the commands outside the slice is held out as control traffic, so that control is new to base and patches
alike. The grammar makes disjoint templates impossible: splits are disjoint by exact command.

References:
    Lake and Baroni 2018, Generalization without Systematicity, ICML, experiments 2 and 3; Loula et al. 2018.
    Differs from the papers: a decoder-only network, each command once (the bare primitive, a tenth of the source's
    training lines, is repeated to a tenth here too), and the held-out fifth.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from symbio_lab.config import Settings
from symbio_lab.events import Listener
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.scan import MAX_TRAIN_ACTIONS, scan_pairs
from symbio_lab.models.causal_training import CausalRecipe
from symbio_lab.models.loading import resolve_device
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample
from symbio_lab.scenarios.causal_base import build_causal_base
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources
from symbio_lab.surgery.lora_training import LoraSettings

PRIMITIVE = "primitive"
"""Source of the bare command of a withheld primitive."""
PRIMITIVE_SHARE = 0.1
"""Share of training lines that are the bare primitive."""
SURGERY = LoraSettings(
    rank=16,
    alpha=32.0,
    targets="all_linear",
    learning_rate=2e-3,
    epochs=1,
    min_steps=300,
    batch_size=32,
    replay_ratio=4.0,
)
"""Chosen on ``scan/add-look``."""
_RECIPE = WorldRecipe(
    name="",
    dataset="scan",
    domain="",
    task_type="text_generation",
    label_shift="known",
    train_sources=("train", PRIMITIVE),
    control_sources=(),
    held_out_share=0.2,
    kept_sources=(PRIMITIVE,),
    group_by_text=False,
    disjoint_by="text",
    slice_shares=(("contributors", 0.45), ("repair", 0.30), ("judge", 0.20), ("relevance_probe", 0.05)),
    contributor_size=128,
    top_layers=(None, None, 2),
    ranks=(8, 16),
    targets=("all_linear", "all_linear", "query_value"),
    contributor_lora=replace(SURGERY, min_steps=200),
    lora=SURGERY,
    budget_forwards=150_000.0,
    licence="Apache-2.0",
    notes="Splits are disjoint by exact command: one grammar makes all of them.",
)
SLICES = {
    "add-jump": "compounds of jump",
    "around-right": "around right",
    "length": "long outputs",
    "add-look": "compounds of look",
}
"""Split -> name of the slice."""
TARGETS = {"add-jump": "jump", "around-right": "around right", "add-look": "look"}
"""Split -> the words that mark it."""


def load_scan(recipe: WorldRecipe) -> FailureDataset:
    """Return the commands of the published grammar, marked for one world."""
    split = recipe.name.split("/", 1)[1]
    target = TARGETS.get(split, "")
    samples: dict[str, list[Sample]] = {"train": [], PRIMITIVE: [], "slice": []}
    for command, actions in scan_pairs():
        place = _place(split, target, command, actions)
        if place is None:
            continue
        inside = place == "slice"
        domain = recipe.domain if inside else command.split()[0]
        facet = _slice_facet(split, target, command, actions) if inside else clause_form(command)
        samples[place].append(Sample(command, actions, command, domain, place, facet))
    return FailureDataset.of(
        f"scan-{split}", "text_generation", samples, licence="BSD-3-Clause", origin="generated", extra={"split": split}
    )


def _place(split: str, target: str, command: str, actions: str) -> str | None:
    """Return ``train``, ``primitive`` or ``slice``; None for commands that the split leaves out."""
    if split == "length":
        return "train" if actions.count(" ") < MAX_TRAIN_ACTIONS else "slice"
    if split == "around-right":
        if "turn around right" in command:
            return None
        return "slice" if target in command else "train"
    if command == target:
        return PRIMITIVE
    return "slice" if target in command.split() else "train"


def clause_form(command: str) -> str:
    """Return the first clause of a command.

    >>> clause_form("walk around left twice after look")
    'walk around left twice'
    """
    return command.split(" and ")[0].split(" after ")[0]


def _slice_facet(split: str, target: str, command: str, actions: str) -> str:
    if split == "length":
        return f"{actions.count(' ') + 1} actions"
    clauses = command.replace(" after ", " and ").split(" and ")
    clause = next(c for c in clauses if target in c)
    return clause


def scan_base(
    recipe: WorldRecipe, sources: WorldSources, world_seed: int, settings: Settings, listener: Listener | None
) -> PatchableModel:
    """Return the world's decoder: shipped for world seed 0, else cached or trained (about four minutes)."""
    train = list(sources.base_train)
    bare = [s for s in train if s.source == PRIMITIVE]
    train += bare * round(PRIMITIVE_SHARE * len(train))
    return build_causal_base(
        recipe.name,
        train,
        CausalRecipe(epochs=20.0),
        settings.bases,
        seed=world_seed,
        device=resolve_device(settings.device),
        listener=listener,
    )


def _recipes() -> dict[str, WorldRecipe]:
    make = partial(replace, _RECIPE)
    return {f"scan/{split}": make(name=f"scan/{split}", domain=domain) for split, domain in SLICES.items()}


SCAN = WorldFamily("scan", _recipes(), load_scan, scan_base)
