"""Arms side by side: figures with intervals, fixes against damage, who wins where, and where two arms differ.

Example::

    StrategyComparison("runs/heal")                          # one comparison: arms, and a diff by sample
    StrategyComparison("experiments/marketplace-vs-surgery") # a sweep: Pareto and crossover as well
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import esc, prose, stack
from symbio_lab.errors import NotFoundError, SymbioError
from symbio_lab.reports.collecting import Results, collect_results
from symbio_lab.reports.sweep.results import SweepResults, collect_sweep
from symbio_lab.widgets.child import Child, Ended
from symbio_lab.widgets.panel import WorkingPanel, button, flow, labelled
from symbio_lab.widgets.views.table import TableColumn, TableEntry, TableView

_DIFF = (
    TableColumn("split", "traffic", width="7rem"),
    TableColumn("text", "input", width="minmax(16rem, 4fr)"),
    TableColumn("expected", "right answer"),
    TableColumn("base", "base"),
    TableColumn("first", "first arm"),
    TableColumn("second", "second arm"),
    TableColumn("who", "right", width="8rem"),
)
Draw = Callable[[], Bundle]
TWIN_WAIT_S = 5.0
"""A shared notebook without its picture would say nothing: showing the widget waits for the first one so long."""


class StrategyComparison(WorkingPanel):
    """Look at a comparison or a sweep from several sides."""

    def __init__(self, folder: str | Path) -> None:
        """Show the results in a folder.

        Args:
            folder: of a comparison, a sweep, or an experiment's committed results.

        Raises:
            NotFoundError: it holds no results.
            DataError: the results are damaged.
        """
        self.folder = Path(folder)
        self.results: Results | None = None
        self.sweep: SweepResults | None = None
        if (self.folder / "plan.json").is_file():
            self.results = collect_results(self.folder)
            arms = self.results.arms
        else:
            self.sweep = collect_sweep(self.folder)
            arms = self.sweep.arms
        self._views = self._possible_views()
        self._drawn: dict[str, Bundle] = {}
        self._drawing: threading.Thread
        first, second = (arms[0], arms[-1]) if len(arms) > 1 else (arms[0], arms[0])
        self.view = labelled(ipywidgets.Dropdown(options=list(self._views), description="View"), "view")
        self.first = labelled(ipywidgets.Dropdown(options=arms, value=first, description="First arm"), "first-arm")
        self.second = labelled(ipywidgets.Dropdown(options=arms, value=second, description="Second arm"), "second-arm")
        self.diff_button = button("Diff by sample", "diff", self.diff, tip="Answer the judge's samples with both arms")
        self.cancel_button = button("Cancel", "cancel", self.cancel)
        self.cancel_button.disabled = True
        self.picture = ipywidgets.HTML()
        self.picture.add_class("sl-picture")
        self.table = TableView(_DIFF, caption="Answers that differ", empty="no diff was made yet")
        self.table.add_class("sl-diff-rows")
        lines = flow()
        children: list[Any] = [ipywidgets.Box((self.view, self.first, self.second), layout=lines), self.picture]
        if self.results is not None:
            children += [ipywidgets.Box((self.diff_button, self.cancel_button), layout=lines), self.table]
        super().__init__(f"Strategies: {self.folder.name}", children, name="strategy-comparison")
        for control in (self.view, self.first, self.second):
            control.observe(lambda _: self.draw(), "value")
        self.draw()

    def draw(self) -> None:
        """Draw the chosen view, in a thread; what was drawn before is kept."""
        self.refresh_code()
        key = f"{self.view.value} {self.first.value} {self.second.value}"
        if key in self._drawn:
            self._show(self._drawn[key])
            self._say_drawn()
            return
        self.status.say("drawing ...")
        self._drawing = threading.Thread(target=self._draw, args=(key, self._views[self.view.value]), daemon=True)
        self._drawing.start()

    def diff(self) -> None:
        """Answer the judge's samples with both arms' patches, in a process of its own, and list what differs."""

        def digests() -> tuple[str | None, str | None]:
            return self._digest(self.first.value), self._digest(self.second.value)

        found = self.guarded(digests)
        if found is None or self.results is None or self.is_working:
            return
        self.child = Child(
            "symbio_lab.widgets.arm_diff:diff_arms",
            {"out": str(self.folder), "first": self.first.value, "second": self.second.value},
            on_event=lambda event: self.status.say(f"building {event['what']}") if "what" in event else None,
            on_end=self._after_diff,
        )
        self.diff_button.disabled, self.cancel_button.disabled = True, False
        self.status.say("answering ...")
        self.child.start()

    def code(self) -> str:
        """Return how a script reads the same results."""
        if self.results is not None:
            return (
                "from symbio_lab.reports import arms\n"
                "from symbio_lab.reports.collecting import collect_results\n\n"
                f"results = collect_results({str(self.folder)!r})\n"
                "arms.arms_summary(results)"
            )
        return (
            "from symbio_lab.reports.sweep.crossover import crossover_figure\n"
            "from symbio_lab.reports.sweep.results import collect_sweep\n\n"
            f"results = collect_sweep({str(self.folder)!r})\n"
            f"results.differences(results.metric, {self.first.value!r}, {self.second.value!r}, {{'pool': 'high'}})\n"
            "crossover_figure(results)"
        )

    def twin(self) -> Bundle:
        """Return the view that is shown; one that is being drawn is waited for, at most ``TWIN_WAIT_S``."""
        self._drawing.join(TWIN_WAIT_S)
        key = f"{self.view.value} {self.first.value} {self.second.value}"
        shown = self._drawn.get(key)
        title = prose(f"{esc(self.folder.name)}: {esc(self.view.value)}")
        return stack(title, _as_html(shown)) if shown is not None else title

    def _possible_views(self) -> Mapping[str, Draw]:
        from symbio_lab.reports import arms as of_comparison

        if self.results is not None:
            results = self.results
            return {
                "arms": lambda: of_comparison.arms_figure(results),
                "figures": lambda: of_comparison.arms_summary(results),
                "proposed and deployed": lambda: of_comparison.arms_table(results),
            }
        sweep = self.sweep
        assert sweep is not None
        from symbio_lab.reports.sweep.crossover import crossover_figure
        from symbio_lab.reports.sweep.forest import forest_figure
        from symbio_lab.reports.sweep.headline import reading_where
        from symbio_lab.reports.sweep.pareto import pareto_figure
        from symbio_lab.widgets.crossover_surface import surface_chart

        where = reading_where(sweep)
        return {
            "crossover": lambda: crossover_figure(sweep),
            "surface": lambda: surface_chart(sweep, self.first.value, self.second.value),
            "fixes against damage": lambda: pareto_figure(sweep, where),
            "by incident": lambda: forest_figure(sweep, self.first.value, self.second.value, where),
        }

    def _draw(self, key: str, draw: Draw) -> None:
        try:
            self._drawn[key] = draw()
        except SymbioError as error:
            self.status.say(f"{error}. Next: {error.hint}", "bad")
            return
        self._show(self._drawn[key])
        self._say_drawn()

    def _say_drawn(self) -> None:
        self.status.say(f"{self.view.value}: {self.first.value} and {self.second.value}")

    def _show(self, bundle: Bundle) -> None:
        self.picture.value = _as_html(bundle).html

    def _digest(self, arm: str) -> str | None:
        cell = next((c for c in self.results.cells if c.strategy == arm), None) if self.results else None
        if cell is None:
            raise NotFoundError(f"no cell of {arm}", hint="choose arms of this comparison")
        digest: str | None = cell.row["proposed_digest"]
        return digest

    def _after_diff(self, ended: Ended) -> None:
        self.diff_button.disabled, self.cancel_button.disabled = False, True
        if ended.status != "finished":
            self.status.say(ended.reason or "cancelled", "bad" if ended.status == "failed" else "plain")
            return
        rows = [_diff_row(number, row) for number, row in enumerate(ended.result["rows"])]
        n = ended.result["n"]
        self.table.show(rows, f"{len(rows):,} of {n:,} judged samples are answered differently")
        self.status.say(f"{len(rows):,} of {n:,} samples differ between the arms", "good")


def _diff_row(number: int, row: Mapping[str, Any]) -> TableEntry:
    right = {(True, True): "both", (True, False): "first", (False, True): "second", (False, False): "none"}
    who = right[bool(row["first_right"]), bool(row["second_right"])]
    cells = (row["split"], row["text"], row["expected"], row["base"], row["first"], row["second"], who)
    return TableEntry(str(number), cells)


def _as_html(bundle: Bundle) -> Bundle:
    """Return a bundle whose figure, if it has one, is an image in HTML with its words beside it."""
    image = bundle.data.get("image/png")
    if image is None:
        return bundle
    words = esc(str(bundle))
    return Bundle(
        {
            "text/html": f'<img alt="{words}" style="max-width:100%" src="data:image/png;base64,{image}">',
            "text/plain": str(bundle),
        }
    )
