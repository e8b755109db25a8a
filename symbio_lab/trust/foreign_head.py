"""A classification head that a stranger trained whole, told as what a patch may change of the base's head.

Rules:
    1. The base's rows stay: a patch adds a low-rank delta to their logits, or rows of its own.
    2. Rows are matched by label. Without names, the file's rows are the base's rows in their order.
    3. A row of a label that the base has: its weight may change (a delta), its bias must be the base's own.
    4. A row of a label that the base lacks becomes a head row, weight and bias.
    5. Rows of the base that the file lacks stay and compete; the notes say so, since the author's model had none.

Example:
    >>> own = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    >>> trained = {"weight": np.ones((1, 3), np.float32), "bias": np.ones(1, np.float32)}
    >>> convert_head(trained, own, ("a", "b"), ["c"]).rows.labels
    ('c',)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from symbio_lab.trust.adapter_files import DELTAS_NAME, HeadRows
from symbio_lab.trust.foreign_config import refuse_foreign


@dataclass(frozen=True, slots=True, eq=False)
class HeadChange:
    """What a patch must carry so that its logits are those of the trained head."""

    delta: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    """(K, D) change of the K rows that changed, and the (C, K) selection of these rows; None: no row changed."""
    rows: HeadRows | None = None
    notes: tuple[str, ...] = ()


def convert_head(
    trained: Mapping[str, NDArray[np.float32]],
    own: Mapping[str, NDArray[np.float32] | None],
    labels: Sequence[str],
    row_names: Sequence[str] | None = None,
) -> HeadChange:
    """Return the change from the base's head to a trained one.

    Args:
        trained: ``weight`` (C', D) and ``bias`` (C',) of the file; empty where it holds no head.
        own: the same of the base, (C, D) and (C,); a bias that it does not have is None.
        labels: labels of the base's rows, (C,).
        row_names: labels of the file's rows, (C',); None: the base's own.

    Raises:
        TrustError: ``bad_tensors``: the rows cannot be told apart, or a bias of the base's rows changed.
    """
    weight, own_weight = trained.get("weight"), own.get("weight")
    if not trained:
        return HeadChange()
    if weight is None or own_weight is None:
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME} holds a head without its weight")
    names = _names_of_rows(len(weight), labels, row_names)
    own_bias = own.get("bias")
    stays = np.zeros(len(labels), np.float32) if own_bias is None else own_bias
    bias = trained.get("bias")
    if bias is None:
        # Without a bias in the file the base's own is in force; new rows have none.
        bias = np.array([stays[labels.index(n)] if n in labels else 0.0 for n in names], np.float32)
    if len(bias) != len(weight):
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: the head has {len(weight)} rows, but {len(bias)} biases")
    known = [(i, labels.index(name)) for i, name in enumerate(names) if name in labels]
    moved = [names[i] for i, row in known if bias[i] != stays[row]]
    if moved:
        raise refuse_foreign(
            "bad_tensors",
            f"{DELTAS_NAME}: the bias of {len(moved)} row(s) of the head changed ({moved[0]:.60} ...); "
            "a patch can change their weights, not their biases",
            "ask the author for an adapter whose head bias was frozen; or name its rows if they are other labels",
        )
    changed = [(i, row) for i, row in known if not np.array_equal(weight[i], own_weight[row])]
    added = [i for i, name in enumerate(names) if name not in labels]
    notes = [f"the weights of {len(changed)} row(s) of the head change"] if changed else []
    if left := sorted(set(labels) - set(names)):
        notes.append(
            f"{len(left)} row(s) of the base stay and compete ({left[0]:.60} ...): its author's model did not have them"
        )
    return HeadChange(_delta(weight, own_weight, changed), _rows(weight, bias, names, added), tuple(notes))


def _names_of_rows(num_rows: int, labels: Sequence[str], row_names: Sequence[str] | None) -> tuple[str, ...]:
    if row_names is None and num_rows != len(labels):
        raise refuse_foreign(
            "bad_tensors",
            f"{DELTAS_NAME}: its head has {num_rows} rows, the base {len(labels)}; which is which is not said",
            "name the rows of its head in their order; symbio market vouch --row LABEL --row LABEL ...",
        )
    names = tuple(labels if row_names is None else row_names)
    if len(names) != num_rows or len(set(names)) != num_rows:
        raise refuse_foreign(
            "bad_tensors",
            f"{DELTAS_NAME}: its head has {num_rows} rows, but {len(set(names))} labels are named",
            "name each row of its head once, in their order",
        )
    return names


def _delta(
    weight: NDArray[np.float32], own: NDArray[np.float32], changed: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    if not changed:
        return None
    change = np.stack([weight[i] - own[row] for i, row in changed])
    selection = np.zeros((len(own), len(changed)), np.float32)
    selection[[row for _, row in changed], range(len(changed))] = 1.0
    return change, selection


def _rows(
    weight: NDArray[np.float32], bias: NDArray[np.float32], names: Sequence[str], added: Sequence[int]
) -> HeadRows | None:
    if not added:
        return None
    return HeadRows(tuple(names[i] for i in added), weight[added], bias[added])
