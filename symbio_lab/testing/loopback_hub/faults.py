"""A Hub that misbehaves on demand: late, broken, lying or gone.

Kinds:
    ``status``      answer ``status`` with ``headers``, and ``Retry-After`` when ``retry_after`` is set
    ``stall``       wait ``delay_s`` seconds, then answer as usual
    ``truncate``    promise the whole body, send half of it and hang up
    ``bit_flip``    change one bit in the middle of the body
    ``stale_main``  show ``main`` as it was at ``commit``, or one commit ago
    ``header``      answer as usual, with ``headers`` in place of the real ones
    ``redirect``    answer 302 (or a ``status`` from 300 to 399) with ``headers``, which hold ``Location``

Rules:
    1. A fault applies to requests whose method and raw path (percent-encoded, without the query) both hold a match.
    2. It applies ``times`` times; the first fault added that still applies is used.

Example:
    >>> faults = FaultList()
    >>> faults.add(Fault(method="GET", path=r"/resolve/", kind="status", status=503, times=1))
    >>> faults.take("GET", "/alice/travel/resolve/main/README.md").status
    503
    >>> faults.take("GET", "/alice/travel/resolve/main/README.md") is None
    True
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from symbio_lab.errors import ConfigError

FaultKind = Literal["status", "stall", "truncate", "bit_flip", "stale_main", "header", "redirect"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave, and when."""

    method: str = ".*"
    """Regular expression for the method."""
    path: str = ".*"
    """Regular expression for the raw path."""
    kind: FaultKind = "status"
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Seconds before the answer; any kind may be late."""
    times: int = 1
    """How often."""
    retry_after: int | None = None
    """Seconds that ``Retry-After`` names."""
    commit: str = ""
    """Where ``stale_main`` freezes ``main``; empty: one commit ago."""


class FaultList:
    """The faults that a Hub still has to show."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Misbehave from now on.

        Raises:
            ConfigError: with all problems of the fault.
        """
        problems = _problems(fault)
        if problems:
            raise ConfigError(problems)
        with self._lock:
            self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Behave."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for one request, and count it."""
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if re.search(fault.method, method) and re.search(fault.path, path):
                    self._waiting[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault
        return None


def _problems(fault: Fault) -> list[str]:
    problems = []
    if fault.kind not in get_args(FaultKind):
        problems.append(f"kind {fault.kind!r} is not one of {', '.join(get_args(FaultKind))}")
    if fault.times < 1:
        problems.append("times must be at least 1")
    if not 0 <= fault.delay_s <= 600:
        problems.append("delay_s must be from 0 to 600")
    if not 200 <= fault.status <= 599:
        problems.append("status must be from 200 to 599")
    if fault.kind == "redirect" and "location" not in {name.lower() for name in fault.headers}:
        problems.append("a redirect needs the header Location")
    for name in ("method", "path"):
        try:
            re.compile(getattr(fault, name))
        except re.error as error:
            problems.append(f"{name} is no regular expression: {error}")
    return problems
