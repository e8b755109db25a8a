"""A dashboard for Grafana over what ``/metrics`` exposes: ``symbio serve --grafana > symbio-lab.json``, then import it.

It asks for the Prometheus data source when it is imported, and names no host. The scrape job is a variable.
"""

from __future__ import annotations

from importlib.resources import files


def grafana_dashboard() -> str:
    """Return the dashboard as JSON text."""
    return (files(__name__) / "symbio-lab.json").read_text(encoding="utf-8")
