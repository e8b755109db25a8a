"""Registered contrasts: what was written down before the first run, tested as one family.

Rules:
    1. Pairs, metric, rows and strata stand in the sweep file. Nothing else gets a p-value in the report.
    2. One family: Holm's correction covers every contrast in every stratum.
    3. Fewer than ``MIN_BLOCKS`` incidents: no interval, no p-value, and the word exploratory.
    4. Nothing is tested before every registered incident of every contrast is in: whoever looks early and stops when
       the figure pleases has another error rate than the one stated.
    5. A test that shows no difference shows no equality either: how probable it is that less than ``ROPE_PP`` lies
       between the arms, and how many incidents would find that much, stand beside it.

References:
    Demsar 2006, section 3.1.3 (Wilcoxon over data sets); Holm 1979; Hesterberg 2015, section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbio_lab.errors import DataError
from symbio_lab.records import Interval
from symbio_lab.reports.sweep.results import SweepResults, incident_name
from symbio_lab.seeding import numpy_generator
from symbio_lab.stats.bootstrap import MIN_BLOCKS, hierarchical_bootstrap
from symbio_lab.stats.planning import blocks_needed
from symbio_lab.stats.practical import PracticalEquality, signed_rank_rope
from symbio_lab.stats.ranks import wilcoxon_holm
from symbio_lab.sweeps.spec import SweepSpec

ROPE_PP = 1.0
"""Differences of less than one point are of no practical use to anybody."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One registered pair in one stratum."""

    first: str
    second: str
    stratum: Mapping[str, Any]
    """Parameter -> value; empty when the contrast is not split."""
    differences: Mapping[str, float]
    """Incident -> first minus second, seeds averaged."""
    mean: Interval
    """Over incidents; without bounds below ``MIN_BLOCKS``."""
    p: float | None
    """Two-sided signed-rank; None below ``MIN_BLOCKS``, and before all registered incidents are in."""
    p_adjusted: float | None
    """After Holm's correction over the whole family."""
    planned: frozenset[str] = frozenset()
    """Incidents that were registered."""
    practical: PracticalEquality | None = None
    """Where the difference probably lies, against ``ROPE_PP``; None where p is."""
    blocks_needed: int | None = None
    """Incidents at which a difference of ``ROPE_PP`` would be found in four of five sweeps, with the spread seen here;
    None where there is none or p is."""

    @property
    def name(self) -> str:
        """The pair and its stratum."""
        where = ", ".join(f"{k} {v}" for k, v in self.stratum.items())
        return f"{self.first} - {self.second}{f' ({where})' if where else ''}"

    @property
    def counts(self) -> tuple[int, int, int]:
        """Incidents where the first arm is better, equal, worse."""
        values = list(self.differences.values())
        return sum(v > 0 for v in values), sum(v == 0 for v in values), sum(v < 0 for v in values)

    @property
    def is_exploratory(self) -> bool:
        """Whether there are too few incidents to claim anything beyond them."""
        return len(self.differences) < MIN_BLOCKS

    @property
    def is_complete(self) -> bool:
        """Whether every registered incident is in."""
        return self.planned <= set(self.differences)


def registered_contrasts(results: SweepResults, *, alpha: float = 0.05) -> tuple[Contrast, ...]:
    """Return every registered contrast that has results, with intervals and corrected p-values.

    Args:
        results: of the sweep.
        alpha: total error rate of each interval.
    """
    spec = results.rows.spec
    registered = planned_contrasts(spec)
    found = []
    for first, second, stratum, planned in registered:
        blocks = results.differences(results.metric, first, second, {**spec.contrasts_where, **stratum})
        if blocks:
            mean = mean_over_incidents(blocks, f"{first} {second} {stratum}", alpha)
            means = {name: float(block.mean()) for name, block in blocks.items()}
            found.append(Contrast(first, second, stratum, means, mean, None, None, frozenset(planned)))
    whole = len(found) == len(registered) and all(c.is_complete for c in found)
    return _tested(found) if whole else tuple(found)


def planned_contrasts(spec: SweepSpec) -> list[tuple[str, str, dict[str, Any], set[str]]]:
    """Return (first, second, stratum, incidents) of every contrast that a sweep file registers."""
    runs = [{**spec.parameters, **point} for point in spec.grid.points()]
    read = [r for r in runs if all(r.get(name) in values for name, values in spec.contrasts_where.items())]
    strata: dict[str, tuple[dict[str, Any], set[str]]] = {}
    for run in read:
        stratum = {name: run.get(name) for name in spec.contrasts_within}
        incident = incident_name(run.get("scenario", ""), run.get("world_seed", 0))
        strata.setdefault(repr(sorted(stratum.items())), (stratum, set()))[1].add(incident)
    ordered = sorted(strata.values(), key=lambda found: [str(v).rjust(12) for v in found[0].values()])
    return [(a, b, stratum, incidents) for a, b in spec.contrasts for stratum, incidents in ordered]


def mean_over_incidents(blocks: Mapping[str, Any], label: str, alpha: float = 0.05) -> Interval:
    """Return the mean over incidents with its bootstrap interval; without bounds below ``MIN_BLOCKS`` incidents.

    Args:
        blocks: incident -> one figure for each seed.
        label: seeds the resamples, so that the same figures give the same interval in every report.
        alpha: total error rate.
    """
    rows = list(blocks.values())
    mean = float(np.mean([row.mean() for row in rows]))
    if len(rows) < MIN_BLOCKS:
        return Interval(mean, None, None, len(rows), "hierarchical_bootstrap")
    rng = numpy_generator(0, "sweep report", label)
    return hierarchical_bootstrap(rows, rng=rng, alpha=alpha)


def _tested(found: list[Contrast]) -> tuple[Contrast, ...]:
    family = {c.name: list(c.differences.values()) for c in found if not c.is_exploratory}
    tests = {t.name: t for t in wilcoxon_holm(family)} if family else {}
    return tuple(
        replace(
            c,
            p=tests[c.name].p,
            p_adjusted=tests[c.name].p_adjusted,
            practical=signed_rank_rope(family[c.name], ROPE_PP, rng=numpy_generator(0, "sweep report rope", c.name)),
            blocks_needed=_needed(family[c.name], len(family)),
        )
        if c.name in tests
        else c
        for c in found
    )


def _needed(differences: list[float], num_contrasts: int) -> int | None:
    """Return the incidents that ``ROPE_PP`` needs; None where all differ alike or nobody could run so many."""
    spread = float(np.std(differences, ddof=1))
    if spread == 0:
        return None
    try:
        return blocks_needed(ROPE_PP, spread, num_contrasts=num_contrasts)
    except DataError:
        return None
