"""``sentence_polarity/checklist[-<capability>]`` and ``/advglue``: a film-review sentiment model meets other sentences.

The base knows both labels (``label_shift`` is known); what it lacks is a capability (negation, roles, time) or
robustness. CheckList cases without a binary gold label (neutral, "not negative") are left out.

Cases of one CheckList test come from a few templates. The data name the test only, so the template is induced from
the cases of a capability, whose tests share their lexicons (``failures/templates.py``). It is the group: no template
straddles contributors, repair, judge and probe. Cases of two templates may still have the same words in another order,
or another answer to the same question, and so another meaning.

Negation and roles (SRL) are worlds of their own. Time has one test of eight templates, vocabulary two templates that
matter: too few to be divided by template and by what contributors know.

References:
    Ribeiro et al. 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList, ACL, section 2; Wang et al.
    2021, Adversarial GLUE, NeurIPS; Pang and Lee 2005, Seeing stars, ACL. Differs from CheckList: cases are traffic
    with accuracy, not a pass rate a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbio_lab.failures.catalogue import get_card
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset, load_rows
from symbio_lab.failures.templates import induced_templates, template_families
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

CAPABILITIES = {
    "negation": "Every case is negative: a patch that always says so heals the slice, and control is what stops it.",
    "srl": "Three tests of fourteen templates: some parts of the slice rest on one template a test, or on none.",
}
"""Capabilities that are worlds of their own -> what to know about them."""
MIN_TEMPLATES = 4
"""Templates of a facet in a capability's world: one for each role of the slice."""
_CHECKLIST = WorldRecipe(
    name="sentence_polarity/checklist",
    dataset="sentence_polarity",
    domain="checklist",
    label_shift="known",
    control_sources=("validation", "test"),
    group_by_text=False,
    contributor_size=32,
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
    licence="CC-BY-SA-4.0",
    notes="148 adversarial sentences in all: intervals are wide, facets are the two labels. The reviews they were made "
    "from are not control.",
)


def checklist_samples(domain: str, capability: str | None) -> list[Sample]:
    """Return the cases with a binary gold label, grouped by template.

    The facet is the test. Where the slice is one capability, so of few tests, it is the test, the family of alike
    templates in it (families of fewer than ``MIN_TEMPLATES`` are joined) and the gold label.

    Args:
        domain: name of the slice.
        capability: lower-case name of the capability; None takes all.
    """
    names = {0: "negative", 2: "positive"}
    rows = [r for r in load_rows("checklist_sentiment", "mft") if r["expect"] == "label" and r["label"] in names]
    samples = []
    for name in dict.fromkeys(str(row["capability"]) for row in rows):
        if capability not in (None, name.lower()):
            continue
        cases = [row for row in rows if row["capability"] == name]
        templates = induced_templates([str(row["text"]) for row in cases])
        by_test: dict[str, dict[str, None]] = {}
        for row, template in zip(cases, templates, strict=True):
            by_test.setdefault(str(row["test"]), {})[template] = None
        families = {test: template_families(list(found), MIN_TEMPLATES) for test, found in by_test.items()}
        for row, template in zip(cases, templates, strict=True):
            test = str(row["test"])
            gold = names[row["label"]]
            facet = " ".join(f"{test}: {families[test][template]} {gold}".split()) if capability else test
            samples.append(Sample(str(row["text"]), gold, f"{test}: {template}", domain, "mft", facet))
    return samples


def load_sentence_polarity(recipe: WorldRecipe) -> FailureDataset:
    """Return the reviews as base and control, and the world's slice."""
    world = recipe.name.split("/", 1)[1]
    data = load_dataset("sentence_polarity")
    samples = {source: [replace(s, domain="reviews") for s in rows] for source, rows in data.samples.items()}
    if world == "advglue":
        samples["advglue"], samples["test"] = _advglue(samples["test"], recipe.domain)
        second = get_card("advglue_sst2")
    else:
        samples["mft"] = checklist_samples(recipe.domain, world.partition("-")[2] or None)
        second = get_card("checklist_sentiment")
    licence = f"{data.licence} AND {second.licence}"
    return FailureDataset.of(world, data.task_type, samples, licence=licence, origin=data.origin)


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
            _CHECKLIST,
            name=f"sentence_polarity/checklist-{name}",
            domain=f"checklist {name}",
            notes=f"{_CHECKLIST.notes} {note}",
        )
        for name, note in CAPABILITIES.items()
    }
    return {_CHECKLIST.name: _CHECKLIST, **parts, _ADVGLUE.name: _ADVGLUE}


SENTENCE_POLARITY = WorldFamily("sentence_polarity", _recipes(), load_sentence_polarity)
