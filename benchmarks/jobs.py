"""How many jobs workers end in a second, by the number of workers: what the queue costs, and what more workers bring.

Each job waits ``--job-ms`` (as one that computes elsewhere does) and then writes what a real one writes: events, an
outcome, a line of the audit log. On SQLite, or on the server that ``--store`` names. Ends within a minute.

    python benchmarks/jobs.py [--store postgresql://...] [--workers 1 2 4] [--jobs 120] [--job-ms 50]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

from symbio_lab.config import check_store
from symbio_lab.store.audit import add_line
from symbio_lab.store.connection import Connection
from symbio_lab.store.jobs import Jobs
from symbio_lab.store.opening import open_store

NOW = "2026-01-01T00:00:00Z"


def work(place: str, name: str, job_ms: float) -> None:
    """End jobs until there is none."""
    store = open_store(check_store(place, Path.cwd()))
    jobs = Jobs(store)
    while (job := jobs.claim(name, now=NOW)) is not None:
        time.sleep(job_ms / 1000)
        for phase in ("search", "verify", "screen", "gate"):
            jobs.note(job.job_id, name, {"event": "PhaseStarted", "phase": phase}, stage=phase)

        def tell(connection: Connection, job_id: str = job.job_id) -> None:
            add_line(connection, "bench", at=NOW, actor="worker", action="job.succeeded", subject=job_id)

        jobs.finish(job.job_id, name, "succeeded", now=NOW, result={}, also=tell)


def measure(place: str, num_workers: int, num_jobs: int, job_ms: float) -> float:
    """Return jobs ended in a second."""
    jobs = Jobs(open_store(check_store(place, Path.cwd())))
    for number in range(num_jobs):
        jobs.submit(f"tenant-{number % 7}", "bench", {}, now=NOW)
    workers = [
        multiprocessing.get_context("spawn").Process(target=work, args=(place, f"w{i}", job_ms))
        for i in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    # From the first end to the last: starting a process is no part of a job.
    while jobs.num_open() == num_jobs:
        time.sleep(0.01)
    started, open_then = time.perf_counter(), jobs.num_open()
    while jobs.num_open():
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return open_then / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", help="SQLite file or postgresql://...; default: a new file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--jobs", type=int, default=120)
    parser.add_argument("--job-ms", type=float, default=50.0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = asked.store or str(Path(folder) / "store.db")
        rates = {n: measure(place, n, asked.jobs, asked.job_ms) for n in asked.workers}
    first = next(iter(rates.values()))
    for number, rate in rates.items():
        print(f"{number} worker(s): {rate:6.1f} jobs/s, {rate / first:.2f} times {asked.workers[0]}")
    if asked.json:
        asked.json.write_text(json.dumps({"job_ms": asked.job_ms, "jobs_per_s": rates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
