"""Texts with a patch each, or none, answered in one batch over one base: each linear layer runs once for all.

Rules:
    1. The base's layers run once on all texts; the low-rank updates of a patch are added to the rows of its own texts
       (Punica's SGMV, here one product for each group of rows), its head rows are added to their logits only.
    2. The same text under several patches (a candidate beside the live patch) shares embeddings and layers below the
       first one that any of them changes.
    3. Answers are those of ``model.applied(patch)`` and ``model.predict`` to ``TOLERANCE`` in logits and confidences.
       A text's answer never depends on what else is in the batch by more than that; for bases of the lab in float32
       on the CPU it does not depend on it at all, bit for bit, where ``packed.py``, rule 3, holds.
    4. Every patch is checked before anything runs: one that does not fit is an error, and nothing is answered.
    5. Models that generate, and networks whose rows are not the texts (``batch_first.py``), answer one patch after the
       other.

Example::

    predict_mixed(model, ["book a seat", "cancel it"], [patch_of_a, None])

References:
    Chen et al. 2024, "Punica: Multi-Tenant LoRA Serving", section 4. Sheng et al. 2024, "S-LoRA", section 5.
    Differs from the papers: an encoder with head rows on the CPU, products by slices instead of a fused kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from symbio_lab.errors import DataError, PatchApplyError
from symbio_lab.models.adapters import LoadedAdapter
from symbio_lab.models.batch_first import is_batch_first
from symbio_lab.models.batching import MAX_TOKENS, length_sorted_batches
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.kept_adapters import fitted_adapter
from symbio_lab.models.packed import (
    ALIGN,
    Layout,
    Span,
    can_pack,
    embed_packed,
    pack,
    pool_packed,
    run_layer_packed,
)
from symbio_lab.models.pooled import PooledClassifier
from symbio_lab.models.protocol import PatchableModel, Predictions
from symbio_lab.records import Patch

TOLERANCE = 1e-5
"""Largest difference to one patch at a time: of confidences, and of logits relative to their size; float32."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One patch of a batch, or the base, and the texts that it answers."""

    name: str
    adapter: LoadedAdapter | None
    """None is the base."""


@dataclass(slots=True)
class _Rows:
    """The texts of one batch, and what became of them."""

    encoded: list[list[int]]
    slot_of: list[int]
    owner_of: Sequence[int]
    labels: list[str]
    confidences: list[float]


def predict_mixed(model: PatchableModel, texts: Sequence[str], patches: Sequence[Patch | None]) -> Predictions:
    """Return the answer to each text under its own patch; None is the base.

    Args:
        model: the base; no patch may be active.
        texts: (N,).
        patches: verified patches, (N,).

    Raises:
        DataError: not one patch (or None) for each text.
        BaseMismatchError: a patch was made for another base.
        WrongTaskError: a patch serves another task type.
        PatchApplyError: a patch does not fit or renames an existing row, or one is active already.
        TrustError: a patch's files changed since verification.
    """
    numbers: dict[str | None, int] = {}
    slots: list[Slot] = []
    for patch in patches:
        if (None if patch is None else patch.digest) not in numbers:
            numbers[None if patch is None else patch.digest] = len(slots)
            slots.append(Slot("base", None) if patch is None else Slot(patch.patch_id, fitted_adapter(model, patch)))
    return predict_slots(model, texts, slots, [numbers[None if patch is None else patch.digest] for patch in patches])


def predict_slots(
    model: PatchableModel,
    texts: Sequence[str],
    slots: Sequence[Slot],
    slot_of: Sequence[int],
    owner_of: Sequence[int] | None = None,
) -> Predictions:
    """Return the answer to each text under the adapter of its slot, loaded and checked before.

    Args:
        model: the base; no patch may be active.
        texts: (N,).
        slots: what answers.
        slot_of: number of each text's slot, (N,).
        owner_of: who asks for each text, (N,): work is shared among equal texts of one owner only, so that nobody can
            tell by the time whether somebody else asked the same; None: there is one owner.

    Raises:
        DataError: not one slot for each text, or a slot that is not there.
        PatchApplyError: a patch is active already.
    """
    if len(texts) != len(slot_of) or any(not 0 <= number < len(slots) for number in slot_of):
        raise DataError(f"{len(texts)} texts, {len(slot_of)} patches", hint="give one patch, or None, for each text")
    if not texts:
        return Predictions((), (), 0)
    if not isinstance(model, TextClassifier):
        return _one_after_the_other(model, texts, slots, slot_of)
    if model.is_patched:
        raise PatchApplyError("a patch is already active", hint="leave its context first")
    is_packed = can_pack(model.module)
    if not is_packed and not is_batch_first(model):
        return _one_after_the_other(model, texts, slots, slot_of)
    rows = _Rows(
        model.encode(texts), list(slot_of), owner_of or [0] * len(texts), [""] * len(texts), [0.0] * len(texts)
    )
    with torch.inference_mode():
        if is_packed and isinstance(model.module, PooledClassifier):
            _run_packed(model, model.module, slots, rows)
        else:
            _run_padded(model, slots, rows)
    return Predictions(tuple(rows.labels), tuple(rows.confidences), sum(len(ids) for ids in rows.encoded))


