"""The exact sum: one rank for all modules, rows merged by label, typed errors."""

from __future__ import annotations

import numpy as np
import pytest

from symbio_lab.composition.exact_sum import exact_sum
from symbio_lab.errors import EmptySliceError
from symbio_lab.models.adapters import LoadedAdapter
from symbio_lab.models.operated import HeadRows, Operated


def made(
    rank: int = 2, modules: tuple[str, ...] = ("x",), rows: HeadRows | None = None, seed: int = 0
) -> LoadedAdapter:
    rng = np.random.default_rng(seed)
    deltas = {
        m: (rng.normal(size=(rank, 3)).astype(np.float32), rng.normal(size=(4, rank)).astype(np.float32))
        for m in modules
    }
    return Operated("m", deltas, rank, 2.0 * rank, rows).to_adapter()


def rows_of(labels: tuple[str, ...], value: float) -> HeadRows:
    return HeadRows(labels, np.full((len(labels), 3), value, np.float32), np.full(len(labels), value, np.float32))


def test_all_modules_get_one_rank() -> None:
    found = exact_sum("sum", [made(2, ("x", "y")), made(5, ("y",))], [1.0, 1.0])
    assert found.rank == found.alpha == 7
    assert {name: a.shape[0] for name, (a, _) in found.deltas.items()} == {"x": 7, "y": 7}
    assert {t.dtype for pair in found.deltas.values() for t in pair} == {np.dtype(np.float32)}


def test_rows_are_weighted_means_by_label() -> None:
    parts = [made(rows=rows_of(("a", "b"), 1.0)), made(rows=rows_of(("b", "c"), 4.0))]
    found = exact_sum("sum", parts, [2.0, 1.0])
    assert found.rows is not None
    assert found.rows.labels == ("a", "b", "c")
    assert found.rows.weight[:, 0].tolist() == found.rows.bias.tolist() == [1.0, 2.0, 4.0]


def test_without_rows_there_are_none() -> None:
    assert exact_sum("sum", [made(), made(seed=1)], [0.5, 0.5]).rows is None


def test_rows_alone_can_be_composed() -> None:
    found = exact_sum("sum", [made(0, (), rows_of(("a",), 1.0)), made(0, (), rows_of(("a",), 3.0))], [0.5, 0.5])
    assert (dict(found.deltas), found.rank) == ({}, 0)
    assert found.rows is not None
    assert found.rows.weight[0, 0] == 2.0


def test_inputs_are_not_mutated() -> None:
    one = made()
    before = one.deltas["x"][1].clone()
    exact_sum("sum", [one, made(seed=1)], [3.0, -1.0])
    assert (one.deltas["x"][1] == before).all()


def test_nothing_to_compose_is_an_error() -> None:
    with pytest.raises(EmptySliceError, match="nothing to compose"):
        exact_sum("sum", [], [])
