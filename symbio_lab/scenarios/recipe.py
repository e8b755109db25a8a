"""What a world is made from, as plain settings whose content id names the cached base and pools."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from symbio_lab.errors import ConfigError
from symbio_lab.records import LabelShift, TaskType
from symbio_lab.surgery.lora_training import LoraSettings

Relevance = Literal["null", "low", "medium", "high"]
RELEVANCES: tuple[Relevance, ...] = ("null", "low", "medium", "high")
CONTRIBUTOR_SIZES = (32, 128, 512)
NUM_CONTRIBUTORS = 12
FORMAT = 2
"""Raised when bases or pools of the same settings would come out differently."""

COVERAGE: dict[Relevance, tuple[float, ...]] = {
    "null": (1.0, 0.9, 0.8, 0.8, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0, 0.0),
    "low": (0.0,) * NUM_CONTRIBUTORS,
    "medium": (0.4, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0),
    "high": (1.0, 0.9, 0.8, 0.8, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0, 0.0),
}
"""Share of the slice's facets (labels, templates, lengths ...) that each contributor knows. 0 is a patch for another
domain. A null pool takes the donors of ``high`` and replaces their deltas by random ones."""


@dataclass(frozen=True, slots=True)
class WorldRecipe:
    """Settings of one world."""

    name: str
    """``family/world``, or ``family``."""
    dataset: str
    domain: str
    """The slice: the domain that the base never learns."""
    task_type: TaskType = "text_classification"
    label_shift: LabelShift = "new"
    train_sources: tuple[str, ...] = ("train",)
    """Source splits that the base is trained on."""
    control_sources: tuple[str, ...] = ("validation", "test")
    """Source splits that control traffic is drawn from."""
    out_of_scope_sources: tuple[str, ...] = ()
    held_out_share: float = 0.0
    """Share of the base's training groups that it never sees and that join the control traffic."""
    kept_sources: tuple[str, ...] = ()
    """Source splits of which nothing is held out."""
    group_by_text: bool = True
    """Group by near-duplicate text; False keeps the data set's own groups (templates)."""
    disjoint_by: Literal["group", "text"] = "group"
    """``text`` where a grammar makes disjoint groups impossible; reports say so."""
    slice_shares: tuple[tuple[str, float], ...] = (
        ("contributors", 0.45),
        ("repair", 0.25),
        ("judge", 0.20),
        ("relevance_probe", 0.10),
    )
    """How the slice's groups are divided."""
    probe_control_share: float = 0.10
    """Share of control groups kept for measuring relevance only."""
    n_replay_pool: int = 2000
    base_per_label: int | None = None
    """Training samples of the base for each label, at most; None takes all. Bases of few samples leave more to gain."""
    contributor_size: int = 128
    """Training samples of each contributor, at most."""
    top_layers: tuple[int | None, ...] = (3, 3, 3, 2, None)
    """Upper layers that contributors adapt, drawn at random; None is all."""
    ranks: tuple[int, ...] = (4, 8, 16)
    """Ranks of contributors' patches, drawn at random."""
    targets: tuple[str, ...] = ("query_value", "query_value", "all_linear")
    """Modules that contributors adapt, drawn at random."""
    contributor_lora: LoraSettings | None = None
    """Contributors' other hyper-parameters; None takes the lab's, with epochs by contributor size."""
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(top_layers=3))
    """LoRA surgery. The default's three upper layers were as good as all six on one seed of the tuning world, at 1.8
    times fewer forwards-equivalent a step."""
    budget_forwards: float = 60_000.0
    """Budget of one healing run where none is asked for."""
    licence: str = "CC-BY-4.0"
    """Of contributors' patches."""
    notes: str = ""
    """What a reader of this world's figures must know."""


def scenario_settings(recipe: WorldRecipe) -> dict[str, Any]:
    """Return the settings that decide a pool; what healers alone read, and options that are off, do not count."""
    settings = {k: v for k, v in asdict(recipe).items() if k not in ("lora", "budget_forwards", "notes")}
    if recipe.base_per_label is None:
        del settings["base_per_label"]
    return settings


def check_pool(relevance: str, contributor_size: int) -> None:
    """Raise ``ConfigError`` naming every wrong pool setting."""
    problems = []
    if relevance not in RELEVANCES:
        problems.append(f"unknown pool {relevance!r}; use one of {', '.join(RELEVANCES)}")
    if contributor_size not in CONTRIBUTOR_SIZES:
        problems.append(f"contributor size {contributor_size} is not one of {', '.join(map(str, CONTRIBUTOR_SIZES))}")
    if problems:
        raise ConfigError(problems)
