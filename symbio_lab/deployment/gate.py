"""The gate: a patch is deployed only when exact one-sided bounds say so.

Rules:
    1. Bounds are one-sided Clopper-Pearson at alpha / looks; the number of looks is declared before the first.
    2. Accept: lower(fix rate on selection) >= ``min_fix_rate`` and upper(negative flip rate on control_selection)
       <= ``max_negative_flip_rate``.
    3. Reject: upper(fix rate) or lower(negative flip rate) violates its limit.
    4. Otherwise undecided, with the number of samples that would decide at the observed rates.

References:
    Clopper and Pearson 1934. Bonferroni correction over looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symbio_lab.errors import ConfigError
from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.stats.intervals import clopper_pearson_lower, clopper_pearson_upper
from symbio_lab.stats.power import num_samples_to_decide

Decision = Literal["accept", "reject", "undecided"]


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a tenant asks of a patch."""

    name: str = "lab"
    min_fix_rate: float = 0.10
    max_negative_flip_rate: float = 0.05
    alpha: float = 0.05
    min_controls: int = 400
    """Fewer control samples never accept."""
    when_undecided: Literal["hold", "shadow", "canary"] = "hold"
    """Stage for an undecided patch."""


GATE_POLICIES = {
    "lab": GatePolicy(),
    "strict": GatePolicy(name="strict", max_negative_flip_rate=0.02),
}


def gate_policy(name: str) -> GatePolicy:
    """Return a named gate policy.

    Raises:
        ConfigError: there is none.
    """
    if name not in GATE_POLICIES:
        raise ConfigError([f"unknown gate policy {name!r}; use one of {', '.join(GATE_POLICIES)}"])
    return GATE_POLICIES[name]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said and on which figures."""

    decision: Decision
    code: str
    """``accepted``, ``fix_rate_too_low``, ``too_many_flips``, ``undecided`` or ``too_few_controls``."""
    fix_rate: float | None
    fix_rate_low: float
    """One-sided bounds at alpha / looks."""
    fix_rate_high: float
    num_failures: int
    negative_flip_rate: float | None
    negative_flip_rate_low: float
    negative_flip_rate_high: float
    num_controls: int
    """Control samples that the base answers rightly."""
    looks: int
    num_failures_to_decide: int | None
    """Failures needed at this rate; None when the rate itself is on the wrong side, or the bound already clears."""
    num_controls_to_decide: int | None

    def figures(self) -> dict[str, float]:
        """Return the figures as a flat mapping for an ``Attempt``."""
        names = ("fix_rate_low", "fix_rate_high", "negative_flip_rate_low", "negative_flip_rate_high")
        found = {name: float(getattr(self, name)) for name in names}
        found |= {"fix_rate": self.fix_rate or 0.0, "negative_flip_rate": self.negative_flip_rate or 0.0}
        return found | {"num_failures": self.num_failures, "num_controls": self.num_controls, "looks": self.looks}


def decide(selection: Outcomes, control: Outcomes, policy: GatePolicy, *, looks: int = 1) -> Verdict:
    """Return the verdict on one candidate.

    Args:
        selection: outcomes on ``selection``: failures of the base, never trained or screened on.
        control: outcomes on ``control_selection``.
        policy: the limits.
        looks: how often this run may ask the gate, declared beforehand.
    """
    alpha = policy.alpha / max(looks, 1)
    _, _, fixed, unfixed = selection.counts()
    kept, broken, _, _ = control.counts()
    n, m = fixed + unfixed, kept + broken
    low, high = clopper_pearson_lower(fixed, n, alpha), clopper_pearson_upper(fixed, n, alpha)
    flip_low, flip_high = clopper_pearson_lower(broken, m, alpha), clopper_pearson_upper(broken, m, alpha)
    decision: Decision = "undecided"
    code = "undecided"
    if high < policy.min_fix_rate:
        decision, code = "reject", "fix_rate_too_low"
    elif flip_low > policy.max_negative_flip_rate:
        decision, code = "reject", "too_many_flips"
    elif len(control) < policy.min_controls:
        code = "too_few_controls"
    elif low >= policy.min_fix_rate and flip_high <= policy.max_negative_flip_rate:
        decision, code = "accept", "accepted"
    need_failures = need_controls = None
    if decision == "undecided" and n and low < policy.min_fix_rate:
        need_failures = num_samples_to_decide(fixed, n, policy.min_fix_rate, alpha, side="lower")
    if decision == "undecided" and m and flip_high > policy.max_negative_flip_rate:
        need_controls = num_samples_to_decide(broken, m, policy.max_negative_flip_rate, alpha, side="upper")
    if code == "too_few_controls" and flip_high <= policy.max_negative_flip_rate:
        need_controls = policy.min_controls
    return Verdict(
        decision=decision,
        code=code,
        fix_rate=fixed / n if n else None,
        fix_rate_low=low,
        fix_rate_high=high,
        num_failures=n,
        negative_flip_rate=broken / m if m else None,
        negative_flip_rate_low=flip_low,
        negative_flip_rate_high=flip_high,
        num_controls=m,
        looks=looks,
        num_failures_to_decide=need_failures,
        num_controls_to_decide=need_controls,
    )
