"""What can go wrong between a client and its Hub, on purpose: for tests of clients.

status      answers with a status, and ``Retry-After`` if asked for
stall       waits ``delay_s`` before it answers
truncate    announces the whole body and closes the connection half-way
bit_flip    changes the last bit of the body and nothing else
stale_main  shows ``main`` as it was one commit earlier (or at ``commit``)
header      adds or replaces headers of the answer
redirect    answers 302 to ``headers["Location"]``
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
    """One fault, for requests that it matches."""

    method: str = "GET"
    """Regular expression of the whole method."""
    path: str = ".*"
    """Regular expression that is searched in the path as it was sent."""
    kind: FaultKind = "status"
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    times: int = 1
    """Requests that it hits."""
    retry_after: int | None = None
    """Seconds, as the header says."""
    commit: str = ""
    """Of ``stale_main``: the commit that is shown; empty: the parent."""


class Faults:
    """The faults that are still to happen, in the order in which they were added; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen ``times`` times.

        Raises:
            ConfigError: the kind or a pattern is wrong.
        """
        problems = [] if fault.kind in get_args(FaultKind) else [f"unknown kind of fault {fault.kind!r}"]
        for pattern in (fault.method, fault.path):
            try:
                re.compile(pattern)
            except re.error as error:
                problems.append(f"{pattern!r} is not a regular expression: {error}")
        if problems:
            raise ConfigError(problems)
        with self._lock:
            self._left.append((fault, fault.times))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._left.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that hits a request, and count it."""
        with self._lock:
            for place, (fault, left) in enumerate(self._left):
                if re.fullmatch(fault.method, method) and re.search(fault.path, path):
                    if left > 1:
                        self._left[place] = (fault, left - 1)
                    else:
                        del self._left[place]
                    return fault
        return None
