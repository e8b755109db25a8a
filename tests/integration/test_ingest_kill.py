"""A kill during ingest loses nothing acknowledged, and running again stores exactly what is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from symbio_lab.monitor.ingesting import ingest
from symbio_lab.monitor.prediction_files import prediction_rows
from symbio_lab.store import Database
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore

NUM_ROWS = 6000
CHUNK_ROWS = 50
NUM_KILLS = 4
CHILD = """
import sys
from pathlib import Path
from symbio_lab.monitor.ingesting import ingest
from symbio_lab.monitor.prediction_files import prediction_rows
from symbio_lab.store import Database
from symbio_lab.store.predictions import PredictionStore

store = PredictionStore(Database(Path(sys.argv[1])))
rows = prediction_rows(Path(sys.argv[2]), model_id="m")
ingest(store, rows, chunk_rows=int(sys.argv[3]), on_chunk=lambda report: print(report.num_read, flush=True))
"""


def test_repeated_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    file, path = tmp_path / "traffic.jsonl", tmp_path / "store.db"
    rows = [
        {"input_sample": f"text {i}", "actual_output": "a", "expected_output": "ab"[i % 2]} for i in range(NUM_ROWS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = PredictionReader(Database(path), "default", "m")
    most = 0
    for number in range(NUM_KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(file), str(CHUNK_ROWS)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout:
            # Each run first meets what the runs before it stored, then stores more, then is killed.
            acknowledged = 0
            while acknowledged < (number + 1) * NUM_ROWS // (NUM_KILLS + 2):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=30)
            acknowledged = int([str(acknowledged), *child.stdout.read().split()][-1])
        assert child.returncode == -signal.SIGKILL
        state = reader.state()
        # One more chunk may have been committed before it could be reported.
        assert max(acknowledged, most) <= state.num_stored <= max(acknowledged + CHUNK_ROWS, most)
        assert (state.num_labelled, state.num_stored % CHUNK_ROWS) == (state.num_stored, 0)
        most = state.num_stored
    assert most < NUM_ROWS

    report = ingest(PredictionStore(Database(path)), prediction_rows(file, model_id="m"))
    assert (report.num_stored, report.num_duplicates) == (NUM_ROWS - most, most)
    assert [row.record.input_sample for row in reader.rows()] == [row["input_sample"] for row in rows]
    assert reader.state().num_failed == NUM_ROWS // 2


def test_two_processes_that_ingest_the_same_file_store_each_row_once(tmp_path: Path) -> None:
    file, path = tmp_path / "traffic.jsonl", tmp_path / "store.db"
    file.write_text("".join(f'{{"input_sample": "text {i}", "actual_output": "a"}}\n' for i in range(1000)))
    command = [sys.executable, "-c", CHILD, str(path), str(file), str(CHUNK_ROWS)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for child in children:
        child.communicate(timeout=120)
        assert child.returncode == 0
    rows = [row.record.input_sample for row in PredictionReader(Database(path), "default", "m").rows()]
    assert rows == [f"text {i}" for i in range(1000)]
