"""``hatemoji/<functionality>``: a hate-speech model trained on adversarial posts meets functional tests with emoji.

``hatemoji/raw_emoji`` is on purpose a failure that no weight patch can heal: posts that the tokenizer cannot tell from
a post of the other label (emoji that it lacks all become one unknown token). Whatever the weights, both get one answer.

Content warning: the data quote hateful language.

References:
    Kirk et al. 2022, Hatemoji: A Test Suite and Adversarially-Generated Dataset for Benchmarking and Detecting
    Emoji-Based Hate, NAACL. Differs from the paper: emoji are replaced by their names but for ``raw_emoji``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset, load_rows
from symbio_lab.models.digests import MINILM_ID
from symbio_lab.models.loading import load_tokenizer, locate_model
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

FUNCTIONALITIES = (
    "verb_swap",
    "identity_swap",
    "descriptor_swap",
    "double_swap",
    "append",
    "positive_confounder",
    "emoji_leetspeak",
)
LABELS = ("not_hateful", "hateful")
RAW = "raw_emoji"
_CHECK, _BUILD = "check_test", ("build_train", "build_validation", "build_test")


def load_hatemoji(recipe: WorldRecipe) -> FailureDataset:
    """Return training posts and functional tests, the world's functionality as the slice, facets by target group."""
    data = load_dataset("hatemoji")
    rows = load_rows("hatemoji", _CHECK)
    raw = recipe.name.endswith(RAW)
    field = "text" if raw else "text_named"
    samples: dict[str, list[Sample]] = {}
    for source in (*_BUILD, _CHECK):
        stored = load_rows("hatemoji", source) if source != _CHECK else rows
        marked = zip(data.samples[source], stored, strict=True)
        samples[source] = [replace(s, text=str(r[field]), domain="posts") for s, r in marked]
    if raw:
        inside = alike_but_opposite([s.text for s in samples[_CHECK]], [s.expected for s in samples[_CHECK]])
    else:
        inside = {i for i, row in enumerate(rows) if row["functionality"] == recipe.domain}
    # What is left of the raw posts has slice inputs of its own: it would be control that the slice contradicts.
    rest = "" if raw else "other checks"
    samples[_CHECK] = [
        replace(s, domain=recipe.domain, facet=_facet(rows[i])) if i in inside else replace(s, domain=rest)
        for i, s in enumerate(samples[_CHECK])
    ]
    return FailureDataset.of(data.name, data.task_type, samples, licence=data.licence, origin=data.origin)


def _facet(row: Mapping[str, Any]) -> str:
    return f"{row['target']} {LABELS[row['label']]}".replace("_", " ")


def token_rows(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return what the embedded encoder reads of each text: its token ids."""
    tokenizer = load_tokenizer(locate_model(MINILM_ID))
    return [tuple(ids) for ids in tokenizer(list(texts))["input_ids"]]


def alike_but_opposite(texts: Sequence[str], labels: Sequence[str]) -> set[int]:
    """Return the numbers of texts that pair up with one of the same token ids and another label.

    As many of either label are kept for each distinct input, the first ones, so that no classifier of token ids can be
    right on more than half of them.
    """
    found: dict[tuple[int, ...], dict[str, list[int]]] = {}
    for i, (ids, label) in enumerate(zip(token_rows(texts), labels, strict=True)):
        found.setdefault(ids, {}).setdefault(label, []).append(i)
    kept: set[int] = set()
    for by_label in found.values():
        count = min(map(len, by_label.values())) if len(by_label) == len(LABELS) else 0
        kept.update(i for members in by_label.values() for i in members[:count])
    return kept


def ceiling(samples: Sequence[Sample]) -> float:
    """Return the highest accuracy that any classifier of token ids can reach on ``samples``, in [0, 1]."""
    votes: dict[tuple[int, ...], Counter[str]] = {}
    for ids, sample in zip(token_rows([s.text for s in samples]), samples, strict=True):
        votes.setdefault(ids, Counter())[sample.expected] += 1
    return sum(max(count.values()) for count in votes.values()) / len(samples)


def _recipe(functionality: str) -> WorldRecipe:
    note = "Quotes hateful language. Facets are target group and label."
    if functionality == RAW:
        note += " Slice posts share their token ids with as many posts of the other label: at best half can be right."
    return WorldRecipe(
        name=f"hatemoji/{functionality}",
        dataset="hatemoji",
        domain=functionality,
        label_shift="known",
        train_sources=("build_train",),
        control_sources=("build_validation", "build_test", _CHECK),
        group_by_text=False,
        contributor_size=32,
        notes=note,
    )


HATEMOJI = WorldFamily("hatemoji", {f"hatemoji/{f}": _recipe(f) for f in (*FUNCTIONALITIES, RAW)}, load_hatemoji)
