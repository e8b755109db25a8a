"""Reading and moving the tensors of a patch, and tensors that were never sealed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from symbio_lab.errors import PatchApplyError
from symbio_lab.models.adapters import LoadedAdapter, applied_deltas, check_fits, load_adapter
from symbio_lab.models.operated import HeadRows, Operated, tensors_of
from tests.fixtures_models import NEW, TinyModels, head_rows, query_modules, random_deltas, seal


@pytest.fixture
def model(tiny: TinyModels) -> Any:
    return tiny.load("pooled")


def test_what_was_sealed_is_what_is_loaded(model: Any, tmp_path: Path) -> None:
    deltas, rows = random_deltas(model, query_modules(model)), head_rows(NEW)
    patch = seal(model, tmp_path, deltas, rows, rank=4, alpha=6.0)
    loaded = load_adapter(patch)
    assert loaded.scale == 1.5
    assert loaded.row_labels == NEW
    for name, (a, b) in deltas.items():
        assert np.array_equal(loaded.deltas[name][0].numpy(), a)
        assert np.array_equal(loaded.deltas[name][1].numpy(), b)
    again = tensors_of(patch)
    assert (again.rank, again.alpha) == (4, 6.0)
    assert again.rows is not None
    assert np.array_equal(again.rows.weight, rows.weight)
    assert np.array_equal(again.rows.bias, rows.bias)


def test_rows_alone_and_deltas_alone(model: Any, tmp_path: Path) -> None:
    rows_only = load_adapter(seal(model, tmp_path, rows=head_rows(NEW)))
    assert (dict(rows_only.deltas), rows_only.scale) == ({}, 0.0)
    deltas_only = load_adapter(seal(model, tmp_path, random_deltas(model, query_modules(model))))
    assert (deltas_only.row_labels, deltas_only.row_weight) == ((), None)


def test_a_loaded_adapter_moves_to_the_model_s_precision() -> None:
    loaded = Operated(
        "m", {"x": (np.ones((2, 3), np.float32), np.ones((4, 2), np.float32))}, 2, 2.0,
        HeadRows(("a",), np.ones((1, 3), np.float32), np.zeros(1, np.float32)),
    ).to_adapter()  # fmt: skip
    half = loaded.to(dtype=torch.bfloat16, device="cpu")
    assert {t.dtype for t in half.deltas["x"]} == {torch.bfloat16}
    assert half.row_weight is not None
    assert half.row_weight.dtype == torch.bfloat16
    assert loaded.deltas["x"][0].dtype == torch.float32


def test_a_delta_adds_its_update_and_nothing_else() -> None:
    network = nn.Sequential(nn.Linear(3, 4, bias=False))
    a, b = torch.ones(1, 3), torch.full((4, 1), 2.0)
    inputs = torch.tensor([[1.0, 2.0, 3.0]])
    before = network(inputs)
    with applied_deltas(network, LoadedAdapter({"0": (a, b)}, scale=0.5)):
        torch.testing.assert_close(network(inputs), before + 0.5 * 6.0 * 2.0)
    assert torch.equal(network(inputs), before)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 4), (4, 2)), ((2, 3), (5, 2)), ((2, 3), (4, 1))], ids=["inputs", "outputs", "rank"]
)
def test_each_shape_is_checked(a: tuple[int, int], b: tuple[int, int]) -> None:
    network = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(PatchApplyError, match="4x3"):
        check_fits(network, LoadedAdapter({"0": (torch.zeros(a), torch.zeros(b))}, 1.0), "patch")


def test_tensors_that_do_not_match_the_description_are_refused(model: Any, tmp_path: Path) -> None:
    patch = seal(model, tmp_path, random_deltas(model, query_modules(model)))
    spec = replace(patch.manifest.adapter, target_modules=("elsewhere",))
    with pytest.raises(PatchApplyError, match="no tensors for elsewhere"):
        load_adapter(replace(patch, manifest=replace(patch.manifest, adapter=spec)))
