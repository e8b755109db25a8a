"""What a comparison runs: one cell for each strategy and seed, named by its content."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from symbio_lab import __version__
from symbio_lab.deployment.gate import GATE_POLICIES
from symbio_lab.errors import ConfigError
from symbio_lab.healing.catalogue import strategy_names
from symbio_lab.records import content_id
from symbio_lab.scenarios.recipe import CONTRIBUTOR_SIZES, RELEVANCES

REFERENCE_ARMS = ("oracle_best", "surgery_donor_data")
"""Rows that read what no healer may: hindsight, and the best contributor's data."""
DEFAULT_STRATEGIES = ("noop", "null_pool", "best_single", "surgery_only", "marketplace_first")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
    """Everything that decides the figures of a comparison."""

    scenario: str
    pool: str = "high"
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    seeds: tuple[int, ...] = (0,)
    world_seed: int = 0
    n_repair: int = 16
    """Labelled failures given, ``selection`` included."""
    n_replay: int = 512
    n_control: int = 1000
    """Control samples for the gate, at most."""
    contributor_size: int | None = None
    base_per_label: int | None = None
    """Training samples of the base for each label, at most; None takes the world's."""
    gate: str = "lab"
    budget_forwards: float | None = None
    """Forwards-equivalent of each cell; None takes the world's."""
    max_marketplace_patches: int = 20
    reference_arms: tuple[str, ...] = REFERENCE_ARMS
    own_data: bool = False
    """The scenario is a slice of a user's own data, ``pool`` the address of a market or ``none``."""

    def check(self) -> None:
        """Raise ``ConfigError`` naming every wrong setting at once."""
        problems = []
        known = (*strategy_names(), *REFERENCE_ARMS)
        problems += [
            f"unknown strategy {name!r}; use some of {', '.join(known)}"
            for name in self.strategies
            if name not in known
        ]
        problems += [f"unknown reference arm {name!r}" for name in self.reference_arms if name not in REFERENCE_ARMS]
        if not self.strategies:
            problems.append("no strategies given")
        if len(set(self.strategies)) < len(self.strategies) or len(set(self.seeds)) < len(self.seeds):
            problems.append("strategies and seeds must not repeat")
        if not self.seeds:
            problems.append("no seeds given")
        if self.pool not in RELEVANCES and not self.own_data:
            problems.append(f"unknown pool {self.pool!r}; use one of {', '.join(RELEVANCES)}")
        if self.contributor_size not in (None, *CONTRIBUTOR_SIZES):
            problems.append(f"contributor size must be one of {', '.join(map(str, CONTRIBUTOR_SIZES))}")
        if self.base_per_label is not None and self.base_per_label < 2:
            problems.append("base_per_label must be at least 2")
        if self.gate not in GATE_POLICIES:
            problems.append(f"unknown gate {self.gate!r}; use one of {', '.join(GATE_POLICIES)}")
        if self.n_repair < 2:
            problems.append("n_repair must be at least 2: one failure to repair, one to decide on")
        limited = self.budget_forwards is not None and self.budget_forwards <= 0
        if min(self.n_replay, self.n_control, self.max_marketplace_patches) < 1 or limited:
            problems.append("n_replay, n_control, max_marketplace_patches and budget_forwards must be positive")
        if problems:
            raise ConfigError(problems)

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms in running order: the strategies, then the reference arms not among them."""
        return (*self.strategies, *(name for name in self.reference_arms if name not in self.strategies))

    def cells(self) -> list[tuple[str, int]]:
        """Return (strategy, seed) in running order: reference arms last within a seed."""
        return [(name, seed) for seed in self.seeds for name in self.arms]

    def cell_key(self, strategy: str, seed: int, world_digest: str, pool_digest: str) -> str:
        """Return the content key of one cell; results are resumed only under an equal key."""
        settings = {k: v for k, v in asdict(self).items() if k not in ("strategies", "seeds", "reference_arms")}
        return content_id([FORMAT, __version__, settings, strategy, seed, world_digest, pool_digest])[:20]
