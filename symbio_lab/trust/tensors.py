"""Safetensors bytes, checked by our own reader before any library touches them.

Rules:
    1. The header is at most 1 MB and is strict JSON; duplicate names are refused (libraries keep the last one).
    2. At most 4,096 tensors; exactly the expected names, shapes and the one dtype that was signed.
    3. No zero dimension; tensors fill the file without gap, overlap or trailing bytes, so no second file hides in it.
    4. Every value is finite and at most 1e4 in magnitude.

Example:
    >>> import safetensors.numpy
    >>> data = safetensors.numpy.save({"w": np.ones((2, 3), np.float32)})
    >>> check_tensors(data, {"w": (2, None)}, "F32")["w"].shape
    (2, 3)

References:
    Hugging Face (2022), "Safetensors", README, section "Format".
    Differs from the paper: smaller header, no empty tensors, no unknown metadata, duplicate names refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import strict_json

Shape = tuple[int | None, ...]
"""Expected shape; None stands for any size of at least 1."""

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 4096
MAX_ABS_VALUE = 1e4
"""A larger weight has never been seen in a trained adapter and overflows half precision downstream."""
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def check_tensors(
    data: bytes, expected: Mapping[str, Shape], dtype: str, *, what: str = "tensors"
) -> dict[str, NDArray[np.float32]]:
    """Return the tensors in ``data`` as float32 copies, if they are exactly what was expected.

    Args:
        data: bytes of a safetensors file.
        expected: tensor name -> shape.
        dtype: ``F32``, ``F16`` or ``BF16``, for all tensors.
        what: file name for messages.

    Raises:
        TrustError: ``bad_tensors``, ``duplicate_key`` or ``non_finite``.
    """
    start, header = _read_header(data, what)
    header.pop("__metadata__", None)
    if set(header) != set(expected):
        odd = sorted(set(header) ^ set(expected))[0]
        raise TrustError("bad_tensors", f"{what}: tensor {odd!r:.120} is missing or was not signed")
    spans = {name: _span(name, header[name], shape, dtype, what) for name, shape in expected.items()}
    position = 0
    for name, (_, begin, end) in sorted(spans.items(), key=lambda item: item[1][1]):
        if begin != position:
            raise TrustError("bad_tensors", f"{what}: gap or overlap before tensor {name!r:.120}")
        position = end
    if position != len(data) - start:
        raise TrustError("bad_tensors", f"{what}: {len(data) - start - position} bytes belong to no tensor")
    return {
        name: _finite(_decode(data[start + begin : start + end], dtype).reshape(shape), name, what)
        for name, (shape, begin, end) in spans.items()
    }


def _read_header(data: bytes, what: str) -> tuple[int, dict[str, Any]]:
    if len(data) < 8:
        raise TrustError("bad_tensors", f"{what}: too short for a header")
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER_BYTES or length > len(data) - 8:
        raise TrustError("bad_tensors", f"{what}: the header claims {length} bytes")
    raw = data[8 : 8 + length]
    if not raw.startswith(b"{"):
        raise TrustError("bad_tensors", f"{what}: the header is not a JSON object")
    header = strict_json(raw, "bad_tensors", what)
    if not isinstance(header, dict) or len(header) > MAX_TENSORS + 1:
        raise TrustError("bad_tensors", f"{what}: more than {MAX_TENSORS} tensors")
    # "format" is what torch writers add; anything else is a place to hide things.
    if header.get("__metadata__", {}) not in ({}, {"format": "pt"}, {"format": "np"}):
        raise TrustError("bad_tensors", f"{what}: unknown metadata")
    return 8 + length, header


def _span(name: str, entry: Any, expected: Shape, dtype: str, what: str) -> tuple[tuple[int, ...], int, int]:
    def refused(problem: str) -> TrustError:
        return TrustError("bad_tensors", f"{what}: tensor {name!r:.120} {problem}")

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise refused("has other fields than dtype, shape and data_offsets")
    if entry["dtype"] != dtype or dtype not in ITEM_BYTES:
        raise refused(f"has dtype {entry['dtype']!r:.20}, signed is {dtype}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or any(type(n) is not int or not 0 <= n < 1 << 50 for n in numbers):
            raise refused("has a shape or offsets that are not small whole numbers")
    fits = len(shape) == len(expected) and all(
        size > 0 and wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )
    if not fits:
        raise refused(f"has shape {shape!r:.60}, expected {expected}")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * ITEM_BYTES[dtype]:
        raise refused("has offsets that do not match its shape")
    return tuple(shape), offsets[0], offsets[1]


def _decode(raw: bytes, dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f4" if dtype == "F32" else "<f2").astype(np.float32)


def _finite(values: NDArray[np.float32], name: str, what: str) -> NDArray[np.float32]:
    # NaN fails the comparison too.
    if not bool(np.all(np.abs(values) <= MAX_ABS_VALUE)):
        raise TrustError("non_finite", f"{what}: tensor {name!r:.120} holds NaN, infinity or |w| > {MAX_ABS_VALUE:g}")
    return values
