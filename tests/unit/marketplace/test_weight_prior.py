"""The prior from weights: gradients against finite differences, rows exactly, alignment by hand, nothing touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symbio_lab.errors import EmptySliceError, ModelError
from symbio_lab.marketplace.failure_gradient import FailureGradient, failure_gradient
from symbio_lab.marketplace.weight_prior import (
    alignment,
    first_order_gain,
    prior_of,
    stored_patches,
    weight_signals,
)
from symbio_lab.models.adapters import LoadedAdapter, load_adapter
from symbio_lab.records import Sample
from symbio_lab.testing.tiny_models import TinyModels, head_rows, query_modules, random_deltas, seal
from symbio_lab.testing.tiny_samples import NEW, generation_samples, new_samples, odd_samples, strange_samples


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.getbasetemp() / "tiny-models")


def failures_of(model: Any) -> tuple[Sample, ...]:
    return strange_samples(12) if model.task_type == "text_generation" else odd_samples(10)


def adapter_of(model: Any, seed: int = 0, rank: int = 3, modules: tuple[str, ...] | None = None) -> LoadedAdapter:
    deltas = random_deltas(model, modules or query_modules(model), rank=rank, seed=seed)
    return LoadedAdapter({k: (torch.from_numpy(a), torch.from_numpy(b)) for k, (a, b) in deltas.items()}, 2.0)


def base_loss(model: Any, failures: tuple[Sample, ...]) -> float:
    """The mean loss as the model itself states it, without the code under test."""
    if model.task_type == "text_generation":
        return float(model.answer_loss([s.text for s in failures], [s.expected for s in failures]).detach())
    _, logits, _ = model.logits([s.text for s in failures])
    gold = torch.tensor([model.labels.index(s.expected) for s in failures])
    return float(torch.nn.functional.cross_entropy(logits.double(), gold))


@pytest.mark.parametrize("member", TinyModels.MEMBERS)
def test_the_gain_is_the_slope_of_the_loss(tiny: TinyModels, member: str) -> None:
    model = tiny.load(member, dtype="float64")
    failures = failures_of(model)
    for seed in range(3):
        adapter = adapter_of(model, seed)
        gradient = failure_gradient(model, failures, query_modules(model), batch_size=100)
        losses = []
        for step in (5e-3, -5e-3):
            with model.applied_adapter(replace(adapter, scale=adapter.scale * step), "step"):
                model.forget()
                losses.append(base_loss(model, failures))
        slope = (losses[0] - losses[1]) / 1e-2
        assert gradient.loss == pytest.approx(base_loss(model, failures), rel=1e-5)
        assert first_order_gain(gradient, adapter) == pytest.approx(-slope, rel=2e-2, abs=5e-5)


@pytest.mark.parametrize("member", TinyModels.CLASSIFIERS)
def test_the_gradient_is_that_of_the_weights(tiny: TinyModels, member: str) -> None:
    model = tiny.load(member)
    failures = odd_samples(9)
    (module, *_) = query_modules(model)
    found = failure_gradient(model, failures, [module], batch_size=4).by_weight[module]
    twin = model.training_copy()
    weight = twin.module.get_submodule(module).weight.requires_grad_()
    total = 0.0
    for sample in failures:
        _, logits = twin.features(twin.encode([sample.text]))
        gold = torch.tensor([model.labels.index(sample.expected)])
        total = total + torch.nn.functional.cross_entropy(logits, gold)
    (expected,) = torch.autograd.grad(total / len(failures), [weight])
    assert torch.allclose(found.float(), expected, atol=1e-5)


def test_batches_change_nothing_for_classifiers(tiny: TinyModels) -> None:
    model = tiny.load("pooled")
    failures = odd_samples(9)
    one, many = (failure_gradient(model, failures, query_modules(model), batch_size=b) for b in (100, 4))
    for module in one.by_weight:
        assert torch.allclose(one.by_weight[module], many.by_weight[module], atol=1e-7)
        assert torch.allclose(one.input_moment[module], many.input_moment[module], atol=1e-7)


@pytest.mark.parametrize("member", TinyModels.MEMBERS)
def test_the_base_is_not_touched(tiny: TinyModels, member: str, tmp_path: Path) -> None:
    model = tiny.load(member)
    before = model.weights_digest()
    hooks = [len(m._forward_hooks) for m in model.module.modules()]
    patch = seal(model, tmp_path, random_deltas(model, query_modules(model)))
    weight_signals(model, failures_of(model), [patch])
    assert model.weights_digest() == before
    assert [len(m._forward_hooks) for m in model.module.modules()] == hooks
    assert not any(p.requires_grad or p.grad is not None for p in model.module.parameters())


def test_a_step_along_the_gradient_gains_and_its_opposite_loses(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("pooled")
    failures, modules = odd_samples(12), query_modules(model)
    gradient = failure_gradient(model, failures, modules)
    patches = []
    for name, sign in (("along", -1.0), ("against", 1.0)):
        deltas = {}
        for module in modules:
            u, s, vh = np.linalg.svd(gradient.by_weight[module].numpy(), full_matrices=False)
            deltas[module] = (vh[:4].astype(np.float32), (sign * u[:, :4] * s[:4]).astype(np.float32))
        patches.append(seal(model, tmp_path, deltas, patch_id=f"{name}/patch"))
    along, against = weight_signals(model, failures, patches)
    assert along.delta_gain == pytest.approx(-against.delta_gain)
    assert along.delta_gain > 0
    assert prior_of([along, against]) == {along.digest: along.gain, against.digest: against.gain}


def test_rows_are_scored_exactly(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("pooled")
    failures = new_samples(8)
    rows = head_rows(NEW, model.head.in_features)
    patch = seal(model, tmp_path, {}, rows, rank=0, alpha=0)
    (signal,) = weight_signals(model, failures, [patch])
    _, logits, _ = model.logits([s.text for s in failures])
    before = (torch.logsumexp(logits, 1) - logits.min(dim=1).values).mean()
    with model.applied(patch):
        _, patched, _ = model.logits([s.text for s in failures])
        gold = torch.tensor([model.labels.index(s.expected) for s in failures])
        after = torch.nn.functional.cross_entropy(patched, gold)
    assert signal.row_gain == pytest.approx(float(before - after), rel=1e-4)
    assert (signal.delta_gain, signal.alignment) == (0.0, 0.0)


def test_new_labels_have_a_gradient(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("pooled")
    patch = seal(model, tmp_path, random_deltas(model, query_modules(model)), head_rows(NEW, model.head.in_features))
    (signal,) = weight_signals(model, new_samples(8), [patch])
    assert signal.delta_gain != 0
    assert signal.gain == signal.delta_gain + signal.row_gain


def test_alignment_by_hand() -> None:
    # The update reads the first of three directions only; three quarters of the tokens' energy lie there.
    a, b = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[1.0], [1.0]])
    moment = torch.diag(torch.tensor([0.75, 0.25, 0.0])).double()
    gradient = FailureGradient({}, {"m": moment}, 0.0)
    assert alignment(gradient, LoadedAdapter({"m": (a, b)}, 1.0)) == pytest.approx(0.75**0.5)
    # Scale and sign of an update say nothing about what it reads.
    assert alignment(gradient, LoadedAdapter({"m": (-5 * a, b)}, 7.0)) == pytest.approx(0.75**0.5)


def test_padding_does_not_count(tiny: TinyModels) -> None:
    model = tiny.load("pooled")
    short, long = odd_samples(2)[0], replace(odd_samples(2)[1], text=odd_samples(2)[1].text * 4)
    together = failure_gradient(model, [short, long], query_modules(model))
    apart = failure_gradient(model, [short, long], query_modules(model), batch_size=1)
    for module in together.input_moment:
        assert torch.allclose(together.input_moment[module], apart.input_moment[module], atol=1e-6)


def test_patches_that_do_not_fit_are_left_out(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("pooled")
    deltas = random_deltas(model, query_modules(model))
    good = seal(model, tmp_path, deltas, patch_id="good/patch")
    patches = [
        seal(model, tmp_path, deltas, patch_id="base/patch", base_digest="e" * 64),
        seal(model, tmp_path, {"no.such.module": next(iter(deltas.values()))}, patch_id="module/patch"),
        good,
    ]
    assert [signal.ref for signal in weight_signals(model, odd_samples(4), patches)] == ["good/patch"]
    with pytest.raises(EmptySliceError):
        weight_signals(model, [], [good])
    with pytest.raises(ModelError):
        failure_gradient(object(), odd_samples(4), [])  # type: ignore[arg-type]


def test_the_store_gives_what_fits(tiny: TinyModels, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.load("pooled")
    deltas = random_deltas(model, query_modules(model))
    good = seal(model, tmp_path, deltas, patch_id="good/patch")
    seal(model, tmp_path, deltas, patch_id="base/patch", base_digest="e" * 64)
    broken = seal(model, tmp_path, deltas, patch_id="broken/patch")
    weights = broken.root / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    (tmp_path / "notes").mkdir()
    found = list(stored_patches(tmp_path, base_digest=model.digest, task_type="text_classification"))
    assert [patch.digest for patch in found] == [good.digest]
    assert "left out a stored patch" in caplog.text
    assert load_adapter(found[0]).deltas


def test_a_generator_has_no_rows(tiny: TinyModels, tmp_path: Path) -> None:
    model = tiny.load("llama")
    patch = seal(model, tmp_path, random_deltas(model, query_modules(model)))
    (signal,) = weight_signals(model, generation_samples(6), [patch])
    assert signal.row_gain == 0.0
    assert 0 < signal.alignment <= 1
