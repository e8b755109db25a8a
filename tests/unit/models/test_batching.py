"""Batches cover every index once, are bounded in padded tokens, and depend on the lengths alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.models.batching import length_sorted_batches


@given(st.lists(st.integers(0, 200), max_size=60), st.integers(1, 500))
def test_every_index_once_and_no_batch_too_large(lengths: list[int], most: int) -> None:
    batches = length_sorted_batches(lengths, max_tokens=most)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(max(lengths[i] for i in batch), 1) <= most
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat)


def test_nothing_makes_no_batch() -> None:
    assert length_sorted_batches([]) == []
