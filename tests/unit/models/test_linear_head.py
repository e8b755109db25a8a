"""The base head: fitted to convergence, the same for the same samples."""

from __future__ import annotations

import numpy as np

from symbio_lab.models.linear_head import fit_head


def data(seed: int = 0) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    target = [i % 3 for i in range(60)]
    return (rng.normal(size=(3, 8))[target] * 3 + rng.normal(size=(60, 8))).astype(np.float32), target


def test_same_samples_same_head() -> None:
    features, target = data()
    first, second = fit_head(features, target, 3), fit_head(features, target, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_separable_classes_are_separated() -> None:
    features, target = data()
    weight, bias = fit_head(features, target, 3)
    assert (weight.shape, bias.shape) == ((3, 8), (3,))
    assert ((features @ weight.T + bias).argmax(1) == target).mean() > 0.98


def test_a_class_without_samples_gets_a_row_that_never_wins() -> None:
    features, target = data()
    weight, bias = fit_head(features, target, 4)
    assert 3 not in (features @ weight.T + bias).argmax(1)
