"""Progress on stderr from the run's own events: bars on a terminal, else one plain line a step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from symbio_lab.display.progress import sweep_line
from symbio_lab.events import (
    BuildProgress,
    CandidateRefused,
    CellFinished,
    Contributed,
    Deployed,
    Event,
    GateDecided,
    Listener,
    PhaseStarted,
    RunEnded,
    RunStarted,
    SearchFinished,
    SurgeryFinished,
    SweepStarted,
)

_ALWAYS = (BuildProgress, CellFinished, SweepStarted, RunStarted, RunEnded)
"""Told even where phases are not."""


def event_line(event: Event) -> str | None:
    """Return the line that tells of an event; None for events that are too many to be told one by one.

    >>> event_line(CellFinished("noop", 0, "no_op", 1, 7))
    'cell 1/7: noop seed 0: no_op'
    """
    match event:
        case BuildProgress():
            # The first and the last step; those between only move a bar.
            return f"{event.what}: {event.done}/{event.total}" if event.done in (0, 1, event.total) else None
        case CellFinished():
            return f"cell {event.done}/{event.total}: {event.strategy} seed {event.seed}: {event.status}"
        case PhaseStarted():
            return f"phase {event.phase}"
        case SearchFinished():
            return f"search: {event.num_candidates} candidates, {event.num_refused} refused"
        case CandidateRefused():
            return f"refused {event.ref}: {event.code}"
        case SurgeryFinished():
            return f"surgery {event.method}: {event.num_samples} samples, {event.wall_s:.1f} s"
        case GateDecided():
            return (
                f"gate {event.ref}: {event.decision} (fix rate {event.fix_rate:.2f}, low {event.fix_rate_low:.2f};"
                f" flips {event.flip_rate:.3f}, high {event.flip_rate_high:.3f})"
            )
        case Deployed():
            return f"{event.stage}: {event.patch_id or 'the base'}"
        case Contributed():
            return f"contributed {event.patch_id}"
        case SweepStarted() | RunStarted() | RunEnded():
            return sweep_line(event)
        case _:
            return None


@contextmanager
def progress(*, phases: bool = True) -> Iterator[Listener]:
    """Yield a listener that shows progress on stderr.

    Args:
        phases: tell of the phases of each healing run; a comparison has too many of them and tells of its cells only.
    """
    if not sys.stderr.isatty():
        yield lambda event: _print_line(event, phases)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        yield _Bars(bars, phases)


def _print_line(event: Event, phases: bool) -> None:
    line = event_line(event)
    if line is not None and (phases or isinstance(event, _ALWAYS)):
        print(line, file=sys.stderr, flush=True)


class _Bars:
    """One bar a build, one for the cells, one that names the phase; verdicts stay above them as lines."""

    def __init__(self, bars: Any, phases: bool) -> None:
        self._bars = bars
        self._phases = phases
        self._tasks: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case BuildProgress():
                self._show(event.what, event.done, event.total)
            case CellFinished():
                self._bars.console.print(event_line(event))
                self._show("cells", event.done, event.total)
            case SweepStarted() | RunStarted():
                self._bars.console.print(event_line(event))
            case RunEnded():
                self._bars.console.print(event_line(event))
                self._show("runs", event.num_done, event.num_runs)
            case PhaseStarted():
                self._show("phase", None, None, f"phase {event.phase}")
            case _:
                line = event_line(event)
                if line is not None and self._phases:
                    self._bars.console.print(line)

    def _show(self, name: str, done: int | None, total: int | None, description: str = "") -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(description or name, total=total)
        changes: dict[str, Any] = {"description": description or name, "total": total}
        if done is not None:
            changes["completed"] = done
        self._bars.update(self._tasks[name], **changes)
