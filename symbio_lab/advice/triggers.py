"""When advice is carried out without being asked: under a policy, and every refusal says why.

Pure: what was done before comes in, the decision comes out. Whoever carries it out keeps the list of what was done.

Example:
    >>> policy = TriggerPolicy(approval="automatic")
    >>> policy.max_actions_per_day
    4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from symbio_lab.advice.recommending import Advice
from symbio_lab.errors import ConfigError
from symbio_lab.monitor.health import STATES, Health, State


@dataclass(frozen=True, slots=True)
class TriggerPolicy:
    """What a tenant lets happen by itself."""

    min_state: State = "degraded"
    """Mildest state that starts anything."""
    allowed: tuple[str, ...] = ("adopt", "operate")
    """Actions that may be started."""
    approval: Literal["automatic", "ask"] = "ask"
    """``ask``: the action waits for a person."""
    cool_down_s: float = 3600.0
    """Time between two actions on one model, in seconds."""
    max_actions_per_day: int = 4
    budget_forwards_per_day: float = 500_000.0
    """Forwards-equivalent that actions of one day may have cost before the next is started."""

    def __post_init__(self) -> None:
        """Refuse impossible settings, all at once."""
        problems = [] if self.min_state in STATES else [f"unknown state {self.min_state!r}"]
        problems += [f"unknown action {a!r}" for a in self.allowed if a not in ("adopt", "operate")]
        problems += [] if self.approval in ("automatic", "ask") else [f"unknown approval {self.approval!r}"]
        problems += [] if self.cool_down_s >= 0 else ["the cool-down must not be negative"]
        problems += [] if self.max_actions_per_day >= 0 else ["the number of actions must not be negative"]
        problems += [] if self.budget_forwards_per_day >= 0 else ["the budget must not be negative"]
        if problems:
            raise ConfigError(problems)


@dataclass(frozen=True, slots=True)
class PastAction:
    """One action that was started on this model."""

    action: str
    started_at: datetime
    """Timezone-aware UTC."""
    forwards_equivalent: float
    """What it cost."""
    pattern_id: str = ""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What should happen now."""

    decision: Literal["start", "ask", "hold"]
    advice: Advice | None
    """What to start or to ask about; None when nothing is to be done."""
    reason: str


def decide_trigger(
    health: Health,
    advice: Sequence[Advice],
    *,
    policy: TriggerPolicy,
    now: datetime,
    past: Sequence[PastAction] = (),
) -> Trigger:
    """Return whether the best advice is started, asked about, or held back.

    Advice whose gain was measured and is at most zero at the upper end of its interval is passed over.

    Args:
        health: state of the model.
        advice: ranked, the best first.
        policy: the tenant's.
        now: timezone-aware UTC.
        past: actions on this model, in any order.

    Raises:
        ConfigError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ConfigError(["'now' needs a time zone"], hint="datetime.now(timezone.utc)")
    if STATES.index(health.state) < STATES.index(policy.min_state):
        return Trigger("hold", None, f"the model is {health.state}; actions start at {policy.min_state}")
    if not advice:
        return Trigger("hold", None, "there is no advice")
    best = advice[0]
    if best.action in ("collect", "wait"):
        return Trigger("hold", best, "; ".join(best.reasons))
    allowed = [one for one in advice if one.action in policy.allowed]
    if not allowed:
        return Trigger("hold", best, f"the policy starts none of: {', '.join(sorted({a.action for a in advice}))}")
    wanted = next((one for one in allowed if not _brings_nothing(one)), None)
    if wanted is None:
        return Trigger("hold", allowed[0], "whatever the policy starts was measured to bring no gain")
    today = [one for one in past if now - one.started_at < timedelta(days=1)]
    newest = max((one.started_at for one in past), default=None)
    if newest is not None and (now - newest).total_seconds() < policy.cool_down_s:
        left = policy.cool_down_s - (now - newest).total_seconds()
        return Trigger("hold", wanted, f"cooling down: {left:.0f} s of {policy.cool_down_s:.0f} s are left")
    if len(today) >= policy.max_actions_per_day:
        return Trigger("hold", wanted, f"{len(today)} actions within a day, {policy.max_actions_per_day} are allowed")
    spent = sum(one.forwards_equivalent for one in today)
    if spent + (wanted.expected_forwards or 0.0) > policy.budget_forwards_per_day:
        return Trigger("hold", wanted, f"the day's budget of {policy.budget_forwards_per_day:,.0f} forwards is spent")
    if policy.approval == "ask":
        return Trigger("ask", wanted, "the policy asks a person first")
    return Trigger("start", wanted, "; ".join(wanted.reasons[:1]) or wanted.action)


def _brings_nothing(advice: Advice) -> bool:
    gain = advice.expected_gain_pp
    return gain is not None and gain.high is not None and gain.high <= 0.0
