"""Texts of any length in one batch without padding: their tokens one after the other, attention for each length.

Rules:
    1. All linear layers see one matrix (T, D) of the tokens of all texts; attention is computed for the texts of one
       length together, pooling for each text. No token of one text meets a token of another.
    2. Texts are ordered by group (one patch is one group), then by length: the tokens of a group are one slice.
    3. What one text's numbers are does not depend on the other texts, bit for bit, where a machine's matrix products
       add up each row in the same order whatever the number of rows: so it was on all x86 processors tried, in
       float32, for multiples of ``ALIGN`` rows, up to which groups are filled by tokens that nothing reads, with heads
       of 32 dimensions or on one thread. Elsewhere the numbers agree to rounding.

References:
    Zeng et al. 2022, "ByteTransformer", section III (packing). Differs from the paper: plain torch operations,
    attention by exact length instead of a fused kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from symbio_lab.models.pooled import PooledClassifier

ALIGN = 4
"""Rows of a group are a multiple of this."""


@dataclass(frozen=True, slots=True)
class Span:
    """A slice of a batch's rows that belongs to one group."""

    group: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a packed batch lie."""

    ids: torch.Tensor
    """Token ids, (T,)."""
    positions: torch.Tensor
    """Place of each token in its text, (T,)."""
    by_length: tuple[tuple[int, torch.Tensor, torch.Tensor], ...]
    """(length L, rows (n,), places of their tokens (n * L,)) for each length above zero."""
    starts: tuple[int, ...]
    """Where each text begins, in the order given, (N,)."""
    spans: tuple[Span, ...]
    """Token slices of the groups."""


def can_pack(module: nn.Module) -> bool:
    """Return whether a network is a sentence encoder whose layers are those of BERT."""
    if not isinstance(module, PooledClassifier):
        return False
    from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer

    plain = all(isinstance(layer, BertLayer) and not layer.is_decoder for layer in module.layers)
    return plain and isinstance(module.encoder.get_submodule("embeddings"), BertEmbeddings)


def pack(encoded: Sequence[Sequence[int]], groups: Sequence[int], device: str) -> Layout:
    """Return the layout of texts whose groups are contiguous.

    Args:
        encoded: token ids of each text, (N,).
        groups: number of each text's group, (N,), sorted.
        device: torch device of the result.
    """
    ids: list[int] = []
    positions: list[int] = []
    starts: list[int] = []
    spans: list[Span] = []
    by_length: dict[int, list[int]] = {}
    for row, (tokens, group) in enumerate(zip(encoded, groups, strict=True)):
        if not spans or spans[-1].group != group:
            spans.append(Span(group, len(ids), len(ids)))
        starts.append(len(ids))
        ids += tokens
        positions += range(len(tokens))
        if tokens:
            by_length.setdefault(len(tokens), []).append(row)
        if row + 1 == len(groups) or groups[row + 1] != group:
            filler = -len(ids) % ALIGN
            ids += [0] * filler
            positions += [0] * filler
            spans[-1] = Span(group, spans[-1].start, len(ids))
    first = torch.tensor(starts, device=device)
    lengths = []
    for length, rows in sorted(by_length.items()):
        chosen = torch.tensor(rows, device=device)
        places = first[chosen][:, None] + torch.arange(length, device=device)
        lengths.append((length, chosen, places.reshape(-1)))
    return Layout(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        tuple(lengths),
        tuple(starts),
        tuple(spans),
    )


def embed_packed(module: PooledClassifier, layout: Layout) -> torch.Tensor:
    """Return the states below layer 0, (T, D)."""
    states: torch.Tensor = module.encoder.get_submodule("embeddings")(
        input_ids=layout.ids[None],
        position_ids=layout.positions[None],
        token_type_ids=torch.zeros_like(layout.ids)[None],
    )
    return states[0]


def run_layer_packed(module: PooledClassifier, number: int, states: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the states above one layer, (T, D)."""
    layer = module.layers[number]
    attention = layer.get_submodule("attention.self")
    heads = int(attention.num_attention_heads)  # type: ignore[arg-type]
    query, key, value = (attention.get_submodule(name)(states) for name in ("query", "key", "value"))
    context = torch.zeros_like(query)
    for length, _, places in layout.by_length:
        parts = [
            part[places].view(-1, length, heads, part.shape[1] // heads).transpose(1, 2) for part in (query, key, value)
        ]
        seen = nn.functional.scaled_dot_product_attention(*parts)
        context[places] = seen.transpose(1, 2).reshape(len(places), -1)
    attended = layer.get_submodule("attention.output")(context, states)
    above: torch.Tensor = layer.get_submodule("output")(layer.get_submodule("intermediate")(attended), attended)
    return above


def pool_packed(states: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the mean of each text's states, scaled to unit length, (N, D); zeros for a text without tokens."""
    pooled = states.new_zeros(len(layout.starts), states.shape[1])
    for length, rows, places in layout.by_length:
        pooled[rows] = states[places].view(len(rows), length, -1).sum(1) / length
    return nn.functional.normalize(pooled, dim=1)
