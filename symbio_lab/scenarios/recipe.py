"""What a world is made from, as plain settings whose content id names the cached base and pools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symbio_lab.errors import ConfigError
from symbio_lab.records import LabelShift, TaskType

Relevance = Literal["null", "low", "medium", "high"]
RELEVANCES: tuple[Relevance, ...] = ("null", "low", "medium", "high")
CONTRIBUTOR_SIZES = (32, 128, 512)
NUM_CONTRIBUTORS = 12
FORMAT = 1
"""Raised when bases or pools of the same settings would come out differently."""

COVERAGE: dict[Relevance, tuple[float, ...]] = {
    "null": (1.0, 0.9, 0.8, 0.8, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0, 0.0),
    "low": (0.0,) * NUM_CONTRIBUTORS,
    "medium": (0.4, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0),
    "high": (1.0, 0.9, 0.8, 0.8, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0, 0.0),
}
"""Share of the slice's labels that each contributor knows. 0 is a patch for another domain. A null pool takes the
donors of ``high`` and replaces their deltas by random ones."""


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
    group_by_text: bool = True
    """Group by near-duplicate text; False keeps the data set's own groups (templates)."""
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
    contributor_size: int = 128
    """Training samples of each contributor, at most."""
    top_layers: tuple[int | None, ...] = (3, 3, 3, 2, None)
    """Upper layers that contributors adapt, drawn at random; None is all."""
    surgery_top_layers: int | None = 3
    """Upper layers that LoRA surgery adapts; on the tuning world as good as all six and 2.7 times cheaper."""


def check_pool(relevance: str, contributor_size: int) -> None:
    """Raise ``ConfigError`` naming every wrong pool setting."""
    problems = []
    if relevance not in RELEVANCES:
        problems.append(f"unknown pool {relevance!r}; use one of {', '.join(RELEVANCES)}")
    if contributor_size not in CONTRIBUTOR_SIZES:
        problems.append(f"contributor size {contributor_size} is not one of {', '.join(map(str, CONTRIBUTOR_SIZES))}")
    if problems:
        raise ConfigError(problems)
