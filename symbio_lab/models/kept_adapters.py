"""Tensors of patches kept in memory between batches, bounded in bytes.

Rules:
    1. A patch's files are hashed again when they are loaded, not when kept tensors are used: what answers are the
       bytes that were verified, whatever became of the files.
    2. Whoever was used longest ago leaves first; one that is larger than the whole room is used and not kept.

References:
    Sheng et al. 2024, "S-LoRA", section 4 (adapters paged in and out beside one base).
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch

from symbio_lab.models.adapters import LoadedAdapter, check_serves, load_adapter
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Patch

KEPT_BYTES = 256 << 20


def fitted_adapter(model: PatchableModel, patch: Patch) -> LoadedAdapter:
    """Return a patch's tensors in the model's precision and on its device, checked to fit.

    Raises:
        BaseMismatchError: the patch was made for another base.
        WrongTaskError: it serves another task type.
        PatchApplyError: it does not fit, or renames an existing row.
        TrustError: its files changed since verification.
    """
    check_serves(patch, task_type=model.task_type, base_digest=model.digest)
    adapter = load_adapter(patch, dtype=getattr(torch, model.dtype), device=model.device)
    model.check_adapter(adapter, patch.patch_id)
    return adapter


def num_bytes(adapter: LoadedAdapter) -> int:
    """Return the size of a patch's tensors."""
    rows = [t for t in (adapter.row_weight, adapter.row_bias) if t is not None]
    return sum(a.nbytes + b.nbytes for a, b in adapter.deltas.values()) + sum(t.nbytes for t in rows)


class KeptAdapters:
    """The adapters of one model that were used last; safe for several threads."""

    def __init__(self, model: PatchableModel, limit_bytes: int = KEPT_BYTES) -> None:
        """Start empty."""
        self._model, self._limit = model, limit_bytes
        self._kept: OrderedDict[str, LoadedAdapter] = OrderedDict()
        self._num_bytes = 0
        self._guard = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes kept."""
        return self._num_bytes

    def find(self, digest: str) -> LoadedAdapter | None:
        """Return a kept adapter by its patch's digest."""
        with self._guard:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
            return found

    def get(self, patch: Patch) -> LoadedAdapter:
        """Return a patch's adapter, loaded when it is not kept.

        Raises:
            BaseMismatchError: the patch was made for another base.
            WrongTaskError: it serves another task type.
            PatchApplyError: it does not fit, or renames an existing row.
            TrustError: its files changed since verification.
        """
        found = self.find(patch.digest)
        if found is not None:
            return found
        adapter = fitted_adapter(self._model, patch)
        size = num_bytes(adapter)
        with self._guard:
            if patch.digest not in self._kept and size <= self._limit:
                self._kept[patch.digest] = adapter
                self._num_bytes += size
            while self._num_bytes > self._limit:
                _, dropped = self._kept.popitem(last=False)
                self._num_bytes -= num_bytes(dropped)
        return adapter
