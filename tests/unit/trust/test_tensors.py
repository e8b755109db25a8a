"""Our own safetensors reader agrees with the library on good files and refuses more."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.trust.tensors import check_tensors
from tests.attacks.market_simulator import attempt, safetensors_bytes

shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)


@settings(deadline=None)
@given(
    st.dictionaries(st.text("abc.", min_size=1, max_size=6), shapes, min_size=1, max_size=5),
    st.sampled_from(["F32", "F16"]),
    st.integers(0, 99),
)
def test_what_the_library_writes_comes_back(wanted: dict[str, tuple[int, ...]], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = {"F32": np.float32, "F16": np.float16}[dtype]
    tensors = {name: np.asarray(rng.normal(size=shape), kind) for name, shape in wanted.items()}
    found = check_tensors(safetensors.numpy.save(tensors), wanted, dtype)
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array.astype(np.float32))


@given(st.integers(0, 200), st.integers(0, 7))
def test_a_flipped_bit_never_escapes_as_another_error(position: int, bit: int) -> None:
    data = bytearray(safetensors.numpy.save({"w": np.ones((2, 3), np.float32)}))
    data[position % len(data)] ^= 1 << bit
    found, code = attempt(lambda: check_tensors(bytes(data), {"w": (2, 3)}, "F32"))
    assert code in ("", "bad_tensors", "duplicate_key", "non_finite")
    assert found is None or found["w"].shape == (2, 3)


@given(st.binary(max_size=100))
def test_garbage_never_escapes_as_another_error(data: bytes) -> None:
    with pytest.raises(TrustError):
        check_tensors(data, {"w": (1,)}, "F32")


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    values = np.array([1.0, -2.5, 0.15625], np.float32)
    body = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    data = safetensors_bytes({"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}, body)
    np.testing.assert_array_equal(check_tensors(data, {"w": (3,)}, "BF16")["w"], values)


def test_open_sizes_and_scalars() -> None:
    data = safetensors.numpy.save({"w": np.ones((2, 3), np.float32), "s": np.array(2, np.float32)})
    assert check_tensors(data, {"w": (2, None), "s": ()}, "F32")["w"].shape == (2, 3)
    for wrong in ((3, None), (None, 2), (None,), (2, 3, None)):
        with pytest.raises(TrustError, match="shape"):
            check_tensors(data, {"w": wrong, "s": ()}, "F32")


def test_result_is_a_writable_copy() -> None:
    data = safetensors.numpy.save({"w": np.ones(4, np.float32)})
    found = check_tensors(data, {"w": (4,)}, "F32")["w"]
    found[0] = 5.0
    assert check_tensors(data, {"w": (4,)}, "F32")["w"][0] == 1.0


@pytest.mark.parametrize("value", [1.0001e4, -1.0001e4, np.nan, np.inf])
def test_limit_of_values(value: float) -> None:
    with pytest.raises(TrustError) as refused:
        check_tensors(safetensors.numpy.save({"w": np.array([value], np.float32)}), {"w": (1,)}, "F32")
    assert refused.value.code == "non_finite"
    check_tensors(safetensors.numpy.save({"w": np.array([1e4, -1e4], np.float32)}), {"w": (2,)}, "F32")
