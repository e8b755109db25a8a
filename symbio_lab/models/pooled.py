"""A sentence encoder with mean pooling and a linear head, and the prefix that its patches share.

Rules:
    1. A forward is embeddings, layers 0..L-1, pooling, head; any tail of it can be run from cached states.
    2. States below the first layer that a patch changes are the base's, bit for bit, when the batches are the same:
       candidates that adapt upper layers share one pass of the lower ones, head rows share all of it.
    3. Cached states never cross a change of the text list; ``PrefixCache`` is keyed by it and bounded in bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

CACHE_BYTES = 768 << 20
"""Cached states kept at most."""
KEPT_BELOW_TOP = (3, 2, 1)
"""States are kept below this many upper layers, and as features above all layers."""


class PooledClassifier(nn.Module):
    """A sentence encoder, mean pooling to unit length, and a linear head."""

    def __init__(self, encoder: nn.Module, num_features: int, num_labels: int) -> None:
        """Put a new head on an encoder of the BERT family (``embeddings`` and ``encoder.layer``)."""
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(num_features, num_labels)

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer layers, lowest first."""
        found = self.encoder.get_submodule("encoder.layer")
        if not isinstance(found, nn.ModuleList):
            raise AttributeError("the encoder has no list of layers")
        return found

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the states below layer 0, (N, L, D)."""
        states: torch.Tensor = self.encoder.get_submodule("embeddings")(input_ids=input_ids)
        return states

    def run_layer(self, number: int, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the states above one layer, (N, L, D)."""
        output = self.layers[number](states, attention_mask=attention_mask[:, None, None, :].bool())
        result: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return result

    def pool(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the mean of the real tokens' states, scaled to unit length, (N, D)."""
        mask = attention_mask[:, :, None].to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp_min(1)
        return nn.functional.normalize(mean, dim=1)

    def finish(self, states: torch.Tensor, attention_mask: torch.Tensor, start: int) -> torch.Tensor:
        """Return logits (N, C) from the states below layer ``start``."""
        for number in range(start, len(self.layers)):
            states = self.run_layer(number, states, attention_mask)
        logits: torch.Tensor = self.classifier(self.pool(states, attention_mask))
        return logits

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits, (N, C)."""
        return self.finish(self.embed(input_ids), attention_mask, 0)


@dataclass(slots=True)
class CachedTexts:
    """Base states of one list of texts, batch by batch."""

    states: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    """(batch, number of layers below) -> states (N, L, D)."""
    features: dict[int, torch.Tensor] = field(default_factory=dict)
    """Batch -> base features (N, D)."""

    def num_bytes(self) -> int:
        """Return the size of all cached tensors."""
        return sum(t.nbytes for t in (*self.states.values(), *self.features.values()))

    def lowest(self, batch: int, first_changed: int) -> tuple[int, torch.Tensor | None]:
        """Return the highest cached state that a patch leaves as it is: (layers below it, states)."""
        usable = [below for number, below in self.states if number == batch and below <= first_changed]
        return (max(usable), self.states[batch, max(usable)]) if usable else (0, None)


class PrefixCache:
    """Least recently used lists of texts, bounded in bytes."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        """Start empty."""
        self._limit = limit_bytes
        self._entries: OrderedDict[tuple[str, ...], CachedTexts] = OrderedDict()

    def entry(self, texts: Sequence[str]) -> CachedTexts:
        """Return the entry of this list of texts, made when new."""
        key = tuple(texts)
        found = self._entries.setdefault(key, CachedTexts())
        self._entries.move_to_end(key)
        return found

    def trim(self) -> None:
        """Drop the entries used longest ago until the rest fits."""
        while len(self._entries) > 1 and sum(e.num_bytes() for e in self._entries.values()) > self._limit:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
