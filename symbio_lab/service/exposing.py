"""The store's figures in Prometheus' text format; the same from every server process of one store.

They are of the store, not of the process: where several servers stand on one store, take ``max``, not ``sum``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from symbio_lab.store.figures import KINDS, OUTCOMES, STAGES, STATES, StoreFigures


def expose_store(figures: StoreFigures, *, now: str) -> bytes:
    """Return the figures as text; every series is there from the start, at zero.

    Args:
        figures: of the store.
        now: UTC time, for the age of the queue.
    """
    registry = CollectorRegistry()
    registry.register(_Families(figures, now))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, figures: StoreFigures, now: str) -> None:
        self._figures, self._now = figures, now

    def collect(self) -> Iterator[Metric]:
        figures = self._figures
        jobs = GaugeMetricFamily("symbio_jobs", "Jobs in the store", labels=["kind", "state"])
        for kind in KINDS:
            for state in STATES:
                jobs.add_metric([kind, state], figures.jobs.get((kind, state), 0))
        yield jobs
        age = GaugeMetricFamily("symbio_oldest_queued_job_seconds", "Seconds that the oldest queued job has waited")
        age.add_metric([], _seconds_since(figures.oldest_queued_at, self._now))
        yield age
        ended = CounterMetricFamily("symbio_jobs_ended", "Jobs that ended, by outcome", labels=["kind", "outcome"])
        for kind in KINDS:
            for outcome in OUTCOMES:
                ended.add_metric([kind, outcome], figures.outcomes.get((kind, outcome), 0))
        yield ended
        lines = CounterMetricFamily("symbio_deployments", "Lines of the ledger", labels=["stage"])
        for stage in STAGES:
            lines.add_metric([stage], figures.deployments.get(stage, 0))
        yield lines
        audit = CounterMetricFamily("symbio_audit_lines", "Lines of the audit log")
        audit.add_metric([], figures.num_audit_lines)
        yield audit
        size = GaugeMetricFamily("symbio_store_bytes", "Bytes that the store takes on disk")
        size.add_metric([], figures.size_bytes)
        yield size


def _seconds_since(then: str | None, now: str) -> float:
    if then is None:
        return 0.0
    return max(0.0, (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds())
