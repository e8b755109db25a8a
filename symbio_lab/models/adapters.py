"""Applying verified low-rank deltas and head rows to a frozen model, and taking them off again.

Rules:
    1. Only a ``Patch`` is applied; its bytes are hashed again before they are deserialised.
    2. Deltas are added to the output of their module by forward hooks: y = W x + (alpha / r) B A x
       (Hu et al. 2022, LoRA, section 4.1). No parameter is written, so removal restores the base exactly.
    3. A module that the model lacks, or another shape, is an error before anything is hooked.

Example::

    with applied_deltas(model.module, load_adapter(patch, dtype, device)):
        ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from symbio_lab.errors import BaseMismatchError, PatchApplyError, TrustError, WrongTaskError
from symbio_lab.records import FileEntry, Patch, TaskType

PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """The tensors of one patch, on the model's device."""

    deltas: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """Module name -> (A (r, in), B (out, r))."""
    scale: float
    """alpha / r."""
    row_labels: tuple[str, ...] = ()
    row_weight: torch.Tensor | None = None
    """Added head rows, (R, D)."""
    row_bias: torch.Tensor | None = None
    """(R,)."""

    def to(self, *, dtype: torch.dtype, device: str) -> LoadedAdapter:
        """Return the same tensors in the model's precision and on its device."""
        return replace(
            self,
            deltas={module: (a.to(device, dtype), b.to(device, dtype)) for module, (a, b) in self.deltas.items()},
            row_weight=None if self.row_weight is None else self.row_weight.to(device, dtype),
            row_bias=None if self.row_bias is None else self.row_bias.to(device, dtype),
        )


def read_pinned(patch: Patch, entry: FileEntry) -> bytes:
    """Return the bytes of one file of a patch, hashed again.

    Raises:
        TrustError: ``digest_mismatch`` or ``missing_file``: the file changed after verification.
    """
    try:
        data = (patch.root / entry.name).read_bytes()
    except OSError as error:
        raise TrustError("missing_file", f"{entry.name} of {patch.patch_id} vanished after verification") from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise TrustError("digest_mismatch", f"{entry.name} of {patch.patch_id} changed after verification")
    return data


def load_adapter(patch: Patch, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> LoadedAdapter:
    """Return the tensors of a verified patch.

    Raises:
        TrustError: a file changed since it was verified.
        PatchApplyError: the tensors do not match the signed description.
    """
    files = {entry.name: entry for entry in patch.manifest.files}
    spec = patch.manifest.adapter
    deltas: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    if "adapter_model.safetensors" in files:
        tensors = load_safetensors(read_pinned(patch, files["adapter_model.safetensors"]))
        for module in spec.target_modules:
            try:
                a, b = (tensors[f"{PREFIX}{module}.lora_{side}.weight"] for side in "AB")
            except KeyError as error:
                raise PatchApplyError(f"{patch.patch_id} has no tensors for {module}") from error
            deltas[module] = (a.to(device, dtype), b.to(device, dtype))
    weight = bias = None
    if "head_rows.safetensors" in files:
        rows = load_safetensors(read_pinned(patch, files["head_rows.safetensors"]))
        weight, bias = rows["weight"].to(device, dtype), rows["bias"].to(device, dtype)
    return LoadedAdapter(
        deltas=deltas,
        scale=spec.alpha / spec.rank if spec.rank else 0.0,
        row_labels=spec.head_labels if weight is not None else (),
        row_weight=weight,
        row_bias=bias,
    )


def layer_sizes(module: nn.Module | None) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear layer, that of GPT-2's ``Conv1D`` included; None for other modules."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        num_in, num_out = module.weight.shape  # type: ignore[union-attr, misc]
        return int(num_in), int(num_out)
    return None


def check_fits(module: nn.Module, adapter: LoadedAdapter, name: str) -> None:
    """Raise ``PatchApplyError`` unless every delta fits a linear module of the model."""
    modules = dict(module.named_modules())
    for target, (a, b) in adapter.deltas.items():
        sizes = layer_sizes(modules.get(target))
        if sizes is None:
            raise PatchApplyError(f"{name}: the model has no linear module {target!r}")
        if (a.shape[1], b.shape[0]) != sizes or a.shape[0] != b.shape[1]:
            raise PatchApplyError(
                f"{name}: {target} is {sizes[1]}x{sizes[0]}, the delta {b.shape[0]}x{a.shape[1]} of rank {a.shape[0]}"
            )


def check_serves(patch: Patch, *, task_type: TaskType, base_digest: str) -> None:
    """Raise unless the patch was made for this task type and this base.

    Raises:
        WrongTaskError: it serves another task type.
        BaseMismatchError: it was made for another base.
    """
    manifest = patch.manifest
    if manifest.task_type != task_type:
        raise WrongTaskError(f"{patch.patch_id} is for {manifest.task_type}, the model for {task_type}")
    if manifest.base_digest != base_digest:
        raise BaseMismatchError(
            f"{patch.patch_id} was made for base {manifest.base_digest[:12]}, not {base_digest[:12]}"
        )


@contextmanager
def applied_deltas(module: nn.Module, adapter: LoadedAdapter) -> Iterator[None]:
    """Add the deltas to their modules' outputs for the duration of the context."""
    modules = dict(module.named_modules())
    handles = []
    for target, (a, b) in adapter.deltas.items():

        def add(
            _module: nn.Module,
            inputs: tuple[torch.Tensor, ...],
            output: torch.Tensor,
            a: torch.Tensor = a,
            b: torch.Tensor = b,
        ) -> torch.Tensor:
            update = nn.functional.linear(nn.functional.linear(inputs[0], a), b)
            return output + adapter.scale * update

        handles.append(modules[target].register_forward_hook(add))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
