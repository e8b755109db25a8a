"""Prototype rows and head retraining: closed-form choices and what they keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.surgery.head_retrain import HeadRetrain, balanced_weights, fit_rows
from symbio_lab.surgery.prototype_rows import PrototypeRows, prototype_head
from tests.fixtures_models import NEW, TinyModels, known_samples, new_samples, odd_samples


def meter() -> CostMeter:
    return CostMeter(Budget())


def test_weights_give_every_label_the_same_total() -> None:
    gold = ["a"] * 6 + ["b"] * 3 + ["c"]
    weights = balanced_weights(gold)
    totals = [sum(float(w) for w, g in zip(weights, gold, strict=True) if g == label) for label in "abc"]
    assert totals == pytest.approx([10 / 3] * 3)
    assert float(weights.mean()) == pytest.approx(1.0)


@pytest.mark.parametrize("method", [PrototypeRows(), HeadRetrain()], ids=lambda m: m.name)
def test_new_rows_fix_held_out_failures(tiny: TinyModels, method: Any) -> None:
    model: Any = tiny.load("pooled")
    operated = method.operate(model, new_samples(10), known_samples(60), seed=0, meter=meter())
    assert operated.rows is not None
    assert operated.rows.labels == NEW
    assert not operated.deltas
    with model.applied_adapter(operated.to_adapter(), method.name):
        fixed, kept = (
            np.mean([o == s.expected for o, s in zip(model.predict([s.text for s in part]).outputs, part, strict=True)])
            for part in (new_samples(30, seed=5), known_samples(30, seed=5))
        )
    assert fixed > 0.9
    assert kept > 0.9


def test_prototype_rows_have_the_length_of_the_base_s_rows(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    features, _, _ = model.logits([s.text for s in new_samples(5)])
    replay, logits, _ = model.logits([s.text for s in known_samples(5)])
    rows = prototype_head(model, NEW, features, [s.expected for s in new_samples(5)], replay, logits)
    base = model.head.weight
    expected = (base - base.mean(0)).norm(dim=1).mean() / features.norm(dim=1).mean()
    np.testing.assert_allclose(np.linalg.norm(rows.weight, axis=1), float(expected), rtol=1e-5)
    assert len(set(rows.bias.tolist())) == 1


def test_known_labels_come_back_as_a_delta_of_the_head(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    repair, replay = odd_samples(15), known_samples(40)
    operated = HeadRetrain().operate(model, repair, replay, seed=0, meter=meter())
    assert operated.rows is None
    assert list(operated.deltas) == [model.head_name]
    assert 1 <= operated.rank <= len(model.labels)
    assert operated.alpha == operated.rank
    with model.applied_adapter(operated.to_adapter(), "head"):
        outputs = model.predict([s.text for s in odd_samples(20, seed=4)]).outputs
    assert np.mean([o == s.expected for o, s in zip(outputs, odd_samples(20, seed=4), strict=True)]) > 0.9


def test_the_delta_is_what_was_fitted(tiny: TinyModels) -> None:
    """The base's bias is in place while the weight is fitted, so that nothing fitted is lost on the way to a delta."""
    model: Any = tiny.load("pooled")
    repair, replay = odd_samples(10), known_samples(20)
    texts, gold = [s.text for s in (*repair, *replay)], [s.expected for s in (*repair, *replay)]
    features, logits, _ = model.logits(texts)
    target = torch.tensor([model.labels.index(g) for g in gold])
    head = model.head.weight.float()
    weight, bias = fit_rows(
        features.clone(), features[:, :0].clone(), target, balanced_weights(gold), head, model.head.bias, fit_bias=False
    )
    assert torch.equal(bias, model.head.bias)
    operated = HeadRetrain().operate(model, repair, replay, seed=0, meter=meter())
    with model.applied_adapter(operated.to_adapter(), "head"):
        _, patched, _ = model.logits(texts)
    torch.testing.assert_close(patched, features @ weight.T + bias, rtol=1e-3, atol=1e-3)
    assert (patched - logits).abs().max() > 0.1


def test_a_head_that_is_already_right_hardly_moves(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    operated = HeadRetrain().operate(model, known_samples(10), known_samples(10, seed=1), seed=0, meter=meter())
    with model.applied_adapter(operated.to_adapter(), "head"):
        outputs = model.predict([s.text for s in known_samples(20, seed=2)]).outputs
    assert list(outputs) == [s.expected for s in known_samples(20, seed=2)]
