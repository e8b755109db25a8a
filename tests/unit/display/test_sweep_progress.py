"""A sweep's picture in a notebook: counts, what runs, what failed; one output, from the sweep's own events."""

from __future__ import annotations

from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.progress import PlainProgress
from symbio_lab.display.sweep_progress import SweepProgress
from symbio_lab.events import PhaseStarted, RunEnded, RunStarted, SweepEnded, SweepStarted
from tests.unit.sweeps.made import made_notebook

STARTED = SweepStarted("smoke", 3, 1, "local", 2, "2 slot(s) on the CPU")
FAILED = RunEnded("bbbb", "failed", "dead_kernel", "the <kernel> died", 4.0, True, 1, 3)


def test_the_picture_follows_the_events() -> None:
    pictures: list[Bundle] = []
    now = iter(range(100, 200, 10))
    listener = SweepProgress(pictures.append, clock=lambda: float(next(now)))
    for event in (STARTED, PhaseStarted("search"), RunStarted("aaaa", 1), RunStarted("bbbb", 1), FAILED):
        listener(event)
    assert len(pictures) == 4
    last = pictures[-1]
    assert "smoke: 1 of 3 runs ended, 1 failure, 1 running." in str(last)
    assert "aaaa" in str(last)
    assert "dead_kernel: the <kernel> died, starts again" in str(last)
    assert "the &lt;kernel&gt; died" in last.html
    listener(RunStarted("bbbb", 2))
    assert "dead_kernel" not in str(pictures[-1])
    for event in (
        RunEnded("aaaa", "finished", None, "", 6.0, False, 2, 3),
        RunEnded("bbbb", "finished", None, "", 8.0, False, 3, 3),
        SweepEnded(3, 0, True),
    ):
        listener(event)
    assert "3 of 3 runs ended. Cancelled; what is finished stays. A run took 7 s on average." in str(pictures[-1])


def test_a_sweep_is_lines_too() -> None:
    lines: list[str] = []
    listener = PlainProgress(lines.append)
    for event in (STARTED, RunStarted("bbbb", 2), FAILED, SweepEnded(2, 1, False)):
        listener(event)
    assert lines == [
        "sweep smoke: 3 runs, 1 finished already; 2 slot(s) on the CPU",
        "run bbbb: started, attempt 2",
        "run 1/3: bbbb failed (dead_kernel: the <kernel> died), starts again, 4.0 s",
        "sweep ended: 2 finished, 1 failed",
    ]


def test_a_notebook_shows_one_output(tmp_path: Path) -> None:
    """A real sweep in a real kernel: many events, one output, which holds the end."""
    made_notebook(tmp_path / "cell.ipynb")
    data = {"name": "tiny", "notebook": "cell.ipynb", "parameters": {"marks": str(tmp_path / "marks")}}
    data |= {"grid": {"product": {"number": [1, 2]}}, "engine": {"kernels": "spawn"}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(data))
    code = f"""from pathlib import Path
from symbio_lab.display.sweep_progress import SweepProgress
from symbio_lab.sweeps.plan import make_plan
from symbio_lab.sweeps.runner import run_sweep

done = run_sweep(make_plan(Path({str(tmp_path / "sweep.yaml")!r}), Path("out")), listener=SweepProgress())"""
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(node, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = [o for o in node.cells[0].outputs if o.output_type == "display_data"]
    assert "2 of 2 runs ended." in output.data["text/html"].replace("<strong>", "").replace("</strong>", "")
    assert "tiny" in output.data["text/plain"] or "tiny" in output.data["text/html"]
