"""Conditions that stand out, each on what the earlier ones leave."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import fisher_exact

from symbio_lab.errors import DataError
from symbio_lab.monitor.enrichment import enriched, enrichment_p, odds_ratio


def planted(seed: int = 0, num_rows: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    holds = rng.random((num_rows, 40)) < 0.1
    holds[:, 1] = holds[:, 0] & (rng.random(num_rows) < 0.9)  # a second name of the first
    failed = rng.random(num_rows) < np.where(holds[:, 0], 0.6, np.where(holds[:, 7], 0.5, 0.1))
    return holds, failed


@pytest.mark.parametrize("seed", range(20))
def test_p_is_fishers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside, failed = rng.random(60) < 0.4, rng.random(60) < 0.3
    table = [
        [(inside & failed).sum(), (inside & ~failed).sum()],
        [(~inside & failed).sum(), (~inside & ~failed).sum()],
    ]
    assert enrichment_p(inside, failed) == pytest.approx(fisher_exact(table, alternative="greater").pvalue)
    k, n = int((inside & failed).sum()), int(inside.sum())
    a, b, c, d = k + 0.5, n - k + 0.5, failed.sum() - k + 0.5, 60 - n - failed.sum() + k + 0.5
    assert float(odds_ratio(k, n, int(failed.sum()), 60)) == pytest.approx(a * d / b / c)


def test_both_planted_conditions_are_found_and_the_second_name_is_not() -> None:
    holds, failed = planted()
    found = [one.column for one in enriched(csr_matrix(holds.astype(int)), failed)]
    assert sorted(found) == [0, 7]


def test_counts_are_of_the_rows_that_were_left() -> None:
    holds, failed = planted()
    first, second = enriched(csr_matrix(holds.astype(int)), failed)
    assert first.num_inside == holds[:, first.column].sum()
    left = ~holds[:, first.column]
    assert second.num_inside == (holds[:, second.column] & left).sum()
    assert second.num_failed == (holds[:, second.column] & left & failed).sum()


def test_traffic_without_slices_rarely_gives_one() -> None:
    found = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        holds = (rng.random((400, 60)) < 0.1).astype(int)
        found += bool(enriched(csr_matrix(holds), rng.random(400) < 0.2))
    assert found <= 8


def test_where_p_values_underflow_the_large_slice_still_comes_first() -> None:
    rng = np.random.default_rng(0)
    large = np.arange(30_000) < 9_000
    failed = rng.random(30_000) < np.where(large, 0.98, 0.05)
    parts = [large & (rng.random(30_000) < 0.06) for _ in range(20)]
    found = enriched(csr_matrix(np.column_stack([*parts, large]).astype(int)), failed)
    assert [one.column for one in found] == [20]


def test_limits_are_kept() -> None:
    holds, failed = planted()
    matrix = csr_matrix(holds.astype(int))
    assert len(enriched(matrix, failed, most=1)) == 1
    assert enriched(matrix, failed, min_odds_ratio=1000.0) == ()
    assert enriched(matrix, failed, min_failures=500) == ()


@pytest.mark.parametrize("outcome", [False, True])
def test_all_right_or_all_wrong_has_no_slices(outcome: bool) -> None:
    assert enriched(csr_matrix(np.ones((9, 2), dtype=int)), np.full(9, outcome)) == ()


def test_bad_input() -> None:
    with pytest.raises(DataError, match="3 outcomes"):
        enriched(csr_matrix(np.ones((9, 2), dtype=int)), np.zeros(3, dtype=bool))
    with pytest.raises(DataError, match="alpha"):
        enriched(csr_matrix(np.ones((3, 2), dtype=int)), np.zeros(3, dtype=bool), q=1.5)
