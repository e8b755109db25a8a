"""Which device tensors live on, and how much of it one process may take."""

from __future__ import annotations

import os

import torch

from symbio_lab.errors import ConfigError, ModelError

MEMORY_FRACTION = "SYMBIO_LAB_CUDA_MEMORY_FRACTION"
"""Environment variable: share of a CUDA device's memory in (0, 1] that this process may take; sweeps set it."""


def resolve_device(device: str = "auto") -> str:
    """Return ``cpu``, ``cuda`` or ``mps``; ``auto`` takes the accelerator that is there.

    On CUDA the process is held to its share of the memory, where one is set.

    Raises:
        ModelError: the device asked for is not there.
        ConfigError: the share is no number in (0, 1].
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(device.split(":")[0], False):
        raise ModelError(f"device {device!r} is not available", hint="use --device cpu, or auto")
    share = memory_fraction()
    if device.startswith("cuda") and share < 1.0:
        torch.cuda.set_per_process_memory_fraction(share)
    return device


def memory_fraction() -> float:
    """Return the share of a CUDA device's memory that this process may take.

    Raises:
        ConfigError: it is no number in (0, 1].
    """
    given = os.environ.get(MEMORY_FRACTION) or "1"
    try:
        share = float(given)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise ConfigError([f"{MEMORY_FRACTION} must be a number above 0 and at most 1, not {given!r}"])
    return share


def num_cuda_devices() -> int:
    """Return how many CUDA devices there are, without starting a CUDA context."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return torch.cuda.device_count()
