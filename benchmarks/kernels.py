"""What one notebook costs beyond its own work: plain papermill against warm kernels, interleaved in one run.

Two questions:

1. An import-heavy notebook (torch, transformers, peft, datasets and nothing else): seconds for each run by plain
   papermill and by the lab's sweep kernels. The notebook does no work, so all of it is overhead.
2. A sweep of a thousand trivial runs, leases, records and events included: do seconds a run and memory grow?

Run: ``python benchmarks/kernels.py`` (``--quick`` for fewer, ``--out FILE`` to keep the figures as JSON).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill

from symbio_lab.codec import write_json
from symbio_lab.events import Event, RunEnded
from symbio_lab.kernels.client import stop_zygotes
from symbio_lab.kernels.executing import execute_notebook
from symbio_lab.sweeps.plan import make_plan
from symbio_lab.sweeps.runner import run_sweep

PRELOAD = ("torch", "transformers", "peft", "datasets")
HEAVY = """import datasets, peft, torch, transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, Trainer
"""
TARGET = 8.0


def make_notebook(path: Path, code: str) -> Path:
    """Write a notebook of one cell."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    parameters = nbformat.v4.new_code_cell('number: int = 0\nout: str = "out"', metadata={"tags": ["parameters"]})
    cells = [parameters, nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def plain_s(notebook: Path, folder: Path) -> float:
    """Return the seconds of one run by papermill as it comes."""
    begun = time.perf_counter()
    papermill.execute_notebook(
        str(notebook), str(folder / "plain.ipynb"), {"number": 1}, progress_bar=False, kernel_name="python3"
    )
    return time.perf_counter() - begun


def warm_s(notebook: Path, folder: Path) -> float:
    """Return the seconds of one run by a forked kernel."""
    begun = time.perf_counter()
    modes: list[Any] = []
    out = folder / "warm.ipynb"
    execute_notebook("bench", {"number": 1}, out, source=notebook, preload=PRELOAD, modes=modes)
    if modes != ["fork"]:
        raise SystemExit("the kernel was spawned: there is nothing to compare")
    return time.perf_counter() - begun


def resident_mib() -> float:
    """Return the resident memory of this process and its descendants, in MiB; shared pages count for each of them."""
    parents: dict[int, int] = {}
    pages: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                pages[int(entry.name)] = int((entry / "statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
    ours, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        grown = bool(more)
        ours |= more
    return sum(pages.get(pid, 0) for pid in ours) * os.sysconf("SC_PAGE_SIZE") / 2**20


def overhead(folder: Path, repeats: int) -> dict[str, Any]:
    """Time both ways by turns, after one warm-up of each."""
    notebook = make_notebook(folder / "heavy.ipynb", HEAVY)
    begun = time.perf_counter()
    warm_s(notebook, folder)
    first = time.perf_counter() - begun
    plain_s(notebook, folder)
    pairs = [(plain_s(notebook, folder), warm_s(notebook, folder)) for _ in range(repeats)]
    plain, warm = ([pair[side] for pair in pairs] for side in (0, 1))
    ratio = statistics.median(plain) / statistics.median(warm)
    print(
        f"import-heavy notebook, {repeats} runs each by turns; the first warm one took {first:.1f} s with its imports"
    )
    for name, values in (("plain papermill", plain), ("warm kernel", warm)):
        print(f"  {name:<16}{statistics.median(values):7.2f} s ({min(values):.2f} to {max(values):.2f})")
    print(f"  ratio of medians {ratio:6.1f} (target: at least {TARGET:g})")
    return {"plain_s": plain, "warm_s": warm, "ratio": ratio, "first_warm_s": first}


def growth(folder: Path, num_cells: int) -> dict[str, Any]:
    """Run a sweep of trivial runs on two slots; look at seconds and memory quarter by quarter."""
    make_notebook(folder / "trivial.ipynb", "print(number)")
    grid = {"product": {"number": list(range(num_cells))}}
    spec = {"name": "trivial", "notebook": "trivial.ipynb", "grid": grid, "engine": {"slots": 2, "threads": 1}}
    (folder / "sweep.yaml").write_text(json.dumps(spec), encoding="utf-8")
    plan = make_plan(folder / "sweep.yaml", folder / "sweep")
    quarter = max(num_cells // 4, 1)
    marks, memory = [time.perf_counter()], []

    def listen(event: Event) -> None:
        if isinstance(event, RunEnded) and event.num_done % quarter == 0:
            marks.append(time.perf_counter())
            memory.append(resident_mib())

    done = run_sweep(plan, listener=listen)
    if len(done.finished) != num_cells:
        raise SystemExit(f"{len(done.failed)} runs failed: {done.failed[0].reason}")
    spent = [(b - a) / quarter for a, b in itertools.pairwise(marks)]
    print(f"sweep of {num_cells:,} trivial runs on two slots, {marks[-1] - marks[0]:.0f} s; by quarter:")
    print("  seconds a run   " + "  ".join(f"{value:6.3f}" for value in spent))
    print("  resident MiB    " + "  ".join(f"{value:6.0f}" for value in memory))
    print(f"  last against first quarter: time {spent[-1] / spent[0]:.2f}, memory {memory[-1] / memory[0]:.2f}")
    return {"num_cells": num_cells, "s_a_run": spent, "resident_mib": memory, "total_s": marks[-1] - marks[0]}


def main() -> None:
    """Measure, print, and keep the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 pairs and 40 cells instead of 7 and 1,000")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {load:.1f} before")
    with tempfile.TemporaryDirectory(prefix="symbio-bench-") as name:
        found = {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": load,
            "overhead": overhead(Path(name), 3 if args.quick else 7),
            "growth": growth(Path(name), 40 if args.quick else 1000),
        }
    stop_zygotes()
    if args.out:
        write_json(args.out, found)


if __name__ == "__main__":
    main()
