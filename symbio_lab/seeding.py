"""Randomness from explicit seeds only: named streams that never collide.

Example:
    >>> derive_seed(0, "contributors", 3) == derive_seed(0, "contributors", 3)
    True
    >>> derive_seed(0, "contributors", 3) == derive_seed(0, "contributors", 4)
    False
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import torch


def derive_seed(seed: int, *names: object) -> int:
    """Return a 63-bit seed for the named stream below ``seed``.

    Args:
        seed: parent seed, any integer.
        names: path of the stream; ``repr`` of each part is hashed.
    """
    digest = hashlib.sha256(repr((int(seed), *names)).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, *names: object) -> numpy.random.Generator:
    """Return a numpy generator for the named stream."""
    import numpy

    return numpy.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """Return a CPU torch generator for the named stream."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))


def shuffled(items: Any, seed: int, *names: object) -> list[Any]:
    """Return a shuffled list of ``items``; the input keeps its order."""
    listed = list(items)
    return [listed[i] for i in numpy_generator(seed, *names).permutation(len(listed))]
