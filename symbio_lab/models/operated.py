"""The tensors that surgery and composition make, before they are sealed into a patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from symbio_lab.models.adapters import LoadedAdapter, load_adapter
from symbio_lab.records import Patch
from symbio_lab.seeding import numpy_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HeadRows:
    """New head rows, keyed by label name."""

    labels: tuple[str, ...]
    """(R,)"""
    weight: NDArray[np.float32]
    """(R, D)"""
    bias: NDArray[np.float32]
    """(R,)"""


@dataclass(frozen=True, slots=True)
class Operated:
    """The tensors that a method produced: deltas, rows or both."""

    method: str
    deltas: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    """Module name -> (A (r, in), B (out, r))."""
    rank: int = 0
    alpha: float = 0.0
    rows: HeadRows | None = None

    def to_adapter(self) -> LoadedAdapter:
        """Return the tensors in the form that a model applies, on the CPU."""
        return LoadedAdapter(
            deltas={k: (torch.from_numpy(a), torch.from_numpy(b)) for k, (a, b) in self.deltas.items()},
            scale=self.alpha / self.rank if self.rank else 0.0,
            row_labels=self.rows.labels if self.rows else (),
            row_weight=torch.from_numpy(self.rows.weight) if self.rows else None,
            row_bias=torch.from_numpy(self.rows.bias) if self.rows else None,
        )


def randomized(operated: Operated, seed: int) -> Operated:
    """Return random factors of the same shapes and standard deviations, module by module; head rows stay."""
    rng = numpy_generator(seed, "random delta")
    deltas = {}
    for module, (a, b) in sorted(operated.deltas.items()):
        parts = [rng.normal(0.0, float(t.std()), t.shape).astype(np.float32) for t in (a, b)]
        deltas[module] = (parts[0], parts[1])
    return replace(operated, deltas=deltas)


def tensors_of(patch: Patch) -> Operated:
    """Return the tensors of a verified patch, to be sealed again in another form.

    Raises:
        TrustError: its files changed since verification.
        PatchApplyError: the tensors do not match the signed description.
    """
    adapter = load_adapter(patch)
    rows = None
    if adapter.row_weight is not None and adapter.row_bias is not None:
        rows = HeadRows(adapter.row_labels, adapter.row_weight.numpy(), adapter.row_bias.numpy())
    deltas = {module: (a.numpy(), b.numpy()) for module, (a, b) in adapter.deltas.items()}
    return Operated(patch.patch_id, deltas, patch.manifest.adapter.rank, patch.manifest.adapter.alpha, rows)
