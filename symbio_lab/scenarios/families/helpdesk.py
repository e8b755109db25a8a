"""``helpdesk``: the generated customer-service corpus, the embedded default; the base never learns ``warranty``."""

from __future__ import annotations

from symbio_lab.failures.loading import load_dataset
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

_RECIPE = WorldRecipe(
    name="helpdesk",
    dataset="helpdesk",
    domain="warranty",
    control_sources=("test",),
    group_by_text=False,
    contributor_size=32,
    top_layers=(2, 2, 3),
    n_replay_pool=1000,
)
HELPDESK = WorldFamily("helpdesk", {"helpdesk": _RECIPE}, lambda recipe: load_dataset(recipe.dataset))
