"""Composition, prototypes, head retraining and the cached prefix against what they are said to equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from symbio_lab.budget import Budget, CostMeter
from symbio_lab.composition.exact_sum import exact_sum
from symbio_lab.deployment.gate import GatePolicy, decide
from symbio_lab.models.adapters import LoadedAdapter
from symbio_lab.models.linear_head import WEIGHT_DECAY, fit_head
from symbio_lab.models.operated import HeadRows, Operated
from symbio_lab.surgery.head_retrain import PULL, HeadRetrain, balanced_weights
from symbio_lab.surgery.prototype_rows import calibrated_bias, prototype_head
from tests.contracts.test_metrics import outcomes
from tests.fixtures_models import (
    NEW,
    TinyModels,
    known_samples,
    new_samples,
    odd_samples,
    query_modules,
    random_deltas,
    seal,
)
from tests.fixtures_models import head_rows as some_rows


def adapter(seed: int, rank: int, alpha: float, modules: dict[str, tuple[int, int]]) -> LoadedAdapter:
    rng = np.random.default_rng(seed)
    deltas = {
        name: (rng.normal(size=(rank, width)).astype(np.float32), rng.normal(size=(height, rank)).astype(np.float32))
        for name, (height, width) in modules.items()
    }
    return Operated("made", deltas, rank, alpha).to_adapter()


def update(loaded: LoadedAdapter, module: str) -> torch.Tensor:
    a, b = loaded.deltas[module]
    return loaded.scale * (b @ a)


# ----------------------------------------------------------------------------------------------- composition


def test_the_exact_sum_is_the_sum_of_the_updates_across_ranks_and_modules() -> None:
    first = adapter(1, 2, 4.0, {"x": (6, 5), "y": (4, 4)})
    second = adapter(2, 8, 3.0, {"x": (6, 5)})
    third = adapter(3, 1, 1.0, {"y": (4, 4), "z": (3, 7)})
    weights = [0.5, 0.3, -0.2]
    composed = exact_sum("sum", [first, second, third], weights).to_adapter()
    expected = {
        "x": 0.5 * update(first, "x") + 0.3 * update(second, "x"),
        "y": 0.5 * update(first, "y") - 0.2 * update(third, "y"),
        "z": -0.2 * update(third, "z"),
    }
    assert set(composed.deltas) == set(expected)
    for module, sum_of_updates in expected.items():
        torch.testing.assert_close(update(composed, module), sum_of_updates, rtol=1e-5, atol=1e-5)


def test_one_patch_with_weight_one_is_itself() -> None:
    one = adapter(1, 3, 6.0, {"x": (6, 5)})
    torch.testing.assert_close(
        update(exact_sum("sum", [one], [1.0]).to_adapter(), "x"), update(one, "x"), rtol=1e-6, atol=1e-6
    )


# ------------------------------------------------------------------------------------------------ prototypes


def test_prototype_rows_rank_new_labels_like_nearest_centroids(tiny: TinyModels) -> None:
    model: Any = tiny.load("pooled")
    rng = np.random.default_rng(0)

    def units(count: int, offset: float = 0.0) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.from_numpy(rng.normal(offset, 1, size=(count, 32))).float(), dim=1)

    labels = ("a", "b", "c")
    features, gold = units(30), [labels[i % 3] for i in range(30)]
    replay, replay_logits = units(200, offset=0.3), torch.zeros(200, 4)
    rows = prototype_head(model, labels, features, gold, replay, replay_logits)
    centre = replay.mean(0)
    means = np.stack([(features[[g == label for g in gold]].mean(0) - centre).numpy() for label in labels])
    centroids = means / np.linalg.norm(means, axis=1, keepdims=True)
    # Two samples around each centroid: scikit-learn wants some spread within a class.
    spread = rng.normal(0, 0.1, size=centroids.shape)
    nearest = NearestCentroid().fit(np.concatenate([centroids + spread, centroids - spread]), labels * 2)
    queries = units(500)
    logits = queries.numpy() @ rows.weight.T + rows.bias
    assert [labels[i] for i in logits.argmax(1)] == nearest.predict(queries.numpy()).tolist()


def test_the_calibrated_bias_wins_the_share_that_was_chosen() -> None:
    rng = torch.Generator().manual_seed(0)
    base, rows = torch.randn(1000, 5, generator=rng), torch.randn(1000, 3, generator=rng)
    for share in (0.0, 0.005, 0.05):
        bias = calibrated_bias(base, rows, share)
        won = ((rows.max(1).values + bias) > base.max(1).values + 1e-6).float().mean()
        assert won <= share + 1e-9
        assert won >= share - 0.002


# ------------------------------------------------------------------------------------------- head retraining


def gradient(
    features: torch.Tensor, logits: torch.Tensor, gold: list[str], index: dict[str, int], first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the weighted cross-entropy by rows ``first:``, in closed form: X^T W (softmax - onehot) / N."""
    target = torch.nn.functional.one_hot(torch.tensor([index[g] for g in gold]), logits.shape[1]).float()
    slope = (torch.softmax(logits, 1) - target) * balanced_weights(gold)[:, None] / len(gold)
    return slope[:, first:].T @ features, slope[:, first:].sum(0)


