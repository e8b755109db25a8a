"""The alarm of one stream among many: which, when, how sure, and since when.

Made by ``monitor/streams.py``; read by patterns, health and whoever shows the stream.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """Name of a stream."""

    kind: str
    """``overall``, or a kind that events name."""
    value: str = ""
    """Which tenant, domain or label; empty for ``overall``."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One stream whose error rate has risen."""

    stream: Stream
    """Which one."""
    at_event: int
    """Event of the monitor that raised the alarm, counted from 1 over all streams."""
    at_stream_event: int
    """The same event, counted from 1 over the stream's own."""
    statistic: float
    """Evidence of the stream."""
    threshold: float
    """What it needed, given how many streams alarmed together."""
    reference_rate: float
    """Error rate that was normal, in (0, 1)."""
    recent_rate: float
    """Error rate since ``started_at_estimate``, in [0, 1]; too high on average, for the start was picked."""
    recent_n: int
    """The stream's events since then."""
    started_at_estimate: int
    """The stream's own event at which the rise most likely began, counted from 1."""
