"""What collecting a million predictions costs: rows a second and memory, from a file to counts.

Three steps, each on the same store:

1. A generated JSON Lines file is read, checked and stored, as ``symbio monitor ingest`` does it. Its rows have no
   ids, so each gets the digest of its content: the dearest case. Four in five carry their ground truth.
2. Everything is read back row by row, counted, and compared with the counts that SQL gives by domain.
3. The file is ingested again: every row is a duplicate.

Peak resident memory is looked at after 100,000, 500,000 and all rows: it must not grow. The store commits with
``synchronous=FULL``, so every chunk acknowledged survives a power cut.

Run: ``python benchmarks/ingest.py`` (``--quick`` for 100,000 rows, ``--out FILE`` to keep the figures as JSON).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from symbio_lab.codec import write_json
from symbio_lab.monitor.ingesting import CHUNK_ROWS, IngestReport, ingest
from symbio_lab.monitor.prediction_files import prediction_rows
from symbio_lab.monitor.stored_traffic import recent_traffic
from symbio_lab.store import Database
from symbio_lab.store.observed_time import from_us
from symbio_lab.store.prediction_reading import PredictionReader
from symbio_lab.store.predictions import PredictionStore

TARGET = 20_000
WORDS = ("please", "book", "cancel", "refund", "order", "card", "flight", "hotel", "late", "lost", "broken", "invoice")
DOMAINS = tuple(f"domain-{i:02d}" for i in range(10))
LABELS = tuple(f"label_{i:03d}" for i in range(150))


def make_file(path: Path, num_rows: int) -> None:
    """Write rows like those of an intent classifier, about 250 bytes each."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as handle:
        for number in range(num_rows):
            gold = rng.choice(LABELS)
            row = {
                "input_sample": " ".join(rng.choices(WORDS, k=9)) + f" {number}",
                "actual_output": gold if rng.random() < 0.9 else rng.choice(LABELS),
                "domain": rng.choice(DOMAINS),
                "confidence": round(rng.random(), 4),
                "observed_at": from_us(1_767_225_600_000_000 + number * 1_000_000),
            }
            if rng.random() < 0.8:
                row["expected_output"] = gold
            handle.write(json.dumps(row) + "\n")


def resident_mib(which: str) -> float:
    """Return ``VmRSS`` (now) or ``VmHWM`` (peak so far) of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    return float("nan")


def measure(folder: Path, num_rows: int) -> dict[str, Any]:
    """Ingest, read back, ingest again."""
    file = folder / "traffic.jsonl"
    make_file(file, num_rows)
    store = PredictionStore(Database(folder / "store.db"))
    marks = sorted({100_000, 500_000, num_rows})
    peaks: dict[int, float] = {}
    before = resident_mib("VmHWM")

    def look(report: IngestReport) -> None:
        while marks and report.num_read >= marks[0]:
            peaks[marks.pop(0)] = resident_mib("VmHWM")

    def timed_ingest(listen: Any) -> tuple[IngestReport, float, float]:
        begun, cpu = time.perf_counter(), time.process_time()
        report = ingest(store, prediction_rows(file, model_id="bench"), on_chunk=listen)
        return report, time.perf_counter() - begun, time.process_time() - cpu

    first, ingest_s, ingest_cpu_s = timed_ingest(look)
    if first.num_stored != num_rows:
        raise SystemExit(f"stored {first.num_stored} of {num_rows}: {first.refused_by_code}")

    reader = PredictionReader(store.database, "default", "bench")
    begun = time.perf_counter()
    counts = reader.counts("domain")
    sql_s = time.perf_counter() - begun
    begun = time.perf_counter()
    totals: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for row in reader.rows():
        totals[row.record.domain] += 1
        failed[row.record.domain] += row.record.failed is True
    read_s = time.perf_counter() - begun
    if {c.key: (c.num_total, c.num_failed) for c in counts} != {d: (totals[d], failed[d]) for d in totals}:
        raise SystemExit("counts by SQL and by reading differ")
    peak_read = resident_mib("VmHWM")
    begun = time.perf_counter()
    window, _ = recent_traffic(reader, num_rows=50_000)
    window_s = time.perf_counter() - begun

    again, again_s, _ = timed_ingest(None)
    if again.num_duplicates != num_rows:
        raise SystemExit("the second run stored something")
    size = (folder / "store.db").stat().st_size
    print(f"{num_rows:,} predictions, {file.stat().st_size / num_rows:.0f} bytes each in JSON Lines")
    print(f"  ingest        {num_rows / ingest_s:10,.0f} rows/s   ({ingest_s:.1f} s; target {TARGET:,} rows/s)")
    print(f"                {num_rows / ingest_cpu_s:10,.0f} rows a CPU second of this process")
    print(f"  ingest again  {num_rows / again_s:10,.0f} rows/s   (all duplicates)")
    print(f"  read back     {num_rows / read_s:10,.0f} rows/s   counts by domain in SQL: {sql_s:.2f} s")
    print(f"  window        {len(window):10,d} rows in {window_s:.2f} s")
    print(f"  store         {size / num_rows:10.0f} bytes a row")
    print(f"  peak resident MiB: {before:.0f} before, " + ", ".join(f"{v:.0f} at {k:,}" for k, v in peaks.items()))
    print(f"                     {peak_read:.0f} after reading everything back")
    return {
        "num_rows": num_rows,
        "ingest_rows_s": num_rows / ingest_s,
        "ingest_rows_cpu_s": num_rows / ingest_cpu_s,
        "again_rows_s": num_rows / again_s,
        "read_rows_s": num_rows / read_s,
        "sql_counts_s": sql_s,
        "window_s": window_s,
        "store_bytes_a_row": size / num_rows,
        "peak_mib_before": before,
        "peak_mib": {str(k): v for k, v in peaks.items()},
        "peak_mib_read": peak_read,
    }


def main() -> None:
    """Measure, print, and keep the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 rows instead of a million")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {load:.1f} before")
    print(f"synchronous=FULL, write-ahead log, {CHUNK_ROWS:,} rows a transaction")
    with tempfile.TemporaryDirectory(prefix="symbio-bench-") as name:
        found = {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": load,
            "chunk_rows": CHUNK_ROWS,
            **measure(Path(name), 100_000 if args.quick else 1_000_000),
        }
    if args.out:
        write_json(args.out, found)


if __name__ == "__main__":
    main()
