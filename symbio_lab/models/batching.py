"""Length-sorted batches: little padding, one fixed composition for a given list of texts."""

from __future__ import annotations

from collections.abc import Sequence

MAX_TOKENS = 1024
"""Padded tokens in one batch: the fastest of 512 to 8192 for a 22.7M encoder on two cores (1.3x of 4096)."""


def length_sorted_batches(lengths: Sequence[int], *, max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Return index batches of similar length, each at most ``max_tokens`` padded tokens (or one sample).

    Args:
        lengths: token counts, (N,).
        max_tokens: padded tokens a batch may hold.

    >>> length_sorted_batches([3, 1, 1, 9], max_tokens=10)
    [[1, 2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batches: list[list[int]] = []
    for index in order:
        if batches and max(lengths[index], 1) * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
