"""Multinomial logistic regression on frozen features, fitted to convergence: same samples, same head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

WEIGHT_DECAY = 1e-5
"""L2 on squared head weights."""
MAX_STEPS = 120
"""L-BFGS iterations."""


def fit_head(
    features: NDArray[np.float32], target: Sequence[int], num_labels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight (C, D) and bias (C,) of a multinomial logistic regression.

    Args:
        features: (N, D).
        target: label indices, (N,).
        num_labels: C.
    """
    inputs, gold = torch.from_numpy(np.ascontiguousarray(features)), torch.tensor(list(target))
    weight = torch.zeros(num_labels, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(num_labels, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=MAX_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, gold)
        loss = loss + WEIGHT_DECAY * (weight**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach().numpy().copy(), bias.detach().numpy().copy()
