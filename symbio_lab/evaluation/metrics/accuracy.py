"""Accuracy before, after, and its paired change."""

from __future__ import annotations

from symbio_lab.evaluation.evaluate import Outcomes
from symbio_lab.records import Interval
from symbio_lab.stats.intervals import to_interval
from symbio_lab.stats.paired import paired_difference


def accuracy_before(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return the base's accuracy, in [0, 1]."""
    return to_interval(sum(outcomes.right_before), len(outcomes), alpha)


def accuracy_after(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return the patched model's accuracy, in [0, 1]."""
    return to_interval(sum(outcomes.right_after), len(outcomes), alpha)


def delta_accuracy(outcomes: Outcomes, alpha: float = 0.05) -> Interval:
    """Return accuracy after minus before, in [-1, 1], with Newcombe's paired interval."""
    both, broken, fixed, neither = outcomes.counts()
    return paired_difference(both, broken, fixed, neither, alpha)
