"""``hint3/<bot>``: one assistant serves three shops, trained on curated requests; live traffic of one shop fails.

Labels carry the bot (``curekart:order_status``). Out-of-scope rows measure locality.

References:
    Arora et al. 2020, HINT3: Raising the bar for Intent Detection in the Wild, Insights workshop. Differs from the
    paper: one classifier for all three bots, so that the others' live traffic can be control; corrected labels (v2).
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.loading import load_dataset
from symbio_lab.records import Sample
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

BOTS = ("sofmattress", "curekart", "powerplay11")
OUT_OF_SCOPE = "NO_NODES_DETECTED"


def load_hint3(recipe: WorldRecipe) -> FailureDataset:
    """Return the three bots as one assistant; live in-scope traffic of the world's bot is the slice."""
    data = load_dataset(recipe.dataset)
    bot = recipe.name.split("/", 1)[1]
    samples: dict[str, list[Sample]] = {"train": [], "live": [], "out_of_scope": []}
    for rows in data.samples.values():
        for sample in rows:
            live = sample.source.endswith("_test")
            source = "train" if not live else "out_of_scope" if sample.expected == OUT_OF_SCOPE else "live"
            inside = source == "live" and sample.domain == bot
            domain = recipe.domain if inside else sample.domain
            gold = f"{sample.domain}:{sample.expected}"
            samples[source].append(replace(sample, expected=gold, domain=domain, source=source))
    known = {s.expected for s in samples["train"]}
    samples["live"] = [s for s in samples["live"] if s.expected in known]
    return FailureDataset.of(data.name, data.task_type, samples, licence=data.licence, origin=data.origin)


def _recipe(bot: str) -> WorldRecipe:
    return WorldRecipe(
        name=f"hint3/{bot}",
        dataset="hint3",
        domain=f"live {bot}",
        label_shift="known",
        control_sources=("live",),
        out_of_scope_sources=("out_of_scope",),
        held_out_share=0.3,
        slice_shares=(("contributors", 0.25), ("repair", 0.40), ("judge", 0.25), ("relevance_probe", 0.10)),
        contributor_size=32,
        licence="ODbL-1.0",
        notes="The slice is a few hundred live requests: intervals are wide. One base serves all three bots; it is "
        "weak on the live traffic of the others too, and that is control.",
    )


HINT3 = WorldFamily("hint3", {f"hint3/{bot}": _recipe(bot) for bot in BOTS}, load_hint3)
