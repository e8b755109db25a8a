"""Which of many streams have enough evidence together: the Benjamini-Hochberg procedure for e-values.

The largest set of r streams of which each has a statistic of at least level / r. The more streams rise together, the
less each needs. No assumption on their dependence enters: whatever the set R is, its share of false members is at most
sum over false members of statistic / level, because each member of R satisfies 1 / |R| <= statistic / level.

Example:
    >>> e_bh([90.0, 55.0, 10.0], level=100.0)
    (0, 1)
    >>> e_bh([90.0, 45.0, 10.0], level=100.0)
    ()
"""

from __future__ import annotations

from collections.abc import Sequence


def e_bh(statistics: Sequence[float], *, level: float, least: float = 0.0) -> tuple[int, ...]:
    """Return the positions of the selected streams, those with most evidence first.

    Args:
        statistics: evidence of each stream, >= 0, (K,).
        level: what one stream alone needs; r streams together need level / r each.
        least: what each selected stream needs in any case. The bound above only becomes smaller.

    References:
        Wang and Ramdas (2022), "False discovery rate control with e-values", JRSS B 84. Differs from the paper: the
        level is given by the caller (there K / alpha), and ``least``.
    """
    order = sorted(range(len(statistics)), key=lambda k: -statistics[k])
    selected = 0
    for rank, k in enumerate(order, start=1):
        if statistics[k] >= max(level / rank, least):
            selected = rank
    return tuple(order[:selected])
