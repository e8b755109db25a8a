"""A stream of real test traffic in whose middle another kind of request sets in.

Before the shift: held-out traffic that the base was trained for. From the shift on, a given share of the requests is of
the domain that the base never learnt. No text occurs twice, no text was in the base's or a contributor's training.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.errors import ConfigError, DataError, UnknownDatasetError
from symbio_lab.records import Sample
from symbio_lab.scenarios.catalogue import scenario_names, scenario_recipe
from symbio_lab.scenarios.world import World
from symbio_lab.seeding import numpy_generator, shuffled


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What is streamed."""

    dataset: str = "clinc150"
    shift: str = "domain:travel"
    """``domain:NAME``: requests of a domain that the base never learnt set in."""
    at: int = 3000
    """Requests before the shift."""
    share: float = 0.3
    """Share of the shifted requests after it, in (0, 1]."""
    seed: int = 0
    """Order of the requests."""

    def scenario(self) -> str:
        """Return the world whose base lacks what sets in.

        Raises:
            ConfigError: the shift is not understood, or a number is out of range; everything at once.
            UnknownDatasetError: no world has this dataset and domain.
        """
        kind, _, name = self.shift.partition(":")
        problems = [] if kind == "domain" and name else [f"a shift is written domain:NAME, not {self.shift!r}"]
        problems += [] if self.at >= 1 else ["at least one request must come before the shift"]
        problems += [] if 0.0 < self.share <= 1.0 else [f"the share must lie in (0, 1], not {self.share}"]
        if problems:
            raise ConfigError(problems)
        recipes = {world: scenario_recipe(world) for world in scenario_names()}
        recipes = {w: r for w, r in recipes.items() if r.dataset == self.dataset}
        for world, recipe in recipes.items():
            if name in (recipe.domain, world.partition("/")[2]):
                return world
        known = sorted({f"{self.dataset} domain:{r.domain}" for r in recipes.values()}) or ["clinc150 domain:travel"]
        raise UnknownDatasetError(f"{self.dataset} {self.shift}", known=known)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the stream."""

    sample: Sample
    shifted: bool
    """Whether it is of the kind that sets in."""


def build_stream(world: World, plan: StreamPlan) -> tuple[Request, ...]:
    """Return the requests in order; the stream ends where either kind is used up.

    Raises:
        DataError: the world has too little held-out traffic for the plan.
    """
    sources = world.sources.incident
    usual = shuffled(sources.control, plan.seed, "replay", "usual")
    strange = shuffled((*sources.slice_repair, *sources.slice_judge), plan.seed, "replay", "shifted")
    if len(usual) <= plan.at or not strange:
        raise DataError(
            f"there are {len(usual)} held-out requests, {plan.at} should come before the shift",
            hint=f"choose --at below {len(usual)}",
        )
    stream = [Request(sample, shifted=False) for sample in usual[: plan.at]]
    left, rng = usual[plan.at :], numpy_generator(plan.seed, "replay", "mix")
    while True:
        shifted = bool(rng.random() < plan.share)
        queue = strange if shifted else left
        if not queue:
            return tuple(stream)
        stream.append(Request(queue.pop(0), shifted))
