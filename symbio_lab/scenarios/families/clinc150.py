"""``clinc150/<domain>``: the base never learns one of ten domains; out-of-scope requests measure locality."""

from __future__ import annotations

from symbio_lab.failures.clinc_domains import CLINC_DOMAINS
from symbio_lab.failures.loading import load_dataset
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe


def _recipe(domain: str) -> WorldRecipe:
    return WorldRecipe(name=f"clinc150/{domain}", dataset="clinc150", domain=domain, out_of_scope_sources=("oos_test",))


CLINC150 = WorldFamily(
    "clinc150",
    {f"clinc150/{domain}": _recipe(domain) for domain in CLINC_DOMAINS},
    lambda recipe: load_dataset(recipe.dataset),
)
