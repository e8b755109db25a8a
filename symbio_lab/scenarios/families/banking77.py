"""``banking77/new-intents``: the 27 intents that are customarily held out are new; the base knows the other 50.

References:
    Zhang et al. 2022, Are Pretrained Transformers Robust in Intent Classification?, section 3 (BANKING77-OOS: the 27
    in-domain out-of-scope intents). Differs from the paper: they become a failing slice with labels, not a reject
    class.
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.held_out_intents import BANKING77_HELD_OUT
from symbio_lab.failures.loading import load_dataset
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

_RECIPE = WorldRecipe(
    name="banking77/new-intents",
    dataset="banking77",
    domain="new banking intents",
    control_sources=("test",),
    notes="All intents are of one domain, so contributors without the slice's knowledge know the base's own intents.",
)


def load_banking77(recipe: WorldRecipe) -> FailureDataset:
    """Return BANKING77 with the held-out intents as the slice."""
    data = load_dataset(recipe.dataset)
    samples = {
        source: [replace(s, domain=recipe.domain if s.expected in BANKING77_HELD_OUT else s.domain) for s in rows]
        for source, rows in data.samples.items()
    }
    return FailureDataset.of(
        data.name, data.task_type, samples, licence=data.licence, origin=data.origin, extra=dict(data.extra)
    )


BANKING77 = WorldFamily("banking77", {_RECIPE.name: _RECIPE}, load_banking77)
