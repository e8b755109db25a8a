"""``hatemoji/<functionality>``: a hate-speech model trained on adversarial posts meets functional tests with emoji.

``hatemoji/raw_emoji`` is on purpose a failure that no weight patch can heal: posts that the tokenizer cannot tell from
a post of the other label (emoji that it lacks all become one unknown token). Whatever the weights, both get one answer.
Equal inputs are kept on one side, so half right is the ceiling in every part of the slice. A gate that reads failures
only does not see it: what answers all of them rightly breaks as many posts that were right.

Content warning: the data quote hateful language.

References:
    Kirk et al. 2022, Hatemoji: A Test Suite and Adversarially-Generated Dataset for Benchmarking and Detecting
    Emoji-Based Hate, NAACL. Differs from the paper: emoji are replaced by their names but for ``raw_emoji``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from symbio_lab.errors import EmptySliceError
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset, load_rows
from symbio_lab.models.digests import MINILM_ID
from symbio_lab.models.loading import load_tokenizer, locate_model
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

log = logging.getLogger(__name__)

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
FEW_TEMPLATES = (("contributors", 0.30), ("repair", 0.40), ("judge", 0.20), ("relevance_probe", 0.10))
"""Shares of a functionality of ten to twenty templates, on some of which the base makes few errors."""
_CHECK, _BUILD = "check_test", ("build_train", "build_validation", "build_test")


def load_hatemoji(recipe: WorldRecipe) -> FailureDataset:
    """Return training posts and functional tests, the world's functionality as the slice, facets by target group.

    Raises:
        ModelUnresolvedError: the tokenizer is not on this machine (``raw_emoji`` only).
    """
    data = load_dataset("hatemoji")
    raw = recipe.name.endswith(RAW)
    stored = {source: load_rows("hatemoji", source) for source in (*_BUILD, _CHECK)}
    field = "text" if raw else "text_named"
    samples = {
        source: [replace(s, text=str(row[field])) for s, row in zip(data.samples[source], rows, strict=True)]
        for source, rows in stored.items()
    }
    extra: dict[str, Any] = {}
    if raw:
        samples = _equal_inputs_joined(samples)
        check = samples[_CHECK]
        ambiguous = ambiguous_posts([s.text for s in check], [s.expected for s in check])
        inside = balanced_posts([s.text for s in check], [s.expected for s in check])
        left_out = {check[i].text for i in ambiguous}
        extra = {"num_ambiguous": len(ambiguous), "slice_ceiling": ceiling([check[i] for i in sorted(inside)])}
        log.info("%s: %d ambiguous posts, %d in the slice", recipe.name, len(ambiguous), len(inside))
    else:
        inside = {i for i, row in enumerate(stored[_CHECK]) if row["functionality"] == recipe.domain}
        left_out = {samples[_CHECK][i].text for i in inside}
    # Input of the slice that is not in it would be traffic that the slice repeats or contradicts: it takes no part.
    samples = {
        source: [replace(s, domain="" if s.text in left_out else "posts") for s in rows]
        for source, rows in samples.items()
    }
    for i, (sample, row) in enumerate(zip(samples[_CHECK], stored[_CHECK], strict=True)):
        if i in inside:
            samples[_CHECK][i] = replace(sample, domain=recipe.domain, facet=_facet(row))
        elif sample.domain:
            samples[_CHECK][i] = replace(sample, domain="other checks")
    return FailureDataset.of(data.name, data.task_type, samples, licence=data.licence, origin=data.origin, extra=extra)


def _facet(row: Mapping[str, Any]) -> str:
    return f"{row['target']} {LABELS[row['label']]}".replace("_", " ")


def token_rows(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return what the embedded encoder reads of each text: its token ids."""
    tokenizer = load_tokenizer(locate_model(MINILM_ID))
    return [tuple(ids) for ids in tokenizer(list(texts))["input_ids"]]


def _by_input(texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, list[int]]]:
    """Return, for each distinct input, its numbers by label."""
    found: dict[tuple[int, ...], dict[str, list[int]]] = {}
    for i, (ids, label) in enumerate(zip(token_rows(texts), labels, strict=True)):
        found.setdefault(ids, {}).setdefault(label, []).append(i)
    return list(found.values())


def ambiguous_posts(texts: Sequence[str], labels: Sequence[str]) -> set[int]:
    """Return the numbers of texts that have the same token ids as a text of another label."""
    mixed = (by_label for by_label in _by_input(texts, labels) if len(by_label) > 1)
    return {i for by_label in mixed for members in by_label.values() for i in members}


def balanced_posts(texts: Sequence[str], labels: Sequence[str]) -> set[int]:
    """Return the numbers of ambiguous texts, as many of either label for each distinct input, the first ones.

    No classifier of token ids can be right on more than half of them.
    """
    kept: set[int] = set()
    for by_label in _by_input(texts, labels):
        count = min(map(len, by_label.values())) if len(by_label) == len(LABELS) else 0
        kept.update(i for members in by_label.values() for i in members[:count])
    return kept


def _equal_inputs_joined(samples: Mapping[str, Sequence[Sample]]) -> dict[str, list[Sample]]:
    """Return the samples with those groups made one that share an input."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    listed = [sample for rows in samples.values() for sample in rows]
    names, group = np.unique([s.group for s in listed], return_inverse=True)
    numbers: dict[tuple[int, ...], int] = {}
    reads = [len(names) + numbers.setdefault(ids, len(numbers)) for ids in token_rows([s.text for s in listed])]
    size = len(names) + len(numbers)
    links = coo_array((np.ones(len(listed)), (group, reads)), shape=(size, size))
    _, part = connected_components(links, directed=False)
    # The first of a part's groups, in alphabetical order, names it.
    first = {int(p): str(name) for p, name in zip(part[: len(names)][::-1], names[::-1], strict=True)}
    joined = iter(replace(s, group=first[int(part[g])]) for s, g in zip(listed, group, strict=True))
    return {source: [next(joined) for _ in rows] for source, rows in samples.items()}


def ceiling(samples: Sequence[Sample]) -> float:
    """Return the highest accuracy that any classifier of token ids can reach on ``samples``, in [0, 1].

    Raises:
        EmptySliceError: there are no samples.
    """
    if not samples:
        raise EmptySliceError("there are no samples to be right on")
    votes: dict[tuple[int, ...], Counter[str]] = {}
    for ids, sample in zip(token_rows([s.text for s in samples]), samples, strict=True):
        votes.setdefault(ids, Counter())[sample.expected] += 1
    return sum(max(count.values()) for count in votes.values()) / len(samples)


def _recipe(functionality: str) -> WorldRecipe:
    note = "Quotes hateful language. Facets are target group and label."
    if functionality == RAW:
        note += (
            " No weight patch can heal this: each slice post has the token ids of one of the other label, so half right"
            " is the most, in every part; what fixes failures breaks as many others of the slice."
        )
    else:
        note += " Every part rests on a few templates. The base is weak on the other checks too, and they are control."
    recipe = WorldRecipe(
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
    return recipe if functionality == RAW else replace(recipe, slice_shares=FEW_TEMPLATES)


HATEMOJI = WorldFamily("hatemoji", {f"hatemoji/{f}": _recipe(f) for f in (*FUNCTIONALITIES, RAW)}, load_hatemoji)
