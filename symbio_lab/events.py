"""Typed progress events: one frozen dataclass each, so that every front end listens to the same run.

A listener is any callable that takes an event. It must not raise; it cannot steer a run.

Example:
    >>> seen = []
    >>> emit(seen.append, PhaseStarted("search"))
    >>> seen[0].phase
    'search'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    def to_json(self) -> dict[str, Any]:
        """Return the event as a JSON object with its type name."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, slots=True)
class PhaseStarted(Event):
    """A phase began."""

    phase: str


@dataclass(frozen=True, slots=True)
class PhaseFinished(Event):
    """A phase ended."""

    phase: str
    wall_s: float
    forwards_equivalent: float


@dataclass(frozen=True, slots=True)
class SearchFinished(Event):
    """The marketplace answered."""

    num_candidates: int
    num_refused: int


@dataclass(frozen=True, slots=True)
class CandidateRefused(Event):
    """A trust rule refused a candidate."""

    ref: str
    code: str


@dataclass(frozen=True, slots=True)
class CandidateScreened(Event):
    """A candidate ran on the repair samples."""

    ref: str
    fix_rate: float
    flip_rate: float
    n: int


@dataclass(frozen=True, slots=True)
class SurgeryFinished(Event):
    """A surgery method produced a patch."""

    method: str
    num_samples: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class GateDecided(Event):
    """The gate gave its verdict."""

    ref: str
    decision: str
    fix_rate: float
    fix_rate_low: float
    flip_rate: float
    flip_rate_high: float


@dataclass(frozen=True, slots=True)
class Deployed(Event):
    """A patch went live, or was rolled back."""

    deployment_id: str
    patch_id: str | None
    stage: str


@dataclass(frozen=True, slots=True)
class Contributed(Event):
    """A patch was published back."""

    patch_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class BuildProgress(Event):
    """A world or pool is being built: ``done`` of ``total`` steps."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CellStarted(Event):
    """One cell of a comparison is computed now; one that is stored already only finishes."""

    strategy: str
    seed: int
    number: int
    """From 1."""
    total: int


@dataclass(frozen=True, slots=True)
class CellFinished(Event):
    """One cell of a comparison is stored."""

    strategy: str
    seed: int
    status: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class SweepStarted(Event):
    """The runner knows what is to be done."""

    name: str
    num_runs: int
    num_finished: int
    engine: str
    slots: int
    where: str
    """What runs execute on, in words."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run was given to the engine."""

    key: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """An attempt came back."""

    key: str
    status: str
    failure: str | None
    reason: str
    wall_s: float
    will_retry: bool
    num_done: int
    num_runs: int


@dataclass(frozen=True, slots=True)
class SweepEnded(Event):
    """Nothing is left to start."""

    num_finished: int
    num_failed: int
    cancelled: bool


Listener = Callable[[Event], None]


def emit(listener: Listener | None, event: Event) -> None:
    """Send ``event`` to ``listener`` if there is one."""
    if listener is not None:
        listener(event)