@pytest.mark.parametrize("member", TinyModels.CLASSIFIERS)
@pytest.mark.parametrize("shift", ["new", "known"])
def test_head_retrain_ends_where_the_gradient_vanishes(tiny: TinyModels, member: str, shift: str) -> None:
    model: Any = tiny.load(member)
    repair, replay = (new_samples(10) if shift == "new" else odd_samples(10)), known_samples(20)
    operated = HeadRetrain().operate(model, repair, replay, seed=0, meter=CostMeter(Budget()))
    texts, gold = [s.text for s in (*repair, *replay)], [s.expected for s in (*repair, *replay)]
    index = {label: i for i, label in enumerate(model.labels if shift == "known" else (*model.labels, *NEW))}
    start, base_logits, _ = model.logits(texts)
    with model.applied_adapter(operated.to_adapter(), "head"):
        features, logits, _ = model.logits(texts)
    torch.testing.assert_close(features, start)
    first = len(model.labels) if shift == "new" else 0
    by_weight, by_bias = gradient(features, logits, gold, index, first)
    if shift == "new":
        assert by_bias.abs().max() < 2e-3
        # The pull towards the prototypes is all that holds the weight back.
        assert by_weight.abs().max() < 2e-2
    else:
        ((a, b),) = operated.deltas.values()
        left = by_weight + 2 * PULL * torch.from_numpy(b @ a)
        at_start, _ = gradient(start, base_logits, gold, index, first)
        assert left.abs().max() < min(2e-3, float(at_start.abs().max()) / 20)


def test_the_base_head_is_scikit_learn_s_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    target = np.arange(150) % 3
    features = (rng.normal(size=(3, 8))[target] + rng.normal(size=(150, 8))).astype(np.float32)
    weight, bias = fit_head(features, target.tolist(), 3)
    # Our loss is mean cross-entropy + decay |W|^2; scikit-learn's is C * sum + |W|^2 / 2.
    reference = LogisticRegression(C=1 / (2 * WEIGHT_DECAY * len(target)), max_iter=5000, tol=1e-8).fit(
        features, target
    )
    ours = torch.softmax(torch.from_numpy(features @ weight.T + bias), 1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(features), atol=5e-3)


# ------------------------------------------------------------------------------------------------------ gate


@pytest.mark.parametrize(("k", "n"), [(0, 8), (3, 8), (8, 8), (30, 64)])
@pytest.mark.parametrize("looks", [1, 2])
def test_gate_bounds_are_scipy_s_beta_quantiles(k: int, n: int, looks: int) -> None:
    verdict = decide(outcomes(0, 0, k, n - k), outcomes(500, 7, 0, 0), GatePolicy(), looks=looks)
    alpha = 0.05 / looks
    low = beta.ppf(alpha, k, n - k + 1) if k else 0.0
    high = beta.ppf(1 - alpha, k + 1, n - k) if k < n else 1.0
    assert (verdict.fix_rate_low, verdict.fix_rate_high) == pytest.approx((low, high))
    assert verdict.negative_flip_rate_low == pytest.approx(beta.ppf(alpha, 7, 501))
    assert verdict.negative_flip_rate_high == pytest.approx(beta.ppf(1 - alpha, 8, 500))


# ------------------------------------------------------------------------------------------- cached prefixes


@pytest.mark.parametrize("layers", [(0, 1), (1,), ()], ids=["all", "top", "rows-only"])
def test_predictions_from_cached_states_are_the_same_bits(
    tiny: TinyModels, tmp_path: Path, layers: tuple[int, ...]
) -> None:
    model: Any = tiny.load("pooled")
    texts = [s.text for s in (*known_samples(40), *new_samples(10))]
    names = [n for n in query_modules(model) if int(n.split("layer.")[1][0]) in layers]
    patch = seal(model, tmp_path, random_deltas(model, names), some_rows(NEW, scale=0.2))
    other = seal(model, tmp_path, random_deltas(model, query_modules(model), seed=1), some_rows(NEW, seed=1))

    def answer(active: Any) -> tuple[torch.Tensor, ...]:
        with model.applied(active):
            return model.logits(texts)[:2]

    cold = {}
    for key, active in {"base": None, "patch": patch, "other": other}.items():
        model.forget()
        cold[key] = answer(active)
    model.forget()
    for key, active in [("base", None), ("patch", patch), ("other", other), ("patch", patch), ("base", None)]:
        for warm, expected in zip(answer(active), cold[key], strict=True):
            assert torch.equal(warm, expected), key


def test_head_rows_alone_equal_a_longer_linear_layer(tiny: TinyModels, tmp_path: Path) -> None:
    model: Any = tiny.load("bert")
    texts = [s.text for s in known_samples(5)]
    rows = some_rows(NEW)
    features, logits, _ = model.logits(texts)
    with model.applied(seal(model, tmp_path, rows=rows)):
        _, grown, _ = model.logits(texts)
    weight = torch.cat([model.head.weight, torch.from_numpy(rows.weight)])
    bias = torch.cat([model.head.bias, torch.from_numpy(rows.bias)])
    torch.testing.assert_close(grown, features @ weight.T + bias, rtol=1e-5, atol=1e-5)
    assert torch.equal(grown[:, : logits.shape[1]], logits)
    assert isinstance(rows.labels, tuple)
    assert HeadRows(rows.labels, rows.weight, rows.bias).weight is rows.weight
