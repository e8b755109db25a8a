"""The benchmark of the service runs, and mixed batches give peft's labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "service.py"


@pytest.mark.slow
def test_the_benchmark_runs_and_its_answers_are_those_of_peft(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    subprocess.run([sys.executable, str(BENCHMARK), "--quick", "--out", str(out)], check=True, timeout=900)
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert [row["same_labels"] for row in figures["mixed"]] == [1.0] * 3
    assert figures["swap"]["num_answered_meanwhile"] > 0
    rates = {**figures["reports"], **figures["predict"], "search": figures["search"]["p50_ms"]}
    assert all(value > 0 for value in rates.values()), rates


@pytest.mark.slow
def test_memory_of_a_server_under_load_stays_flat(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    minutes = os.environ.get("SYMBIO_LAB_SOAK_MINUTES", "3")
    subprocess.run([sys.executable, str(BENCHMARK), "--soak", minutes, "--out", str(out)], check=True)
    soak = json.loads(out.read_text(encoding="utf-8"))["soak"]
    assert soak["predictions"] > 100
    # Reading a market anew takes and gives back some 100 MiB; a leak of each answer would show beyond that.
    assert soak["last_mib"] < 1.25 * soak["later_mib"] + 50, soak
