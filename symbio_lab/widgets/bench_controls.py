"""What a healing bench is asked: world, market, failures, arms, gate and budget, as controls that make a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets

from symbio_lab.comparison.market import NO_MARKET
from symbio_lab.comparison.own_data import own_plan
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.deployment.gate import GATE_POLICIES
from symbio_lab.display import words
from symbio_lab.errors import ConfigError
from symbio_lab.healing.catalogue import strategy_names
from symbio_lab.scenarios.catalogue import scenario_names
from symbio_lab.scenarios.own_data import PREFIX
from symbio_lab.scenarios.own_slices import slice_of, value_slice
from symbio_lab.scenarios.recipe import RELEVANCES
from symbio_lab.widgets.own_controls import OwnControls
from symbio_lab.widgets.own_run import OwnModel
from symbio_lab.widgets.panel import labelled

OWN = "my own model and table"
"""Choice beside the worlds of the catalogue."""


class BenchControls:
    """The controls; their values are the state."""

    def __init__(
        self,
        scenario: str,
        pool: str,
        strategies: Sequence[str],
        n_repair: int,
        seed: int,
        gate: str,
        budget_forwards: float | None,
        own: OwnModel | None = None,
    ) -> None:
        """Make the controls with these values; see ``HealingBench``."""
        narrow = ipywidgets.Layout(width="16rem")
        self.scenario = labelled(
            ipywidgets.Dropdown(
                options=(*scenario_names(), OWN),
                value=scenario if own is None else OWN,
                description="Model and failures",
            ),
            "scenario",
        )
        self.scenario.layout.width = "26rem"
        self.pool = labelled(ipywidgets.Dropdown(options=RELEVANCES, value=pool, description="Marketplace"), "pool")
        self.n_repair = labelled(
            ipywidgets.BoundedIntText(value=n_repair, min=2, max=4096, description="Failures given"), "n-repair"
        )
        self.seed = labelled(ipywidgets.BoundedIntText(value=seed, min=0, max=10**6, description="Seed"), "seed")
        self.gate = labelled(ipywidgets.Dropdown(options=tuple(GATE_POLICIES), value=gate, description="Gate"), "gate")
        self.budget = labelled(
            ipywidgets.Text(
                value="" if budget_forwards is None else f"{budget_forwards:g}",
                placeholder="the world's own",
                description="Budget (forwards)",
            ),
            "budget",
        )
        for control in (self.pool, self.n_repair, self.seed, self.gate, self.budget):
            control.layout = narrow
        self.arms = {
            name: labelled(
                ipywidgets.Checkbox(
                    value=name in strategies,
                    description=name,
                    tooltip=words.arm(name),
                    indent=False,
                    layout=ipywidgets.Layout(width="12rem"),
                ),
                f"arm-{name}",
            )
            for name in strategy_names()
        }
        self.own = OwnControls(own)
        self.scenario.observe(lambda _: self._show_own(), "value")
        self._show_own()

    @property
    def settings(self) -> tuple[ipywidgets.Widget, ...]:
        """All controls but the arms, in the order of display."""
        return (self.scenario, self.pool, self.n_repair, self.seed, self.gate, self.budget)

    @property
    def own_model(self) -> OwnModel | None:
        """The user's own model and table; None where a world of the catalogue is chosen.

        Raises:
            ConfigError: something of them is missing.
        """
        return self.own.value if self.scenario.value == OWN else None

    @property
    def caption(self) -> str:
        """The incident in words."""
        if self.scenario.value == OWN:
            said = {name: field.value or "?" for name, field in self.own.fields.items()}
            return f"{said['model']} on {said['data']}, {said['slice']}, {self.n_repair.value} failures"
        return f"{self.scenario.value}, {self.pool.value} pool, {self.n_repair.value} failures, seed {self.seed.value}"

    @property
    def plan(self) -> ComparisonPlan:
        """The comparison that fits the choices made.

        Raises:
            ConfigError: no arm is ticked, or the budget is not a number.
        """
        budget = None
        if self.budget.value.strip():
            try:
                budget = float(self.budget.value)
            except ValueError as error:
                raise ConfigError([f"budget {self.budget.value!r} is not a number"]) from error
        plan = ComparisonPlan(
            self.scenario.value,
            pool=self.pool.value,
            strategies=tuple(name for name, box in self.arms.items() if box.value),
            seeds=(self.seed.value,),
            n_repair=self.n_repair.value,
            gate=self.gate.value,
            budget_forwards=budget,
            reference_arms=(),
        )
        own = self.own_model
        if own is not None:
            name = value_slice(*slice_of(own.data.slice or "")).name
            plan = replace(own_plan(plan, NO_MARKET), scenario=f"{PREFIX}{name}")
        plan.check()
        return plan

    def observe(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a choice changes."""
        for control in (*self.settings, *self.arms.values(), *self.own.fields.values()):
            control.observe(lambda _: changed(), "value")

    def code(self, out: Path) -> str:
        """Return the comparison as a script."""
        plan, own = self.plan, self.own_model
        budget = f"\n    budget_forwards={plan.budget_forwards!r}," if plan.budget_forwards is not None else ""
        if own is not None:
            return own_code(own, plan, budget, out)
        return (
            "from pathlib import Path\n\n"
            "from symbio_lab.comparison.compare import compare\n"
            "from symbio_lab.comparison.plan import ComparisonPlan\n\n"
            "plan = ComparisonPlan(\n"
            f"    {plan.scenario!r},\n    pool={plan.pool!r},\n    strategies={plan.strategies!r},\n"
            f"    seeds={plan.seeds!r},\n    n_repair={plan.n_repair!r},\n    gate={plan.gate!r},{budget}\n"
            "    reference_arms=(),\n)\n"
            f"done = compare(plan, Path({str(out)!r}))"
        )

    def _show_own(self) -> None:
        is_own = self.scenario.value == OWN
        self.own.box.layout.display = "flex" if is_own else "none"
        self.pool.disabled = is_own


def own_code(own: OwnModel, plan: ComparisonPlan, budget: str, out: Path) -> str:
    """Return the comparison of a user's own model as a script."""
    data = own.data
    train = f"\n    train={data.train!r}," if data.train else ""
    group = f"\n    group_field={data.group_field!r}," if data.group_field else ""
    return (
        "from pathlib import Path\n\n"
        "from symbio_lab.comparison.own_data import OwnData, compare_own_data, market_or_none\n"
        "from symbio_lab.comparison.plan import ComparisonPlan\n\n"
        f"own = OwnData(\n    {data.data!r},\n    text_field={data.text_field!r},\n"
        f"    label_field={data.label_field!r},\n    slice={data.slice!r},{group}{train}\n)\n"
        f'plan = ComparisonPlan(\n    "",\n    strategies={plan.strategies!r},\n    seeds={plan.seeds!r},\n'
        f"    n_repair={plan.n_repair!r},\n    gate={plan.gate!r},{budget}\n    reference_arms=(),\n)\n"
        f"market = market_or_none({own.market!r})\n"
        f"done = compare_own_data({own.model!r}, own, Path({str(out)!r}), plan=plan, market=market)"
    )
