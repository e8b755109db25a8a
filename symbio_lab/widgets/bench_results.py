"""What the cells of a comparison say, as rows of the healing bench's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.display import words
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.examples import examples_table
from symbio_lab.display.numbers import NONE, count, percent, pp, pp_range
from symbio_lab.display.table import Column, table
from symbio_lab.widgets.views.table import TableColumn, TableEntry

ARM_COLUMNS = (
    TableColumn("arm", "arm", width="minmax(9rem, 2fr)"),
    TableColumn("outcome", "outcome", width="minmax(7rem, 1fr)"),
    TableColumn("gain", "net gain [95 %]", number=True, width="minmax(12rem, 2fr)"),
    TableColumn("fixed", "failures fixed", number=True),
    TableColumn("broken", "right answers broken", number=True, width="minmax(8rem, 1fr)"),
    TableColumn("cost", "cost (forwards)", number=True),
    TableColumn("patch", "patch", width="minmax(9rem, 2fr)"),
)
STANDING_COLUMNS = (
    TableColumn("arm", "arm"),
    TableColumn("patch", "candidate", width="minmax(12rem, 3fr)"),
    TableColumn("fix", "failures fixed", number=True),
    TableColumn("flip", "right answers broken", number=True, width="minmax(8rem, 1fr)"),
    TableColumn("n", "n", number=True, width="4rem"),
    TableColumn("state", "so far", width="minmax(8rem, 1fr)"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One finished arm."""

    folder: Path
    row: Mapping[str, Any]
    examples: tuple[Mapping[str, str], ...]
    events: tuple[Mapping[str, Any], ...] = ()
    """What happened while it ran, as it was told then."""

    @property
    def strategy(self) -> str:
        """Its arm."""
        return str(self.row["strategy"])

    @property
    def deployable(self) -> str | None:
        """Digest of the patch that the gate accepted, if any."""
        return self.row.get("deployed_digest")


def read_cells(out: Path, plan: ComparisonPlan) -> tuple[Cell, ...]:
    """Return the finished cells of this plan's settings below ``out``, in the plan's order; none if nothing is there.

    Raises:
        DataError: a cell's file is damaged.
    """
    found: dict[str, Cell] = {}
    wanted = {"scenario": plan.scenario, "pool": plan.pool, "n_repair": plan.n_repair, "gate": plan.gate}
    if plan.own_data:
        wanted.pop("pool")  # the address of a market, which has been part of the folder's name
    for path in sorted(out.glob("cells/*/cell.json")):
        cell = read_json(path)
        row = cell["row"]
        if row["seed"] in plan.seeds and all(row[name] == value for name, value in wanted.items()):
            found[row["strategy"]] = Cell(path.parent, row, tuple(cell["examples"]), tuple(cell["events"]))
    return tuple(found[name] for name in plan.arms if name in found)


def arm_rows(cells: Sequence[Cell]) -> list[TableEntry]:
    """Return one row an arm."""
    return [_arm_row(cell.row) for cell in cells]


def _arm_row(row: Mapping[str, Any]) -> TableEntry:
    gain, low, high = (row.get(f"deployed_net_gain_pp{end}") for end in ("", "_low", "_high"))
    kind = "deployed" if row["deployed"] else "proposed"
    fixed, broken = row.get(f"{kind}_fix_rate"), row.get(f"{kind}_negative_flip_rate")
    good = gain is not None and low is not None and low > 0
    bad = gain is not None and gain < 0
    cells = (
        str(row["strategy"]),
        str(row["status"]),
        f"{pp(gain)} {pp_range(low, high)}".strip(),
        percent(fixed),
        percent(broken),
        count(row["cost_forwards_equivalent"]),
        str(row.get("proposed_patch") or NONE),
    )
    keys = (row["strategy"], row["status"], gain, fixed, broken, row["cost_forwards_equivalent"], cells[-1])
    tone = "good" if good else "bad" if bad else ""
    return TableEntry(str(row["strategy"]), cells, keys, ("", "", tone, "", "", "", ""))


@dataclass(slots=True)
class Standings:
    """The candidates of the arms that run, as events tell of them."""

    arm: str = ""
    rows: dict[str, TableEntry] = field(default_factory=dict)

    @classmethod
    def of_cells(cls, cells: Sequence[Cell]) -> Standings:
        """Return the candidates of arms that have finished."""
        found = cls()
        for cell in cells:
            found.arm = cell.strategy
            for event in cell.events:
                found.take(event)
        return found

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take one event; return whether the table changed."""
        match event["event"]:
            case "CellStarted":
                self.arm = str(event["strategy"])
                return False
            case "CandidateScreened":
                self._put(str(event["ref"]), event["fix_rate"], event["flip_rate"], event["n"], "screened")
            case "CandidateRefused":
                self._put(str(event["ref"]), None, None, None, f"refused: {words.verdict(str(event['code']))}", "bad")
            case "SurgeryFinished":
                self._put(str(event["method"]), None, None, event["num_samples"], "operated")
            case "GateDecided":
                tone = {"accept": "good", "reject": "bad"}.get(str(event["decision"]), "")
                said = f"gate: {event['decision']}"
                self._put(str(event["ref"]), event["fix_rate"], event["flip_rate"], None, said, tone)
            case _:
                return False
        return True

    def _put(self, ref: str, fix: float | None, flip: float | None, n: int | None, state: str, tone: str = "") -> None:
        key = f"{self.arm}:{ref}"
        if n is None and key in self.rows:
            n = self.rows[key].keys[4]
        cells = (self.arm, ref, percent(fix), percent(flip), count(n), state)
        self.rows[key] = TableEntry(key, cells, (self.arm, ref, fix, flip, n, state), ("", "", "", "", "", tone))


def outcome_bundle(cells: Sequence[Cell], chosen: str | None) -> Bundle:
    """Return the answers before and after of the chosen arm, or nothing."""
    cell = next((c for c in cells if c.strategy == chosen), None)
    if cell is None or not cell.examples:
        return Bundle({"text/html": "", "text/plain": ""})
    caption = f"Held-out inputs of the slice, before and after {cell.strategy} ({words.arm(cell.strategy)})"
    return examples_table(cell.examples, caption)


def arms_bundle(cells: Sequence[Cell], caption: str) -> Bundle:
    """Return the arms as a static table."""
    columns = [Column(column.title, column.number) for column in ARM_COLUMNS]
    return table(columns, [list(row.cells) for row in arm_rows(cells)], caption)
