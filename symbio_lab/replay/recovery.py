"""What the shift did to the error rate, and what healing undid: three stretches of the stream, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from symbio_lab.records import Interval
from symbio_lab.replay.story import ReplayResult
from symbio_lab.stats.intervals import to_interval


@dataclass(frozen=True, slots=True)
class Stretch:
    """Error rates of one part of the stream, with Wilson intervals."""

    name: str
    """``before the shift``, ``between`` or ``after healing``."""
    overall: Interval
    shifted: Interval
    """Of the kind of request that set in."""
    usual: Interval
    """Of all others."""


def stretches(result: ReplayResult) -> tuple[Stretch, ...]:
    """Return the error rates before the shift, between shift and healing, and after healing.

    After healing, requests that the healer was given, or near duplicates of them, do not count.
    """
    failed, shifted = (np.array(rows, dtype=np.bool_) for rows in (result.failed, result.shifted))
    position, given = np.arange(len(failed)), np.array(result.seen_in_healing, dtype=np.bool_)
    end = len(failed) if result.healed_at is None else result.healed_at
    parts = [
        _stretch("before the shift", position < result.shift_at, failed, shifted),
        _stretch("between", (position >= result.shift_at) & (position < end), failed, shifted),
    ]
    if result.healed_at is not None:
        parts.append(_stretch("after healing", (position >= end) & ~given, failed, shifted))
    return tuple(parts)


def _stretch(name: str, rows: NDArray[np.bool_], failed: NDArray[np.bool_], shifted: NDArray[np.bool_]) -> Stretch:
    def rate(part: Sequence[bool] | NDArray[np.bool_]) -> Interval:
        inside = np.asarray(part, dtype=np.bool_)
        return to_interval(int(failed[inside].sum()), int(inside.sum()), method="wilson")

    return Stretch(name, rate(rows), rate(rows & shifted), rate(rows & ~shifted))
