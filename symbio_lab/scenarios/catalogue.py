"""The worlds by name: those of the lab, then those that installed packages register.

A package registers a ``WorldFamily`` by the entry point group ``symbio_lab.worlds``.
"""

from __future__ import annotations

from dataclasses import replace

from symbio_lab.errors import ConfigError, UnknownDatasetError
from symbio_lab.plugins import load_plugins
from symbio_lab.scenarios.families.banking77 import BANKING77
from symbio_lab.scenarios.families.clinc150 import CLINC150
from symbio_lab.scenarios.families.hatemoji import HATEMOJI
from symbio_lab.scenarios.families.helpdesk import HELPDESK
from symbio_lab.scenarios.families.hint3 import HINT3
from symbio_lab.scenarios.families.multidogo import MULTIDOGO
from symbio_lab.scenarios.families.scan import SCAN
from symbio_lab.scenarios.families.sentence_polarity import SENTENCE_POLARITY
from symbio_lab.scenarios.families.sgd_nlg import SGD_NLG
from symbio_lab.scenarios.family import WorldFamily
from symbio_lab.scenarios.recipe import WorldRecipe

WORLD_GROUP = "symbio_lab.worlds"
TUNING_WORLDS = ("clinc150/small_talk", "scan/add-look")
"""Hyper-parameters were chosen on these; reports about methods leave them out."""
BUILT_IN: tuple[WorldFamily, ...] = (
    HELPDESK,
    CLINC150,
    BANKING77,
    SENTENCE_POLARITY,
    HINT3,
    MULTIDOGO,
    HATEMOJI,
    SCAN,
    SGD_NLG,
)


def families() -> tuple[WorldFamily, ...]:
    """Return all families, the embedded default first, plugins last.

    Raises:
        PluginError: an installed plugin cannot be loaded or is no ``WorldFamily``.
    """
    taken = {family.name for family in BUILT_IN}
    return (*BUILT_IN, *load_plugins(WORLD_GROUP, WorldFamily, taken).values())


def scenario_names() -> tuple[str, ...]:
    """Return the names of all worlds, the embedded default first."""
    return tuple(name for family in families() for name in family.recipes)


def scenario_family(name: str) -> WorldFamily:
    """Return the family of a world.

    Raises:
        UnknownDatasetError: no world has this name.
    """
    for family in families():
        if name in family.recipes:
            return family
    raise UnknownDatasetError(name, known=scenario_names())


def scenario_recipe(
    name: str, *, contributor_size: int | None = None, base_per_label: int | None = None
) -> WorldRecipe:
    """Return the settings of a world.

    Args:
        name: ``family/world``, or ``family``.
        contributor_size: training samples of each contributor; None keeps the world's default.
        base_per_label: training samples of the base for each label, at most; None keeps the world's default.

    Raises:
        UnknownDatasetError: no world has this name.
        ConfigError: the world's base is no classifier, so that it has no labels.
    """
    recipe = scenario_family(name).recipe(name)
    if base_per_label is not None and recipe.task_type != "text_classification":
        raise ConfigError([f"base_per_label is for classifiers; {name} is {recipe.task_type}"])
    return replace(
        recipe,
        contributor_size=contributor_size or recipe.contributor_size,
        base_per_label=base_per_label or recipe.base_per_label,
    )
