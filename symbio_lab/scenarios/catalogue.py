"""The worlds by name: ``helpdesk`` (generated, the embedded default) and ``clinc150/<domain>``."""

from __future__ import annotations

from symbio_lab.errors import UnknownDatasetError
from symbio_lab.failures.clinc_domains import CLINC_DOMAINS
from symbio_lab.scenarios.recipe import WorldRecipe

TUNING_WORLDS = ("clinc150/small_talk",)
"""Hyper-parameters were chosen on these; reports about methods leave them out."""


def scenario_names() -> tuple[str, ...]:
    """Return all names, the embedded default first."""
    return ("helpdesk", *(f"clinc150/{domain}" for domain in CLINC_DOMAINS))


def scenario_recipe(name: str, *, contributor_size: int | None = None) -> WorldRecipe:
    """Return the settings of a world.

    Args:
        name: ``helpdesk`` or ``clinc150/<domain>``.
        contributor_size: training samples of each contributor; None keeps the world's default.

    Raises:
        UnknownDatasetError: no world has this name.
    """
    if name not in scenario_names():
        raise UnknownDatasetError(name, known=scenario_names())
    if name == "helpdesk":
        return WorldRecipe(
            name=name,
            dataset="helpdesk",
            domain="warranty",
            control_sources=("test",),
            group_by_text=False,
            contributor_size=contributor_size or 32,
            top_layers=(2, 2, 3),
            n_replay_pool=1000,
        )
    return WorldRecipe(
        name=name,
        dataset="clinc150",
        domain=name.split("/", 1)[1],
        out_of_scope_sources=("oos_test",),
        contributor_size=contributor_size or 128,
    )
