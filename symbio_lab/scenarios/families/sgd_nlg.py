"""``sgd_nlg/unseen``: replies of a service assistant; the slice is the turns of services that it was not trained on.

Facets are services: a contributor knows some of them. A reply is right when its slots are (no slot error).

References:
    Rastogi et al. 2020, The Schema-Guided Dialogue Dataset, AAAI; Kale and Rastogi 2020, EMNLP (unseen services).
    Differs from the latter: a decoder of under 1M parameters, delexicalised turns, see ``failures.delexicalised``.
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.config import Settings
from symbio_lab.events import Listener
from symbio_lab.failures.catalogue import get_card
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.delexicalised import delexicalise
from symbio_lab.failures.loading import load_rows
from symbio_lab.models.causal_training import CausalRecipe
from symbio_lab.models.loading import resolve_device
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Sample
from symbio_lab.scenarios.causal_base import build_causal_base
from symbio_lab.scenarios.families.scan import SURGERY
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe
from symbio_lab.scenarios.sources import WorldSources

UNSEEN = "unseen"
RECIPE = WorldRecipe(
    name="sgd_nlg/unseen",
    dataset="sgd_nlg",
    domain=UNSEEN,
    task_type="text_generation",
    label_shift="known",
    train_sources=("train",),
    control_sources=("validation", "test"),
    held_out_share=0.1,
    group_by_text=False,
    contributor_size=128,
    top_layers=(None, None, 2),
    ranks=(8, 16),
    targets=("all_linear", "all_linear", "query_value"),
    contributor_lora=replace(SURGERY, min_steps=80),
    lora=replace(SURGERY, min_steps=120),
    budget_forwards=150_000.0,
    licence="CC-BY-SA-4.0",
    notes="Turns are delexicalised; an answer is right when it mentions each slot as often as the reference.",
)


def load_sgd(recipe: WorldRecipe) -> FailureDataset:
    """Return the delexicalised system turns; services that training lacks are the slice."""
    samples: dict[str, list[Sample]] = {}
    dropped: dict[str, int] = {}
    for source in ("train", "validation", "test"):
        kept = samples.setdefault(source, [])
        rows = load_rows("sgd_nlg", source)
        for row in rows:
            pair = delexicalise(row)
            if pair is None:
                continue
            inside = row.get("seen_service") is False
            domain = recipe.domain if inside else str(row["service"])
            kept.append(Sample(*pair, f"{source}-{row['dialogue']}", domain, source, str(row["service"])))
        dropped[source] = len(rows) - len(kept)
    card = get_card("sgd_nlg")
    extra = {"num_dropped": dropped}
    return FailureDataset.of("sgd_nlg", card.task_type, samples, licence=card.licence, origin="local", extra=extra)


def sgd_base(
    recipe: WorldRecipe, sources: WorldSources, world_seed: int, settings: Settings, listener: Listener | None
) -> PatchableModel:
    """Return the world's decoder, from the cache or trained now (some minutes)."""
    return build_causal_base(
        recipe.name,
        sources.base_train,
        CausalRecipe(tokenizer="bpe", tie_embeddings=True, epochs=12.0, max_new_tokens=96),
        settings.bases,
        seed=world_seed,
        device=resolve_device(settings.device),
        match="slots",
        listener=listener,
    )


SGD_NLG = WorldFamily("sgd_nlg", {RECIPE.name: RECIPE}, load_sgd, sgd_base)
