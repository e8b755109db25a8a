"""``sentence_polarity/checklist[-<capability>]`` and ``/advglue``: a film-review sentiment model meets other sentences.

The base knows both labels (``label_shift`` is known); what it lacks is a capability (negation, roles, time) or
robustness. CheckList cases without a binary gold label (neutral, "not negative") are left out.

Cases of one CheckList test come from a few templates. The data name the test only, so the template is induced: words
that fewer than ``MIN_SHARE`` of a test's cases use are blanks, and what is left is the template. It is the group: no
template straddles contributors, repair, judge and probe.

References:
    Ribeiro et al. 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList, ACL, section 2; Wang et al.
    2021, Adversarial GLUE, NeurIPS; Pang and Lee 2005, Seeing stars, ACL. Differs from CheckList: cases are traffic
    with accuracy, not a pass rate a test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset, load_rows
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

MIN_SHARE = 0.1
"""Share of a test's cases that a word must occur in to belong to the template."""
CAPABILITIES = ("negation", "srl", "temporal")
"""Capabilities with enough cases and failures for a world of their own."""
_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
_CHECKLIST = WorldRecipe(
    name="sentence_polarity/checklist",
    dataset="sentence_polarity",
    domain="checklist",
    label_shift="known",
    control_sources=("validation", "test"),
    group_by_text=False,
    notes="Groups are induced templates. Neutral cases have no binary label and are left out.",
)
_ADVGLUE = WorldRecipe(
    name="sentence_polarity/advglue",
    dataset="sentence_polarity",
    domain="advglue",
    label_shift="known",
    control_sources=("validation", "test"),
    group_by_text=False,
    slice_shares=(("contributors", 0.25), ("repair", 0.35), ("judge", 0.25), ("relevance_probe", 0.15)),
    contributor_size=32,
    notes="148 adversarial sentences in all: intervals are wide. The sentences they were made from are not control.",
)


def template_of(cases: Sequence[str]) -> list[str]:
    """Return the template of each case of one test, (N,): its frequent words, every other run of words a blank.

    >>> template_of(["this seat was good", "this seat was bad"] * 4 + ["this crew was nice"])[0]
    'this seat was _'
    """
    tokens = [_TOKEN.findall(case.lower()) for case in cases]
    counts = Counter(word for words in tokens for word in set(words))
    frequent = {word for word, count in counts.items() if count >= MIN_SHARE * len(cases) and count > 1}
    return [re.sub(r"_( _)+", "_", " ".join(w if w in frequent else "_" for w in words)) for words in tokens]


def checklist_samples(domain: str, capability: str | None) -> list[Sample]:
    """Return the cases with a binary gold label, grouped by template.

    The facet is the test; where the slice is one capability of a few tests, the test and how the sentence begins.
    """
    names = {0: "negative", 2: "positive"}
    rows = [r for r in load_rows("checklist_sentiment", "mft") if r["expect"] == "label" and r["label"] in names]
    by_test: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if capability in (None, str(row["capability"]).lower()):
            by_test.setdefault(str(row["test"]), []).append(i)
    samples = []
    for test, members in by_test.items():
        templates = template_of([str(rows[i]["text"]) for i in members])
        for i, template in zip(members, templates, strict=True):
            gold = names[rows[i]["label"]]
            facet = test if capability is None else f"{test[:24]}: {' '.join(template.split()[:2])}"
            samples.append(Sample(str(rows[i]["text"]), gold, f"{test}: {template}", domain, "mft", facet))
    return samples


def load_sentence_polarity(recipe: WorldRecipe) -> FailureDataset:
    """Return the reviews as base and control, and the world's slice."""
    world = recipe.name.split("/", 1)[1]
    data = load_dataset("sentence_polarity")
    samples = {source: [replace(s, domain="reviews") for s in rows] for source, rows in data.samples.items()}
    if world == "advglue":
        adversarial, samples["test"] = _advglue(samples["test"], recipe.domain)
        samples["advglue"] = adversarial
    else:
        capability = world.partition("-")[2] or None
        samples["mft"] = checklist_samples(recipe.domain, capability)
    return FailureDataset.of(world, data.task_type, samples, licence=data.licence, origin=data.origin)


def _advglue(test: Sequence[Sample], domain: str) -> tuple[list[Sample], list[Sample]]:
    """Return the adversarial sentences, grouped by origin, and the reviews without those origins."""
    rows = load_rows("advglue_sst2", "test")
    texts = {str(r["id"]): str(r["text"]) for r in load_rows("sentence_polarity", "test")}
    origins = {texts[r["mr_source"]] for r in rows if r["mr_source"] in texts}
    found = [
        Sample(
            str(row["text"]),
            ("negative", "positive")[row["label"]],
            f"origin {row['mr_source'] or row['idx']}",
            domain,
            "advglue",
        )
        for row in rows
    ]
    return found, [s for s in test if s.text not in origins]


def _recipes() -> dict[str, WorldRecipe]:
    parts = {
        f"sentence_polarity/checklist-{name}": replace(
            _CHECKLIST, name=f"sentence_polarity/checklist-{name}", domain=f"checklist {name}"
        )
        for name in CAPABILITIES
    }
    return {_CHECKLIST.name: _CHECKLIST, **parts, _ADVGLUE.name: _ADVGLUE}


SENTENCE_POLARITY = WorldFamily("sentence_polarity", _recipes(), load_sentence_polarity)
