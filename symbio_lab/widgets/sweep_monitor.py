"""The sweep monitor: every run of a sweep, its state, why it failed, and the rows that are in so far.

It reads the sweep's folder, so it shows a sweep that any process on any machine runs there, and one that is over.

Example::

    SweepMonitor("runs/smoke")
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ipywidgets

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import NONE, pp, seconds
from symbio_lab.display.prose import esc, prose, stack
from symbio_lab.display.table import Column, TableRow, table
from symbio_lab.errors import SymbioError
from symbio_lab.sweeps.plan import SweepPlan, read_plan
from symbio_lab.sweeps.runner import cancel_sweep
from symbio_lab.sweeps.status import SweepStatus, sweep_status
from symbio_lab.sweeps.tasks import RunRecord, failed_record, finished_record
from symbio_lab.widgets.child import Child, Ended
from symbio_lab.widgets.panel import WorkingPanel, button, flow
from symbio_lab.widgets.views.table import TableColumn, TableEntry, TableView

LOOK_EVERY_S = 1.0
NUM_TWIN_ROWS = 40
GAIN = "deployed_net_gain_pp"


class SweepMonitor(WorkingPanel):
    """Watch a sweep, go on with it, stop it, open its notebooks."""

    def __init__(self, folder: str | Path, *, look_every_s: float = LOOK_EVERY_S) -> None:
        """Show a sweep's folder and look again while it changes.

        Args:
            folder: of a sweep (``symbio sweep run FILE --out FOLDER``).
            look_every_s: seconds between two looks.

        Raises:
            NotFoundError: the folder holds no sweep.
            ConfigError: its plan is damaged.
        """
        self.folder = Path(folder)
        self.plan: SweepPlan = read_plan(self.folder)
        self.state: SweepStatus = sweep_status(self.folder)
        self._every_s = look_every_s
        self._closed = threading.Event()
        self._records: dict[str, RunRecord] = {}
        self._gains: dict[str, float | None] = {}
        self._varied = _varied(self.plan)
        self.progress = ipywidgets.IntProgress(max=max(self.state.num_runs, 1), description="Runs")
        self.resume_button = button(
            "Resume", "resume", self.resume, kind="primary", tip="Run what is missing or failed"
        )
        self.cancel_button = button("Cancel", "cancel", self.cancel, tip="Start no further run; finished ones are kept")
        columns = [TableColumn(name, name) for name in self._varied]
        self.table = TableView(
            [
                TableColumn("key", "run", width="8rem"),
                *columns,
                TableColumn("state", "state", width="7rem"),
                TableColumn("wall", "time", number=True, width="6rem"),
                TableColumn("gain", "net gain", number=True, width="7rem"),
                TableColumn("reason", "reason", width="minmax(10rem, 3fr)"),
            ],
            caption="Runs",
        )
        self.table.add_class("sl-runs")
        self.detail = ipywidgets.HTML()
        self.detail.add_class("sl-detail")
        lines = flow()
        super().__init__(
            f"Sweep {self.plan.spec.name}",
            [
                ipywidgets.Box((self.resume_button, self.cancel_button, self.progress), layout=lines),
                self.table,
                self.detail,
            ],
            name="sweep-monitor",
        )
        self.table.observe(lambda _: self._show_chosen(), "chosen")
        self.look()
        self.refresh_code()
        threading.Thread(target=self._watch, daemon=True, name="symbio-sweep").start()

    def look(self) -> None:
        """Read the folder again and show what changed."""
        self.state = sweep_status(self.folder)
        running, failed = set(self.state.running), {key: reason for key, _, reason in self.state.failed}
        for key in self.plan.runs:
            if key not in self._records and (found := finished_record(self.folder, key)) is not None:
                self._records[key] = found
                self._gains[key] = _gain(self.folder / "runs" / key / "results.parquet")
        rows = [self._row(key, key in running, failed.get(key)) for key in self.plan.runs]
        if [row.cells for row in rows] != [row.cells for row in self._by_plan()]:
            self.table.show(rows, f"{self.state.num_runs:,} runs")
        self.progress.value = self.state.num_finished
        said = (
            f"{self.state.num_finished:,} of {self.state.num_runs:,} finished, {len(running)} running, "
            f"{len(failed)} failed, {self.state.num_waiting} waiting{'; cancelled' if self.state.cancelled else ''}"
        )
        if self.status.text != said and (not self.is_working or running):
            self.status.say(
                said, "bad" if failed else "good" if self.state.num_finished == self.state.num_runs else "plain"
            )

    def resume(self) -> None:
        """Run what is missing or failed, by ``symbio sweep resume``, in a process of its own."""
        if self.is_working:
            return
        arguments = ["sweep", "resume", str(self.folder)]
        self.child = Child(
            "symbio_lab.widgets.commands:run_symbio", {"arguments": arguments}, on_end=self._after_resume
        )
        self.resume_button.disabled = True
        self.status.say("starting ...")
        self.child.start()

    def cancel(self) -> None:
        """Let no further run start, whoever runs the sweep; runs that go on finish."""
        self.guarded(lambda: cancel_sweep(self.folder))
        self.look()

    def close(self) -> None:
        """Stop looking, and take the widget away."""
        self._closed.set()
        super().close()

    def code(self) -> str:
        """Return the calls behind the buttons."""
        return (
            "from pathlib import Path\n\n"
            "from symbio_lab.sweeps.plan import read_plan\n"
            "from symbio_lab.sweeps.runner import run_sweep\n"
            "from symbio_lab.sweeps.status import sweep_status\n\n"
            f"folder = Path({str(self.folder)!r})\n"
            "print(sweep_status(folder))\n"
            "run_sweep(read_plan(folder))  # what is missing or failed"
        )

    def twin(self) -> Bundle:
        """Return counts and the first runs."""
        names = ["run", *self._varied, "state", "time", "net gain", "reason"]
        rows: list[TableRow] = [list(row.cells) for row in self.table.entries[:NUM_TWIN_ROWS]]
        more = f"; {NUM_TWIN_ROWS} are shown" if len(self.table.entries) > NUM_TWIN_ROWS else ""
        return stack(
            prose(esc(self.status.text)), table([Column(n) for n in names], rows, f"{self.table.caption}{more}")
        )

    def _by_plan(self) -> list[TableEntry]:
        place = {key: i for i, key in enumerate(self.plan.runs)}
        return sorted(self.table.entries, key=lambda row: place[row.row_id])

    def _row(self, key: str, is_running: bool, reason: str | None) -> TableEntry:
        done = self._records.get(key)
        state = "finished" if done else "running" if is_running else "failed" if reason is not None else "waiting"
        tone = {"finished": "good", "failed": "bad"}.get(state, "")
        parameters = self.plan.runs[key]
        gain = self._gains.get(key)
        varied = [str(parameters.get(name, "")) for name in self._varied]
        cells = (key[:10], *varied, state, seconds(done.wall_s) if done else NONE, pp(gain), reason or "")
        keys = (key, *varied, state, done.wall_s if done else None, gain, reason or "")
        return TableEntry(key, cells, keys, ("", *("" for _ in varied), tone, "", "", ""))

    def _show_chosen(self) -> None:
        if not self.table.chosen:
            self.detail.value = ""
            return
        key = self.table.chosen[-1]
        done = self._records.get(key)
        found = done or failed_record(self.folder, key)
        kind = "runs" if done else "failed"
        notebook = self.folder / kind / key / "notebook.ipynb"
        parts = [f"<p>run <code>{esc(key)}</code></p>"]
        if found is not None:
            parts.append(f"<p>{esc(found.reason or found.status)}; {esc(found.host)}, {esc(found.started_at)}</p>")
        if notebook.is_file():
            parts.append(f'<p>notebook: <a href="{_link(notebook)}" target="_blank">{esc(notebook)}</a></p>')
        self.detail.value = "".join(parts)

    def _watch(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self.look()
            except SymbioError as error:
                self.status.say(f"{error}. Next: {error.hint}", "bad")
            if self._is_over():
                # A sweep that rests is looked at again when somebody resumes it here.
                self._closed.wait(5 * self._every_s)

    def _is_over(self) -> bool:
        return not self.state.running and not self.is_working

    def _after_resume(self, ended: Ended) -> None:
        self.resume_button.disabled = False
        self.guarded(self.look)
        if ended.status == "failed":
            self.status.say(f"{ended.reason}. Next: {ended.hint}", "bad")


def _varied(plan: SweepPlan) -> list[str]:
    """Return the parameters that differ between runs, in the plan's order."""
    seen: dict[str, set[str]] = {}
    for parameters in plan.runs.values():
        for name, value in parameters.items():
            seen.setdefault(name, set()).add(repr(value))
    return [name for name, values in seen.items() if len(values) > 1]


def _gain(rows: Path) -> float | None:
    """Return the mean primary metric of a run's rows; None where they have none."""
    import pyarrow.parquet

    if not rows.is_file() or GAIN not in pyarrow.parquet.read_schema(rows).names:
        return None
    values: list[Any] = pyarrow.parquet.read_table(rows, columns=[GAIN])[GAIN].to_pylist()
    known = [float(v) for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _link(notebook: Path) -> str:
    """Return where JupyterLab opens a notebook, if it lies below the folder that the kernel runs in."""
    try:
        inside = notebook.resolve().relative_to(Path.cwd())
    except ValueError:
        return notebook.resolve().as_uri()
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    return f"{prefix}lab/tree/{quote(inside.as_posix())}"
