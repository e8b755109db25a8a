"""Texts of any length in one batch without padding: their tokens one after the other, attention for each length.

Rules:
    1. All linear layers see one matrix (T, D) of the tokens of all texts; attention and pooling are computed for the
       texts of one length together, rounded up to ``ALIGN`` and masked. No token of one text meets a token of another.
    2. Texts are ordered by group (one patch is one group), then by length: the tokens of a group are one slice.
    3. What one text's numbers are does not depend on the other texts, bit for bit, where a machine's matrix products
       add up each row in the same order whatever the number of rows: so it was on the x86 processor tried, in
       float32, for multiples of ``ALIGN`` rows, up to which groups are filled by tokens that nothing reads. Elsewhere
       the numbers agree to rounding.

References:
    Zeng et al. 2022, "ByteTransformer", section III (packing). Differs from the paper: plain torch operations,
    attention length by length instead of a fused kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from symbio_lab.models.pooled import PooledClassifier

ALIGN = 4
"""Rows of a group, and lengths in attention, are multiples of this."""


@dataclass(frozen=True, slots=True)
class Span:
    """A slice of a batch's rows that belongs to one group."""

    group: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class SameLength:
    """The texts of a packed batch whose lengths, rounded up, are the same."""

    length: int
    """L, a multiple of ``ALIGN``."""
    rows: torch.Tensor
    """Which texts, (n,)."""
    places: torch.Tensor
    """Places of their tokens in the batch, (n * L,); a text's last token stands for what fills it up."""
    is_token: torch.Tensor
    """False for what fills up, (n, L)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a packed batch lie."""

    ids: torch.Tensor
    """Token ids, (T,)."""
    positions: torch.Tensor
    """Place of each token in its text, (T,)."""
    by_length: tuple[SameLength, ...]
    """Texts with tokens, by length."""
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
            by_length.setdefault(len(tokens) + -len(tokens) % ALIGN, []).append(row)
        if row + 1 == len(groups) or groups[row + 1] != group:
            filler = -len(ids) % ALIGN
            ids += [0] * filler
            positions += [0] * filler
            spans[-1] = Span(group, spans[-1].start, len(ids))
    first = torch.tensor(starts, device=device)
    num_tokens = torch.tensor([len(tokens) for tokens in encoded], device=device)
    same: list[SameLength] = []
    for length, rows in sorted(by_length.items()):
        chosen = torch.tensor(rows, device=device)
        step, last = torch.arange(length, device=device)[None], num_tokens[chosen][:, None] - 1
        places = first[chosen][:, None] + torch.minimum(step, last)
        same.append(SameLength(length, chosen, places.reshape(-1), step <= last))
    return Layout(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        tuple(same),
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
    for same in layout.by_length:
        q, k, v = (
            part[same.places].view(-1, same.length, heads, part.shape[1] // heads).transpose(1, 2)
            for part in (query, key, value)
        )
        # Always with a mask: another kernel for texts that need none would make a text's bits depend on the others.
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=same.is_token[:, None, None, :])
        is_token = same.is_token.reshape(-1)
        context[same.places[is_token]] = seen.transpose(1, 2).reshape(len(same.places), -1)[is_token]
    attended = layer.get_submodule("attention.output")(context, states)
    above: torch.Tensor = layer.get_submodule("output")(layer.get_submodule("intermediate")(attended), attended)
    return above


def pool_packed(states: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the mean of each text's states, scaled to unit length, (N, D); zeros for a text without tokens."""
    pooled = states.new_zeros(len(layout.starts), states.shape[1])
    for same in layout.by_length:
        mask = same.is_token[:, :, None].to(states.dtype)
        total = (states[same.places].view(len(same.rows), same.length, -1) * mask).sum(1)
        pooled[same.rows] = total / mask.sum(1)
    return nn.functional.normalize(pooled, dim=1)
