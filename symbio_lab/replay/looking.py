"""When traffic is searched after an alarm, and whether its inputs have shifted: how often to look, declared beforehand.

Rules:
    1. A new alarm is followed by a search at once, then after 1, 2, 4, 8 ... batches without a new alarm.
    2. While more samples are awaited there is a search in every batch.
    3. After ``MOST_FRUITLESS`` searches in a row without a confirmed pattern the alarms are dropped; the next alarm
       begins anew.
    4. The inputs are tested for a shift in ``MOST_TESTS`` searches at most, each at ``SHIFT_ALPHA / MOST_TESTS``; once
       a shift is found it stands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symbio_lab.monitor.detectors.mmd import Mmd
from symbio_lab.monitor.detectors.shift_test import MIN_ROWS

MOST_FRUITLESS = 8
"""Searches without a confirmed pattern after which alarms are dropped."""
NUM_REFERENCE = 500
"""Requests of either side that are compared for a shift of the inputs."""
SHIFT_ALPHA = 0.01
"""Chance of naming a shift in a run whose inputs have not shifted."""
MOST_TESTS = 20
NUM_PERMUTATIONS = 2499
"""The smallest p-value, 1 / 2500, lies below ``SHIFT_ALPHA / MOST_TESTS``."""


class LookSchedule:
    """Says for every batch whether the latest traffic is searched.

    >>> schedule, looks = LookSchedule(), []
    >>> schedule.alarm()
    >>> for batch in range(12):
    ...     if schedule.due():
    ...         looks.append(batch)
    ...         schedule.looked(found=True, awaiting=False)
    >>> looks
    [0, 1, 3, 7]
    """

    def __init__(self) -> None:
        """Start without an alarm: nothing is due."""
        self._is_open = False
        self._left, self._step = 0, 1
        self._num_fruitless = 0

    @property
    def is_open(self) -> bool:
        """Whether there is an alarm that nobody dealt with."""
        return self._is_open

    def alarm(self) -> None:
        """Take note of a new alarm: the next batch is searched."""
        self._is_open = True
        self._left, self._step = 0, 1

    def due(self) -> bool:
        """Return whether this batch is searched; to be asked once a batch."""
        if not self._is_open:
            return False
        self._left = max(self._left - 1, 0)
        return self._left == 0

    def looked(self, *, found: bool, awaiting: bool) -> None:
        """Take note of a search.

        Args:
            found: whether a pattern was confirmed.
            awaiting: whether the advice is to collect more samples.
        """
        self._num_fruitless = 0 if found else self._num_fruitless + 1
        if self._num_fruitless >= MOST_FRUITLESS:
            self.close()
            return
        self._step = 1 if awaiting else self._step
        self._left, self._step = self._step, (1 if awaiting else 2 * self._step)

    def close(self) -> None:
        """Forget the alarms: they were dealt with, or nothing was found."""
        self._is_open, self._num_fruitless = False, 0


class InputShift:
    """Tests the latest inputs against the first ones, a declared number of times at most.

    Args:
        seed: of the permutations.
    """

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._num_tests = 0
        self._found: list[str] = []

    def compare(self, first: NDArray[np.floating], latest: NDArray[np.floating]) -> list[str]:
        """Return a sentence when the inputs have shifted, else nothing.

        Args:
            first: unit vectors of the first requests, (N, D).
            latest: unit vectors of the latest ones, (M, D).
        """
        too_few = min(len(first), len(latest)) < MIN_ROWS
        if self._found or too_few or self._num_tests >= MOST_TESTS:
            return self._found
        self._num_tests += 1
        tested = Mmd(seed=self._seed, num_permutations=NUM_PERMUTATIONS).compare(first, latest)
        if tested.p_value <= SHIFT_ALPHA / MOST_TESTS:
            self._found = [
                f"the inputs have shifted: {tested.name} p = {tested.p_value:.4f} "
                f"(first {tested.n_reference} against {tested.n_current} later ones)"
            ]
        return self._found
