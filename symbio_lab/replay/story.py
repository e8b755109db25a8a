"""What a replay is asked to do, and what it has to say."""

from __future__ import annotations

from dataclasses import dataclass, field

from symbio_lab.advice.recommending import Advice
from symbio_lab.advice.triggers import Trigger, TriggerPolicy
from symbio_lab.deployment.gate import GatePolicy
from symbio_lab.errors import ConfigError
from symbio_lab.monitor.detectors.alarm import Alarm
from symbio_lab.monitor.extraction import Extraction
from symbio_lab.monitor.health import Health
from symbio_lab.monitor.slices import SliceSearch
from symbio_lab.pipeline import Healed
from symbio_lab.records import FailurePattern
from symbio_lab.replay.stream import StreamPlan


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How the stream is watched and what may be done."""

    plan: StreamPlan = field(default_factory=StreamPlan)
    heal: bool = False
    """Whether advice is carried out; False stops at the proposal."""
    strategy: str = "marketplace_first"
    """Carried out where the trigger's policy allows both adopting and operating."""
    batch: int = 50
    """Requests between two looks."""
    label_delay: int = 0
    """Requests after which the ground truth of a request is known."""
    window: int = 1500
    """Latest requests in which patterns are looked for."""
    false_alarms_per_10k: float = 1.0
    gate: GatePolicy = field(default_factory=GatePolicy)
    max_attempts: int = 2
    """Healing runs at most; each asks the gate at this part of its alpha."""
    trigger: TriggerPolicy = field(default_factory=lambda: TriggerPolicy(approval="automatic"))
    tenant: str = "replay"

    def __post_init__(self) -> None:
        """Refuse impossible settings, all at once.

        Raises:
            ConfigError: a number is out of range.
        """
        least = {"batch": 1, "label_delay": 0, "window": 1, "max_attempts": 1}
        problems = [f"{name} must be at least {low}" for name, low in least.items() if getattr(self, name) < low]
        if problems:
            raise ConfigError(problems)


@dataclass(slots=True)
class ReplayResult:
    """What happened, in order; positions count requests from 1."""

    num_requests: int
    shift_at: int
    failed: list[bool] = field(default_factory=list)
    """Whether each answer was wrong, (N,)."""
    shifted: list[bool] = field(default_factory=list)
    """Whether each request was of the kind that set in, (N,)."""
    seen_in_healing: list[bool] = field(default_factory=list)
    """Whether the healer was given the request or a near duplicate, (N,); recovery is stated without these."""
    alarms: list[Alarm] = field(default_factory=list)
    alarm_at: int | None = None
    """Request that raised the first alarm."""
    alarm_known_at: int | None = None
    """Request after which the first alarm was known: the ground truth had come in."""
    pattern_at: int | None = None
    """Request after which the pattern, as it is described now, was first confirmed."""
    healed_at: int | None = None
    """Request after which the deployed patch answers."""
    pattern: FailurePattern | None = None
    health: Health | None = None
    advice: tuple[Advice, ...] = ()
    trigger: Trigger | None = None
    extraction: Extraction | None = None
    search: SliceSearch | None = None
    """Everything that the latest look found."""
    healed: Healed | None = None
    """The latest healing run."""
    attempts: list[tuple[int, str]] = field(default_factory=list)
    """Request after which each healing run began, and its status."""
    num_looks: int = 0
    """Searches for patterns."""
    num_alarms_before_shift: int = 0

    @property
    def status(self) -> str:
        """``no_alarm``, ``no_pattern``, ``proposed``, or the status of the healing run."""
        if self.alarm_at is None:
            return "no_alarm"
        if self.pattern is None:
            return "no_pattern"
        return self.healed.outcome.status if self.healed is not None else "proposed"
