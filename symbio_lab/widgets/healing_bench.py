"""The healing bench: one incident, the arms that are to heal it, how they stand while they run, and what comes of it.

The bench computes nothing. *Run* is ``compare`` in a process of its own, so other cells answer all the while and
*Cancel* works within two seconds; finished arms are kept in ``out``, and a bench made again with the same settings
shows them.

Example::

    bench = HealingBench("helpdesk")
    bench.run()
    bench.wait()
    bench.deploy("marketplace_first")
    bench.roll_back()

    own = OwnModel("my/model", OwnData("traffic.csv", label_field="intent", slice="topic=returns"))
    HealingBench(own=own)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets

from symbio_lab.comparison.plan import DEFAULT_STRATEGIES, ComparisonPlan
from symbio_lab.display import words
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import prose, stack
from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.scenarios.catalogue import scenario_recipe
from symbio_lab.widgets.bench_controls import BenchControls
from symbio_lab.widgets.bench_results import (
    ARM_COLUMNS,
    STANDING_COLUMNS,
    Cell,
    Standings,
    arm_rows,
    arms_bundle,
    outcome_bundle,
    read_cells,
)
from symbio_lab.widgets.bench_work import Work, base_name, contributing, deploying, results_folder, running, undoing
from symbio_lab.widgets.child import Child, Ended
from symbio_lab.widgets.own_run import OwnModel
from symbio_lab.widgets.panel import WorkingPanel, button, flow, labelled
from symbio_lab.widgets.views.table import TableView

_DRAW_EVERY_S = 0.2
"""Standings are redrawn at most this often while they change."""


class HealingBench(WorkingPanel):
    """Compare arms on one incident, and deploy what the gate accepted."""

    def __init__(
        self,
        scenario: str = "helpdesk",
        *,
        own: OwnModel | None = None,
        pool: str = "high",
        strategies: Sequence[str] = DEFAULT_STRATEGIES,
        n_repair: int = 16,
        seed: int = 0,
        gate: str = "lab",
        budget_forwards: float | None = None,
        tenant: str = "default",
        out: str | Path = "runs/bench",
    ) -> None:
        """Put the bench together; nothing is computed.

        Args:
            scenario: a world of the catalogue.
            own: a model and table of one's own instead of a world; can be filled in by hand as well.
            pool: relevance of its marketplace.
            strategies: arms that are ticked.
            n_repair: labelled failures given to each arm.
            seed: draws the incident.
            gate: the tenant's limits.
            budget_forwards: forwards-equivalent of each arm; None takes the world's.
            tenant: who gets what is deployed.
            out: folder of results.

        Raises:
            ConfigError: a setting is wrong; all problems at once.
            UnknownDatasetError: no such scenario.
        """
        ComparisonPlan(scenario, pool, tuple(strategies), (seed,), 0, n_repair, gate=gate).check()
        scenario_recipe(scenario)
        self.out = Path(out)
        self.cells: tuple[Cell, ...] = ()
        self._standings = Standings()
        self._drawn_at = 0.0
        self.controls = BenchControls(scenario, pool, strategies, n_repair, seed, gate, budget_forwards, own)
        self.tenant = labelled(ipywidgets.Text(value=tenant, description="Tenant"), "tenant")
        self.run_button = button(
            "Run", "run", self.run, kind="primary", tip="Run the ticked arms; finished ones are kept"
        )
        self.cancel_button = button("Cancel", "cancel", self.cancel, tip="Stop; finished arms are kept")
        self.deploy_button = button("Deploy", "deploy", self.deploy, tip="Put the chosen arm's accepted patch live")
        self.market = labelled(ipywidgets.Text(placeholder="folder or hf://OWNER", description="Market"), "market")
        self.publish_as = labelled(ipywidgets.Text(placeholder="namespace/name", description="As"), "publish-as")
        self.contribute_button = button(
            "Contribute", "contribute", self.contribute, tip="Publish what is live, after licence and privacy checks"
        )
        self.undo_button = button("Roll back", "roll-back", self.roll_back, tip="Undo the tenant's live deployment")
        self.progress = labelled(ipywidgets.IntProgress(value=0, max=1, description="Arms"), "progress")
        self.standings = TableView(
            STANDING_COLUMNS, caption="Candidates as they are evaluated", empty="no candidate yet"
        )
        self.standings.add_class("sl-standings")
        self.table = TableView(ARM_COLUMNS, caption="Arms, judged on withheld samples", empty="no arm has finished yet")
        self.table.add_class("sl-arms")
        self.examples = ipywidgets.HTML()
        self.examples.add_class("sl-examples")
        lines = flow()
        super().__init__(
            "Healing bench",
            [
                ipywidgets.Box(self.controls.settings, layout=lines),
                self.controls.own.box,
                ipywidgets.Box(tuple(self.controls.arms.values()), layout=lines),
                ipywidgets.Box((self.run_button, self.cancel_button, self.progress), layout=lines),
                self.standings,
                self.table,
                ipywidgets.Box((self.tenant, self.deploy_button, self.undo_button), layout=lines),
                ipywidgets.Box((self.market, self.publish_as, self.contribute_button), layout=lines),
                self.examples,
            ],
            name="healing-bench",
        )
        self.controls.observe(self._settings_changed)
        self.table.observe(lambda _: self._show_chosen(), "chosen")
        self._settings_changed()
        self._set_running(False)

    @property
    def plan(self) -> ComparisonPlan:
        """The comparison that fits the choices made.

        Raises:
            ConfigError: no arm is ticked, or the budget is not a number.
        """
        return self.controls.plan

    @property
    def chosen(self) -> str | None:
        """The arm whose row is chosen."""
        return self.table.chosen[-1] if self.table.chosen else None

    def run(self) -> None:
        """Run the ticked arms in a process of its own; what is finished already is not run again."""
        work = self.guarded(lambda: running(self.controls, self.out))
        if work is None or self._is_busy():
            return
        self._standings = Standings()
        self.standings.show([])
        self.progress.max, self.progress.value = len(self.plan.cells()), 0
        self._start(work, "running", self._after_run)

    def deploy(self, strategy: str | None = None) -> None:
        """Put an arm's accepted patch live for the tenant; None takes the chosen row."""

        def wanted() -> Work:
            name = strategy or self.chosen
            cell = next((c for c in self.cells if c.strategy == name), None)
            if cell is None:
                raise NotFoundError("no arm is chosen", hint="choose a finished arm in the table")
            if cell.deployable is None:
                raise NotFoundError(
                    f"{name} has no patch that the gate accepted", hint="choose an arm whose outcome is healed"
                )
            return deploying(self.controls, cell, self.tenant.value)

        work = self.guarded(wanted)
        if work is not None and not self._is_busy():
            self._start(work, "deploying", self._after_deploy)

    def roll_back(self) -> None:
        """Undo the tenant's live deployment on this base; predictions come back bit for bit."""
        work = self.guarded(lambda: undoing(self.controls, self.tenant.value))
        if work is not None and not self._is_busy():
            self._start(work, "rolling back", self._after_undo)

    def contribute(self) -> None:
        """Publish the patch that is live, by ``symbio market contribute``: nothing leaves if a check fails."""
        work = self.guarded(
            lambda: contributing(self.controls, self.tenant.value, self.market.value, self.publish_as.value)
        )
        if work is not None and not self._is_busy():
            self._start(work, "checking and publishing", self._after_contribute)

    @property
    def base_name(self) -> str:
        """Id of the base in the ledger, as ``symbio heal`` and ``symbio serve`` name it.

        Raises:
            ConfigError: something of an own model is missing.
        """
        return base_name(self.controls)

    def code(self) -> str:
        """Return the comparison as a script."""
        return self.controls.code(results_folder(self.controls, self.out))

    def twin(self) -> Bundle:
        """Return the arms and the chosen one's answers, without a kernel."""
        caption = self.controls.caption
        if not self.cells:
            return prose(f"Healing bench for {caption}: no arm has finished yet.")
        shown = self.chosen or self.cells[-1].strategy
        return stack(arms_bundle(self.cells, f"Arms on {caption}"), outcome_bundle(self.cells, shown))

    def _is_busy(self) -> bool:
        if self.is_working:
            self.status.say("something runs already; cancel it first", "bad")
        return self.is_working

    def _start(self, work: Work, words_: str, after: Any) -> None:
        function, arguments = work
        self.child = Child(f"symbio_lab.widgets.{function}", arguments, on_event=self._on_event, on_end=after)
        self._set_running(True)
        self.status.say(f"{words_} ...")
        self.child.start()

    def _set_running(self, running: bool) -> None:
        for one in (self.run_button, self.deploy_button, self.undo_button, self.contribute_button):
            one.disabled = running
        self.cancel_button.disabled = not running

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if self._standings.take(event) and time.monotonic() - self._drawn_at > _DRAW_EVERY_S:
            self._draw_standings()
        match event["event"]:
            case "CellStarted":
                self.status.say(f"{event['strategy']}: {words.arm(str(event['strategy']))}")
            case "PhaseStarted":
                self.status.say(f"{self._standings.arm or 'deployment'}: {words.phase(str(event['phase']))}")
            case "BuildProgress":
                self.status.say(f"building {event['what']}: {event['done']} of {event['total']}")
            case "CellFinished":
                self.progress.value = event["done"]
                self._load()

    def _draw_standings(self) -> None:
        self._drawn_at = time.monotonic()
        self.standings.show(list(self._standings.rows.values()))

    def _after_run(self, ended: Ended) -> None:
        self._load()
        self._say_end(ended, f"{len(self.cells)} arms finished; choose one to see its answers")

    def _after_deploy(self, ended: Ended) -> None:
        done = ended.result or {}
        live = f"{done.get('patch_id')} is live for {self.tenant.value}: {str(done.get('deployment_id'))[:12]}"
        self._say_end(ended, live)

    def _after_undo(self, ended: Ended) -> None:
        done = ended.result or {}
        same = "not compared" if done.get("bit_equal") is None else "predictions DIFFER from before"
        if done.get("bit_equal"):
            same = "predictions are those of before, bit for bit"
        self._say_end(ended, f"{done.get('patch_id') or 'the base'} answers again; {same}")

    def _after_contribute(self, ended: Ended) -> None:
        done = ended.result or {}
        proposed = f", proposed: {done['pull_request']}" if done.get("pull_request") else ""
        self._say_end(ended, f"published {self.publish_as.value.strip()} with its evaluation{proposed}")

    def _say_end(self, ended: Ended, good: str) -> None:
        self._set_running(False)
        if ended.status == "finished":
            self.status.say(good, "good")
        elif ended.status == "cancelled":
            self.status.say("cancelled; finished arms are kept")
        else:
            self.say_failed(ended)

    def _settings_changed(self) -> None:
        self._load()
        try:
            self.refresh_code()
        except ConfigError as error:
            self.code_box.code = f"# {error}"

    def _load(self) -> None:
        try:
            plan = self.plan
        except ConfigError:
            self.cells = ()
        else:
            self.cells = read_cells(results_folder(self.controls, self.out), plan)
        if not self.is_working:
            self._standings = Standings.of_cells(self.cells)
            self._draw_standings()
        self.table.show(arm_rows(self.cells))
        self._show_chosen()

    def _show_chosen(self) -> None:
        self.examples.value = outcome_bundle(self.cells, self.chosen).html
