"""Splits keep groups whole and hit their shares; leaks are named."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import DataError, EmptySliceError, LeakageError
from symbio_lab.failures import check_disjoint, generate_helpdesk, split_groups
from symbio_lab.records import Sample

SHARES = {"repair": 0.5, "selection": 0.2, "holdout": 0.3}
GROUPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("xyz")), min_size=3, max_size=60)


def made(groups: list[tuple[int, str]]) -> list[Sample]:
    return [Sample(f"{g}/{i}", label, group=f"g{g}") for g, (size, label) in enumerate(groups) for i in range(size)]


@settings(max_examples=100, deadline=None)
@given(GROUPS, st.integers(0, 5))
def test_groups_stay_whole_and_nothing_is_lost(groups: list[tuple[int, str]], seed: int) -> None:
    samples = made(groups)
    parts = split_groups(samples, SHARES, seed)
    assert tuple(parts) == tuple(SHARES)
    check_disjoint(parts)
    assert sorted(s.text for part in parts.values() for s in part) == sorted(s.text for s in samples)
    assert all(parts.values())


@settings(max_examples=50, deadline=None)
@given(GROUPS, st.randoms(use_true_random=False))
def test_the_assignment_does_not_depend_on_the_order_of_samples(groups: list[tuple[int, str]], random) -> None:
    samples = made(groups)
    mixed = list(samples)
    random.shuffle(mixed)
    first, second = (split_groups(rows, SHARES, 0) for rows in (samples, mixed))
    assert {n: {s.group for s in p} for n, p in first.items()} == {n: {s.group for s in p} for n, p in second.items()}


def test_sizes_and_labels_follow_the_shares() -> None:
    samples = generate_helpdesk(seed=0, per_template=4).all_samples()
    parts = split_groups(samples, SHARES, seed=0)
    totals = Counter(s.expected for s in samples)
    for name, share in SHARES.items():
        assert len(parts[name]) == pytest.approx(share * len(samples), rel=0.02)
        counts = Counter(s.expected for s in parts[name])
        # A group is 4 of about 100 samples of its label: nobody can do better than half a group.
        assert all(abs(counts[label] - share * total) <= 4 for label, total in totals.items())


def test_the_seed_redraws_the_split() -> None:
    samples = made([(2, "x")] * 40)
    groups = [{s.group for s in split_groups(samples, SHARES, seed)["repair"]} for seed in (0, 0, 1)]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.2, "b": -0.2}, {"a": 1.0, "b": 0.0}, {"a": float("nan")}])
def test_shares_must_be_positive_and_sum_to_one(shares: dict[str, float]) -> None:
    with pytest.raises(DataError, match="shares"):
        split_groups(made([(1, "x")]), shares, 0)


def test_samples_need_groups_and_there_must_be_some() -> None:
    with pytest.raises(EmptySliceError):
        split_groups([], {"a": 1.0}, 0)
    with pytest.raises(DataError, match="no group: lonely"):
        split_groups([Sample("lonely", "x", "")], {"a": 1.0}, 0)
    with pytest.raises(DataError, match="no group"):
        check_disjoint({"a": [Sample("lonely", "x", "")]})


def test_a_leak_names_both_parts_and_an_example() -> None:
    parts = {
        "repair": [Sample("one", "x", "g1"), Sample("two", "x", "g2")],
        "replay": [Sample("three", "x", "g3")],
        "holdout": [Sample("uno", "x", "g1"), Sample("two", "x", "g9")],
    }
    with pytest.raises(LeakageError, match=r"repair and holdout share 1 group\(s\), e\.g\. g1 \(uno\)"):
        check_disjoint(parts)
    with pytest.raises(LeakageError, match=r"repair and holdout share 1 text\(s\), e\.g\. two"):
        check_disjoint(parts, by="text")
    check_disjoint({"repair": parts["repair"], "replay": parts["replay"]})
    with pytest.raises(DataError, match="cannot compare"):
        check_disjoint(parts, by="label")  # type: ignore[arg-type]
