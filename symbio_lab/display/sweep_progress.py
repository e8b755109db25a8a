"""A sweep as it runs, in a notebook: one output that is drawn again at every event, and stays when it is over.

Example::

    run_sweep(make_plan(Path("experiments/smoke.yaml"), Path("runs/smoke")), listener=SweepProgress())
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import plural
from symbio_lab.display.prose import code, esc, prose, stack, strong
from symbio_lab.display.table import Column, TableRow, name, table
from symbio_lab.events import Event, RunEnded, RunStarted, SweepEnded, SweepStarted

MOST_FAILED = 20
"""Failed runs listed, at most."""


class SweepProgress:
    """A listener that shows counts, what runs, and what failed and why."""

    def __init__(self, show: Callable[[Bundle], None] | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """Show nothing yet.

        Args:
            show: takes the whole picture at every event; None draws it into one output of the notebook.
            clock: seconds.
        """
        self._show = show or _notebook()
        self._clock = clock
        self._what = self._where = ""
        self._num_runs = self._num_done = 0
        self._ended: SweepEnded | None = None
        self._running: dict[str, tuple[int, float]] = {}
        self._failed: dict[str, str] = {}
        self._times: list[float] = []

    def __call__(self, event: Event) -> None:
        """Take one event; those that are not of sweeps are left to others."""
        match event:
            case SweepStarted():
                self._what, self._where, self._num_runs = event.name, event.where, event.num_runs
                self._num_done, self._ended = event.num_finished, None
            case RunStarted():
                self._running[event.key] = event.attempt, self._clock()
                self._failed.pop(event.key, None)
            case RunEnded():
                self._running.pop(event.key, None)
                self._num_done = event.num_done
                if event.failure:
                    self._failed[event.key] = f"{event.failure}: {event.reason}" + (
                        ", starts again" if event.will_retry else ""
                    )
                else:
                    self._times.append(event.wall_s)
            case SweepEnded():
                self._running.clear()
                self._ended = event
            case _:
                return
        self._show(self.picture())

    def picture(self) -> Bundle:
        """Return how far the sweep is."""
        failed = f", {plural(len(self._failed), 'failure')}" if self._failed else ""
        head = f"{strong(self._what)}: {self._num_done:,} of {plural(self._num_runs, 'run')} ended{failed}"
        head += f", {len(self._running)} running." if self._ended is None else "."
        if self._ended is not None and self._ended.cancelled:
            head += " Cancelled; what is finished stays."
        if self._times:
            head += f" A run took {sum(self._times) / len(self._times):,.0f} s on average."
        return stack(prose(head, esc(self._where)), self._runs(), self._failures())

    def _runs(self) -> Bundle:
        if not self._running:
            return prose()
        now = self._clock()
        rows: list[TableRow] = [
            [name(key), str(attempt), f"{now - begun:,.0f} s"] for key, (attempt, begun) in self._running.items()
        ]
        return table([Column("running"), Column("attempt", number=True), Column("for", number=True)], rows)

    def _failures(self) -> Bundle:
        shown = list(self._failed.items())[:MOST_FAILED]
        more = f" and {len(self._failed) - MOST_FAILED} more" if len(self._failed) > MOST_FAILED else ""
        if not shown:
            return prose()
        return prose(*(f"{code(key)} {esc(why)}" for key, why in shown), more, tone="warning")


def _notebook() -> Callable[[Bundle], None]:
    """Return what draws into one output of the running notebook, made at the first picture."""
    handle: list[Any] = []

    def show(picture: Bundle) -> None:
        from IPython.display import display

        if handle:
            handle[0].update(picture)
        else:
            handle.append(display(picture, display_id=True))

    return show
