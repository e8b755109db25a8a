"""Whether the rows of every linear layer's output are the texts of the batch, one after the other.

Updates of several patches in one batch are added to slices of rows, so this must be known, not hoped: some networks
put tokens first, others flatten texts and tokens. Five equal texts of three tokens tell these apart by shape.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import nn

from symbio_lab.models.classifier import TextClassifier

NUM_TEXTS, NUM_TOKENS = 5, 3
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@torch.inference_mode()
def is_batch_first(model: TextClassifier) -> bool:
    """Return whether the first dimension of each linear layer's output is the texts; found once for a network."""
    if model.module not in _known:
        _known[model.module] = _probe(model)
    return _known[model.module]


def _probe(model: TextClassifier) -> bool:
    sizes: list[int] = []

    def look(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        sizes.append(output.shape[0])

    linear = [m for m in model.module.modules() if isinstance(m, nn.Linear)]
    handles = [module.register_forward_hook(look) for module in linear]
    ids = model.encode(["probe"])[0] or [0]
    try:
        model.features([(ids * NUM_TOKENS)[:NUM_TOKENS]] * NUM_TEXTS)
    finally:
        for handle in handles:
            handle.remove()
    return all(size == NUM_TEXTS for size in sizes)