def _one_after_the_other(
    model: PatchableModel, texts: Sequence[str], slots: Sequence[Slot], slot_of: Sequence[int]
) -> Predictions:
    outputs, confidences, num_tokens = [""] * len(texts), [0.0] * len(texts), 0
    for number, slot in enumerate(slots):
        mine = [i for i, owner in enumerate(slot_of) if owner == number]
        if not mine:
            continue
        applied = model.applied(None) if slot.adapter is None else model.applied_adapter(slot.adapter, slot.name)
        with applied:
            found = model.predict([texts[i] for i in mine])
        num_tokens += found.num_tokens
        for i, output, confidence in zip(mine, found.outputs, found.confidences, strict=True):
            outputs[i], confidences[i] = output, confidence
    return Predictions(tuple(outputs), tuple(confidences), num_tokens)


class _Spans:
    """The slices of the batch that runs now: of tokens (or texts) inside the network, of texts at its head."""

    inside: Sequence[Span] = ()
    at_head: Sequence[Span] = ()


@contextmanager
def _mixed_deltas(model: TextClassifier, slots: Sequence[Slot]) -> Iterator[_Spans]:
    """Let every adapted module add each group's update to that group's rows."""
    spans = _Spans()
    modules = dict(model.module.named_modules())
    targets = {target for slot in slots if slot.adapter is not None for target in slot.adapter.deltas}
    handles = []
    for target in sorted(targets):

        def add(
            _module: nn.Module,
            inputs: tuple[torch.Tensor, ...],
            output: torch.Tensor,
            target: str = target,
            at_head: bool = target == model.head_name,
        ) -> None:
            for span in spans.at_head if at_head else spans.inside:
                adapter = slots[span.group].adapter
                pair = None if adapter is None else adapter.deltas.get(target)
                if adapter is None or pair is None:
                    continue
                a, b = pair
                given = inputs[0][span.start : span.stop].reshape(-1, a.shape[1])
                # A slice of whole rows of a fresh result: the view is written, and nothing else sees it.
                mine = output[span.start : span.stop].view(-1, b.shape[0])
                mine.addmm_(given @ a.t(), b.t(), alpha=adapter.scale)

        handles.append(modules[target].register_forward_hook(add))
    try:
        yield spans
    finally:
        for handle in handles:
            handle.remove()


def _run_packed(model: TextClassifier, module: PooledClassifier, slots: Sequence[Slot], rows: _Rows) -> None:
    firsts = [model.first_changed_layer(slot.adapter) for slot in slots]
    with _mixed_deltas(model, slots) as spans:
        for chunk in _chunks(rows):
            order = sorted(chunk, key=lambda i: (rows.slot_of[i], len(rows.encoded[i]), i))
            groups = [rows.slot_of[i] for i in order]
            encoded = [rows.encoded[i] for i in order]
            layout = pack(encoded, groups, model.device)
            first = min(firsts[group] for group in groups)
            texts = [(rows.owner_of[i], tuple(rows.encoded[i])) for i in order]
            if first and len(set(texts)) < len(texts):
                spans.inside = ()
                states = _shared_states(module, texts, layout, first)
            else:
                first, states = 0, embed_packed(module, layout)
            spans.inside = layout.spans
            for layer in range(first, len(module.layers)):
                states = run_layer_packed(module, layer, states, layout)
            features, spans.at_head = _aligned(pool_packed(states, layout), groups)
            _read(model, slots, rows, order, spans.at_head, features, module.classifier(features))


