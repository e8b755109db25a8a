"""One line of the attack matrix, and how its refusal is measured."""

from __future__ import annotations

import contextlib
import resource
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import SymbioError
from tests.attacks.market_simulator import Market, standard_policy

Refusal = Callable[[], str]
"""Meets the attack and returns the code of the refusal, or ``accepted``."""


@dataclass(frozen=True)
class Place:
    """What a line may use to set up its attack."""

    folder: Path
    """Empty, this attack's own."""
    tiny: Any
    """The tiny models."""
    patch: pytest.MonkeyPatch
    closing: ExitStack
    """Closed after the measurement."""

    def market(self, **policy: Any) -> Market:
        """Return a market with one honest patch by ALICE, which is accepted before anything is attacked."""
        market = Market(self.folder, standard_policy(**policy))
        market.publish()
        assert market.code() == "accepted"
        return market


@dataclass(frozen=True)
class Line:
    """One attack: ``prepare`` shows that the honest case is accepted, mounts the attack, and returns the refusal."""

    name: str
    attack: str
    does: str
    """What the attacker does."""
    control: str
    """What stands in the way."""
    code: str
    prepare: Callable[[Place], Refusal]


def code_of(call: Callable[[], object]) -> str:
    """Return the code with which ``call`` is refused, or ``accepted``."""
    try:
        call()
    except SymbioError as error:
        return error.code
    return "accepted"


@dataclass(frozen=True)
class Measured:
    """What a refusal said and cost."""

    code: str
    wall_s: float
    python_bytes: int
    """Peak of what Python allocated."""
    process_bytes: int
    """Growth of the peak of the whole process, native libraries included."""


def measure(line: Line, new_place: Callable[[], Place]) -> Measured:
    """Meet an attack twice, each time prepared anew: timed with the process's memory, then with Python's.

    What is prepared first imports what the refusal needs, so imports are in neither figure.
    """
    timed = _prepared(line, new_place())
    before = _reset_peak()
    started = time.perf_counter()
    code = timed()
    wall_s = time.perf_counter() - started
    process_bytes = max(0, _peak() - before)
    traced = _prepared(line, new_place())
    tracemalloc.start()
    try:
        again = traced()
        _, python_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code == again
    return Measured(code, wall_s, python_bytes, process_bytes)


def _prepared(line: Line, place: Place) -> Refusal:
    place.folder.mkdir(parents=True)
    return line.prepare(place)


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _reset_peak() -> int:
    """Let the peak begin anew at what the process holds now, where the system can; return where it stands."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
    return _peak()


def _peak() -> int:
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
