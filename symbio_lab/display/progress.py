"""Progress as plain lines: a listener for notebooks, logs and pipes.

Example:
    >>> from symbio_lab.events import CellFinished
    >>> PlainProgress()(CellFinished("best_single", 0, "healed", 3, 7))
    [3/7] best_single, seed 0: healed
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from symbio_lab.display.numbers import percent
from symbio_lab.events import (
    BuildProgress,
    CandidateRefused,
    CellFinished,
    Contributed,
    Event,
    GateDecided,
    RunEnded,
    RunStarted,
    SearchFinished,
    SurgeryFinished,
    SweepEnded,
    SweepStarted,
)


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class PlainProgress:
    """Writes one line for each event that a reader wants to know of; phases are left to bars and traces."""

    def __init__(self, write: Callable[[str], None] = _to_stdout) -> None:
        """Write lines with ``write``; standard output by default."""
        self._write = write

    def __call__(self, event: Event) -> None:
        """Take one event."""
        line = line_of(event)
        if line:
            self._write(line)


def line_of(event: Event) -> str:
    """Return an event as one line; empty for those that are too many to list."""
    match event:
        case CellFinished():
            return f"[{event.done}/{event.total}] {event.strategy}, seed {event.seed}: {event.status}"
        case BuildProgress():
            return f"building {event.what}: {event.done} of {event.total}"
        case SearchFinished():
            return f"  search: {event.num_candidates} candidates"
        case CandidateRefused():
            return f"  refused {event.ref}: {event.code}"
        case SurgeryFinished():
            return f"  operated by {event.method} on {event.num_samples} failures"
        case GateDecided():
            fix, flips = percent(event.fix_rate_low), percent(event.flip_rate_high)
            return f"  gate on {event.ref}: {event.decision} (fixes at least {fix}, breaks at most {flips})"
        case Contributed():
            return f"  contributed {event.patch_id}"
        case SweepStarted() | RunStarted() | RunEnded() | SweepEnded():
            return sweep_line(event)
    return ""


def sweep_line(event: SweepStarted | RunStarted | RunEnded | SweepEnded) -> str:
    """Return an event of a sweep as one line, on a terminal and in a notebook alike.

    >>> sweep_line(RunEnded("3f2a", "failed", "dead_kernel", "the kernel died", 2.0, True, 3, 8))
    'run 3/8: 3f2a failed (dead_kernel: the kernel died), starts again, 2.0 s'
    """
    match event:
        case SweepStarted():
            done = f", {event.num_finished} finished already" if event.num_finished else ""
            return f"sweep {event.name}: {event.num_runs} runs{done}; {event.where}"
        case RunStarted():
            return f"run {event.key}: started{f', attempt {event.attempt}' if event.attempt > 1 else ''}"
        case RunEnded():
            why = f" ({event.failure}: {event.reason})" if event.failure else ""
            again = ", starts again" if event.will_retry else ""
            done = f"run {event.num_done}/{event.num_runs}: {event.key} {event.status}"
            return f"{done}{why}{again}, {event.wall_s:.1f} s"
        case SweepEnded():
            stopped = "; cancelled" if event.cancelled else ""
            return f"sweep ended: {event.num_finished} finished, {event.num_failed} failed{stopped}"
