"""Exact weighted sum of low-rank updates, across ranks, target modules and alphas, head rows included.

    sum_k w_k (alpha_k / r_k) B_k A_k = [w_1 s_1 B_1 ... w_K s_K B_K] [A_1; ...; A_K]

so the sum has rank sum r_k, padded with zeros to one rank for all modules. A label's row is the weighted mean of the
rows of the patches that carry it.

References:
    peft's ``cat`` combination (exact); unlike it, ranks and modules may differ and head rows are merged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symbio_lab.errors import EmptySliceError
from symbio_lab.models.adapters import LoadedAdapter
from symbio_lab.models.operated import HeadRows, Operated


def exact_sum(name: str, adapters: Sequence[LoadedAdapter], weights: Sequence[float]) -> Operated:
    """Return the exact weighted sum of the adapters.

    Args:
        name: method name of the result.
        adapters: K loaded patches.
        weights: (K,).

    Raises:
        EmptySliceError: no adapters.
    """
    if not adapters:
        raise EmptySliceError("nothing to compose")
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    rows: dict[str, list[tuple[float, np.ndarray, float]]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for module, (a, b) in adapter.deltas.items():
            scaled = weight * adapter.scale * b.float().cpu().numpy()
            parts.setdefault(module, []).append((a.float().cpu().numpy(), scaled))
        if adapter.row_weight is not None and adapter.row_bias is not None:
            for i, label in enumerate(adapter.row_labels):
                row = adapter.row_weight[i].float().cpu().numpy()
                rows.setdefault(label, []).append((weight, row, float(adapter.row_bias[i])))
    rank = max((sum(len(a) for a, _ in pieces) for pieces in parts.values()), default=0)
    deltas = {module: _stack(pieces, rank) for module, pieces in sorted(parts.items())}
    return Operated(name, deltas, rank, float(rank), _mean_rows(rows))


def _stack(pieces: list[tuple[np.ndarray, np.ndarray]], rank: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.concatenate([p[0] for p in pieces])
    b = np.concatenate([p[1] for p in pieces], axis=1)
    missing = rank - len(a)
    a = np.pad(a, ((0, missing), (0, 0))).astype(np.float32)
    return a, np.pad(b, ((0, 0), (0, missing))).astype(np.float32)


def _mean_rows(rows: dict[str, list[tuple[float, np.ndarray, float]]]) -> HeadRows | None:
    if not rows:
        return None
    labels = tuple(sorted(rows))
    weight = np.stack(
        [np.average([r for _, r, _ in rows[n]], axis=0, weights=[w for w, _, _ in rows[n]]) for n in labels]
    )
    bias = np.array([np.average([b for _, _, b in rows[n]], weights=[w for w, _, _ in rows[n]]) for n in labels])
    return HeadRows(labels, weight.astype(np.float32), bias.astype(np.float32))
