"""From advice to what is carried out: which strategy a policy leaves, what its gate needs, and what was done.

Rules:
    1. What the policy forbids is not carried out: where only adopting is allowed, nothing falls back to operating.
    2. The number of healing runs is declared beforehand; every run asks the gate at alpha / runs, so that all of them
       together err as seldom as one would.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from symbio_lab.advice.recommending import FixEvidence
from symbio_lab.advice.triggers import TriggerPolicy
from symbio_lab.deployment.gate import GatePolicy
from symbio_lab.healing.catalogue import healing_strategy
from symbio_lab.monitor.extraction import GateNeeds
from symbio_lab.pipeline import Healed
from symbio_lab.replay.story import ReplaySettings

if TYPE_CHECKING:
    from collections.abc import Iterable

ACTIONS = {"marketplace": "adopt", "surgery": "operate"}
"""Route of a healing run -> action of the advice."""
DECIDED = ("accepted", "undecided", "rejected")
"""Statuses of an attempt that the gate was asked about."""


def allowed_strategy(policy: TriggerPolicy, wanted: str) -> str:
    """Return the strategy to carry out under a policy.

    Args:
        policy: what may be started.
        wanted: strategy that runs where both adopting and operating are allowed.

    >>> allowed_strategy(TriggerPolicy(allowed=("adopt",)), "marketplace_first")
    'best_single'
    >>> allowed_strategy(TriggerPolicy(allowed=("operate",)), "marketplace_first")
    'surgery_only'
    """
    allowed = set(policy.allowed)
    if allowed == {"adopt"}:
        return "best_single"
    return "surgery_only" if allowed == {"operate"} else wanted


def gate_of_one_run(settings: ReplaySettings) -> GatePolicy:
    """Return the gate of each healing run: its alpha is shared among the runs that were declared."""
    return replace(settings.gate, alpha=settings.gate.alpha / settings.max_attempts)


def gate_needs(settings: ReplaySettings) -> GateNeeds:
    """Return what the gate of one healing run asks for.

    Raises:
        ConfigError: an unknown strategy.
    """
    gate = gate_of_one_run(settings)
    looks = healing_strategy(allowed_strategy(settings.trigger, settings.strategy)).looks
    return GateNeeds(
        gate.min_fix_rate, gate.max_negative_flip_rate, gate.alpha, max(looks, 1), min_controls=gate.min_controls
    )


def route_of(healed: Healed) -> str:
    """Return the route that the gate was asked about last, accepted or not; ``none`` where it was not asked."""
    asked = [attempt.kind for attempt in healed.outcome.attempts if attempt.status in DECIDED]
    return asked[-1] if asked else "none"


def surgery_evidence(runs: Iterable[Healed], *, by: str) -> tuple[FixEvidence, ...]:
    """Return what the gate measured of the surgery of earlier healing runs, one entry each.

    Args:
        runs: healing runs on one model.
        by: who measured it.
    """
    found = []
    for healed in runs:
        verdict, proposed = healed.verdict, healed.outcome.proposed
        if verdict is None or proposed is None or route_of(healed) != "surgery":
            continue
        found.append(
            FixEvidence(
                proposed.patch_id,
                round((verdict.fix_rate or 0.0) * verdict.num_failures),
                verdict.num_failures,
                round((verdict.negative_flip_rate or 0.0) * verdict.num_controls),
                verdict.num_controls,
                healed.outcome.cost.total("forwards_equivalent"),
                by,
            )
        )
    return tuple(found)