def _shared_states(
    module: PooledClassifier, texts: Sequence[tuple[int, tuple[int, ...]]], layout: Layout, below: int
) -> torch.Tensor:
    """Return the states of a layout below a layer that no patch changes, computed once for each owner's text."""
    places: dict[tuple[int, tuple[int, ...]], int] = {}
    which = [places.setdefault(text, len(places)) for text in texts]
    alone = pack([ids for _, ids in places], [0] * len(places), str(layout.ids.device))
    states = embed_packed(module, alone)
    for layer in range(below):
        states = run_layer_packed(module, layer, states, alone)
    # What fills a group up is any token: nothing reads it.
    source = [0] * len(layout.ids)
    for row, text in enumerate(which):
        start, begin, num = layout.starts[row], alone.starts[text], len(texts[row][1])
        source[start : start + num] = range(begin, begin + num)
    return states[torch.tensor(source, device=states.device)]


def _chunks(rows: _Rows) -> list[list[int]]:
    """Return batches of rows: about ``MAX_TOKENS`` tokens each, all rows of an owner's text in the same one."""
    same: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for i, ids in enumerate(rows.encoded):
        same.setdefault((rows.owner_of[i], tuple(ids)), []).append(i)
    chunks: list[list[int]] = []
    num_tokens = 0
    for mine in sorted(same.values(), key=lambda mine: (rows.slot_of[mine[0]], len(rows.encoded[mine[0]]), mine[0])):
        size = len(rows.encoded[mine[0]]) * len(mine)
        num_tokens += size
        if not chunks or num_tokens > MAX_TOKENS:
            chunks.append([])
            num_tokens = size
        chunks[-1] += mine
    return chunks


def _run_padded(model: TextClassifier, slots: Sequence[Slot], rows: _Rows) -> None:
    with _mixed_deltas(model, slots) as spans:
        for batch in length_sorted_batches([len(ids) for ids in rows.encoded]):
            order = sorted(batch, key=lambda i: (rows.slot_of[i], i))
            spans.inside = spans.at_head = _spans_of([rows.slot_of[i] for i in order])
            features, logits = model.features([rows.encoded[i] for i in order])
            _read(model, slots, rows, order, spans.at_head, features, logits)


def _spans_of(groups: Sequence[int]) -> list[Span]:
    starts = [i for i, group in enumerate(groups) if i == 0 or groups[i - 1] != group]
    return [Span(groups[a], a, b) for a, b in zip(starts, [*starts[1:], len(groups)], strict=True)]


def _aligned(features: torch.Tensor, groups: Sequence[int]) -> tuple[torch.Tensor, list[Span]]:
    """Return the features with empty rows after each group, up to a multiple of ``ALIGN``, and the groups' slices."""
    parts: list[torch.Tensor] = []
    spans: list[Span] = []
    for span in _spans_of(groups):
        filler = -(span.stop - span.start) % ALIGN
        start = spans[-1].stop if spans else 0
        parts += [features[span.start : span.stop], features.new_zeros(filler, features.shape[1])]
        spans.append(Span(span.group, start, start + span.stop - span.start + filler))
    return torch.cat(parts), spans


def _read(
    model: TextClassifier,
    slots: Sequence[Slot],
    rows: _Rows,
    order: Sequence[int],
    spans: Sequence[Span],
    features: torch.Tensor,
    logits: torch.Tensor,
) -> None:
    """Add each patch's head rows to the logits of its texts, and keep the top labels.

    ``order`` has the rows in the order of the batch, without what fills groups up; ``spans`` are with it.
    """
    names = model.labels
    place = 0
    for span in spans:
        adapter = slots[span.group].adapter
        mine = logits[span.start : span.stop]
        labels = names
        if adapter is not None and adapter.row_weight is not None:
            added = nn.functional.linear(features[span.start : span.stop], adapter.row_weight, adapter.row_bias)
            mine, labels = torch.cat([mine, added], dim=1), names + adapter.row_labels
        confidence, index = torch.softmax(mine.float().cpu(), dim=1).max(dim=1)
        for value, number in zip(confidence.tolist(), index.tolist(), strict=True):
            if place == len(order) or rows.slot_of[order[place]] != span.group:
                break
            rows.labels[order[place]], rows.confidences[order[place]] = labels[number], value
            place += 1
