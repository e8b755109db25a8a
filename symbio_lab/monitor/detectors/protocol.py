"""What every detector on outcomes has in common: one event in, one yes or no out.

Rules:
    1. Events are labelled answers in the order in which their labels arrive; an unknown outcome is no event.
    2. ``update`` returns True at the event that raises the alarm, and the detector starts again by itself.
    3. A detector has no randomness: the same outcomes give the same alarms.
    4. A detector that is ``Restorable`` survives a restart of its process by its state. The others are rebuilt by
       replaying the stored outcomes (``find_alarms``), which rule 3 makes exact.

Example:
    >>> from symbio_lab.monitor.detectors.e_detector import EDetector
    >>> find_alarms(EDetector(reference_rate=0.1), [False] * 50 + [True] * 20)
    (59, 70)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from symbio_lab.errors import DataError

Outcome = bool | np.bool_
"""Whether an answer was wrong, as Python or numpy says it."""


@runtime_checkable
class Detector(Protocol):
    """Watches one stream of outcomes for a rise of the error rate."""

    name: str
    """Name in the catalogue."""

    @property
    def num_events(self) -> int:
        """Outcomes seen since construction; a restart after an alarm does not lower it."""
        ...

    @property
    def statistic(self) -> float | None:
        """Evidence since the last restart; None where the library behind the detector does not publish it."""
        ...

    @property
    def threshold(self) -> float | None:
        """Value of ``statistic`` that raises the alarm; None where ``statistic`` is None."""
        ...

    def update(self, failed: Outcome) -> bool:
        """Take one outcome; return whether it raises the alarm.

        Args:
            failed: whether the answer was wrong.

        Raises:
            DataError: the outcome is no truth value.
        """
        ...


@runtime_checkable
class Restorable(Protocol):
    """Can be written down as plain JSON and go on from there, event for event."""

    def state(self) -> dict[str, Any]:
        """Return all that the future depends on, as plain JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            DataError: the state is malformed, or of a detector with other settings.
        """
        ...


def check_state(state: Mapping[str, Any], own: Mapping[str, Any], *, what: str = "detector") -> None:
    """Accept a state of the same version and settings as one's own.

    Args:
        state: to restore.
        own: what ``state()`` of the restoring object says.
        what: that object, for the hint.

    Raises:
        DataError: version or settings differ.
    """
    if any(state.get(name) != own[name] for name in ("version", "settings")):
        raise DataError(
            "the state is of another version or of other settings",
            hint=f"make the {what} with the settings that the state was written with, or replay the outcomes",
        )


def checked_outcome(failed: object) -> bool:
    """Return a truth value of Python or numpy as ``bool``.

    Raises:
        DataError: it is something else. Numbers are refused: 0.5, NaN or a label would pass as "failed".

    >>> checked_outcome(np.True_)
    True
    """
    if isinstance(failed, bool | np.bool_):
        return bool(failed)
    raise DataError(
        f"an outcome must be true or false, not {failed!r:.40}",
        hint="pass whether the answer was wrong; leave out answers whose ground truth is not known yet",
    )


def find_alarms(detector: Detector, outcomes: Iterable[Outcome]) -> tuple[int, ...]:
    """Return the events, counted from 1, at which a detector raises the alarm.

    Args:
        detector: continues from where it stands; a fresh one replays a stored stream.
        outcomes: whether each answer was wrong.

    Raises:
        DataError: an outcome is no truth value.
    """
    return tuple(event for event, failed in enumerate(outcomes, start=1) if detector.update(failed))
