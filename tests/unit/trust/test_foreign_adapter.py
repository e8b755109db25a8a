"""Tensors of a stranger's adapter: what is converted is the same function, what is not is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from symbio_lab.errors import TrustError
from symbio_lab.trust.foreign_adapter import BaseModules, ConvertedAdapter, convert_adapter
from symbio_lab.trust.foreign_config import ForeignConfig, read_foreign_config

RNG = np.random.default_rng(0)
LINEAR = {"enc.0.q": (6, 5), "enc.0.v": (5, 5), "enc.1.q": (6, 5), "enc.1.v": (5, 5), "cls": (3, 5), "pool": (5, 5)}
PARAMETERS = {
    "cls.weight": RNG.normal(size=(3, 5)).astype(np.float32),
    "cls.bias": RNG.normal(size=3).astype(np.float32),
    "norm.weight": np.ones(5, np.float32),
    "scale": np.float32(2.0) * np.ones((), np.float32),
}
BASE = BaseModules(
    linear=LINEAR,
    modules=frozenset([*LINEAR, "enc", "enc.0", "enc.1", "embed", "norm"]),
    outputs=frozenset(),
    head="cls",
    labels=("a", "b", "c"),
    parameter=PARAMETERS.get,
)
Tensors = dict[str, np.ndarray]


def config_of(**changes: Any) -> ForeignConfig:
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "b", "target_modules": ["q"]}
    return read_foreign_config(json.dumps({**plain, **changes}).encode())


def factors(*modules: str, rank: int = 2, default: str = "", dtype: Any = np.float32) -> Tensors:
    made = {}
    for number, module in enumerate(modules):
        rng = np.random.default_rng(number)
        out, num_in = LINEAR[module]
        made[f"base_model.model.{module}.lora_A{default}.weight"] = rng.normal(size=(rank, num_in)).astype(dtype)
        made[f"base_model.model.{module}.lora_B{default}.weight"] = rng.normal(size=(out, rank)).astype(dtype)
    return made


def convert(tensors: Mapping[str, np.ndarray], base: BaseModules = BASE, **changes: Any) -> ConvertedAdapter:
    rows, most = changes.pop("row_names", None), changes.pop("max_rank", 256)
    return convert_adapter(save(dict(tensors)), config_of(**changes), base, row_names=rows, max_rank=most)


def refusal(tensors: Mapping[str, np.ndarray], **changes: Any) -> tuple[str, str]:
    with pytest.raises(TrustError) as caught:
        convert(tensors, **changes)
    assert caught.value.hint
    return caught.value.code, str(caught.value)


def update(converted: ConvertedAdapter, module: str) -> np.ndarray:
    a, b = converted.deltas[module]
    return np.float64(converted.alpha / converted.rank) * (b.astype(np.float64) @ a.astype(np.float64))


@pytest.mark.parametrize("default", ["", ".default"])
def test_factors_are_taken_as_they_are(default: str) -> None:
    tensors = factors("enc.0.q", "enc.1.q", default=default)
    converted = convert(tensors)
    assert (converted.rank, converted.alpha, converted.dtype, converted.head_rows) == (2, 4.0, "F32", None)
    assert sorted(converted.deltas) == ["enc.0.q", "enc.1.q"]
    a, b = converted.deltas["enc.1.q"]
    np.testing.assert_array_equal(a, tensors[f"base_model.model.enc.1.q.lora_A{default}.weight"])
    np.testing.assert_array_equal(b, tensors[f"base_model.model.enc.1.q.lora_B{default}.weight"])


def test_a_rank_stabilised_adapter_keeps_its_update() -> None:
    tensors = factors("enc.0.q", "enc.1.q")
    a, b = (tensors[f"base_model.model.enc.0.q.lora_{side}.weight"].astype(np.float64) for side in "AB")
    np.testing.assert_allclose(update(convert(tensors, use_rslora=True), "enc.0.q"), 4 / np.sqrt(2) * b @ a, rtol=1e-15)
    np.testing.assert_allclose(update(convert(tensors), "enc.0.q"), 2 * b @ a, rtol=1e-15)


def test_half_precision_is_kept_and_bfloat16_widened() -> None:
    half = factors("enc.0.q", "enc.1.q", dtype=np.float16)
    converted = convert(half)
    assert converted.dtype == "F16"
    np.testing.assert_array_equal(converted.deltas["enc.0.q"][0], half["base_model.model.enc.0.q.lora_A.weight"])
    import torch
    from safetensors.torch import save as save_torch

    brain = {name: torch.from_numpy(t).to(torch.bfloat16) for name, t in factors("enc.0.q", "enc.1.q").items()}
    widened = convert_adapter(save_torch(brain), config_of(), BASE)
    assert widened.dtype == "F32"
    expected = brain["base_model.model.enc.0.q.lora_A.weight"].float().numpy()
    np.testing.assert_array_equal(widened.deltas["enc.0.q"][0], expected)


def test_layers_and_exclusions_of_the_config_are_the_modules_of_the_file() -> None:
    assert list(convert(factors("enc.1.q"), layers_to_transform=[1], layers_pattern="enc").deltas) == ["enc.1.q"]
    assert list(convert(factors("enc.1.q"), exclude_modules=["0.q"]).deltas) == ["enc.1.q"]
    everything = convert(factors(*(set(LINEAR) - {"cls"})), target_modules="all-linear", exclude_modules=["cls"])
    assert set(everything.deltas) == set(LINEAR) - {"cls"}


@pytest.mark.parametrize(
    ("held", "changes", "code", "told"),
    [
        (["enc.0.q"], {}, "bad_config", "'enc.1.q' has no tensors"),
        (["enc.0.q", "enc.1.q", "pool"], {}, "bad_config", "does not target it"),
        (["enc.0.q", "enc.1.q"], {"target_modules": ["nothing"]}, "wrong_base", "none of the modules"),
        (["enc.0.q", "enc.1.q"], {"target_modules": ["q", "embed"]}, "bad_config", "no linear module"),
        (["enc.0.q", "enc.1.q"], {"r": 3}, "bad_tensors", "shape"),
    ],
)
def test_config_and_tensors_must_tell_one_story(held: list[str], changes: Any, code: str, told: str) -> None:
    found, message = refusal(factors(*held), **changes)
    assert (found, told in message) == (code, True), message


def test_mixed_ranks_are_refused() -> None:
    assert refusal({**factors("enc.0.q"), **factors("enc.1.q", rank=4)})[0] == "bad_tensors"


def test_an_orphan_names_what_the_base_lacks() -> None:
    other = {name.replace("enc.", "layers."): t for name, t in factors("enc.0.q", "enc.1.q").items()}
    code, message = refusal(other)
    assert (code, "no module 'layers.0.q'" in message) == ("wrong_base", True)
    wide = {name: np.ones((2, 9) if "lora_A" in name else (6, 2), np.float32) for name in factors("enc.0.q", "enc.1.q")}
    code, message = refusal(wide)
    assert (code, "enc.0.q is 6x5, the adapter's update 6x9" in message) == ("wrong_base", True)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("base_model.model.enc.0.q.lora_magnitude_vector", "DoRA"),
        ("base_model.model.enc.0.q.lora_magnitude_vector.default", "not known"),
        ("base_model.model.embed.lora_embedding_A", "embeddings"),
        ("base_model.model.enc.0.q.lora_B.bias", "bias of its own"),
        ("base_model.model.enc.0.q.lora_A.other.weight", "not known"),
        ("enc.0.q.lora_A.weight", "does not begin with"),
    ],
)
def test_tensors_that_go_with_lora_but_not_with_a_patch(name: str, told: str) -> None:
    code, message = refusal({**factors("enc.0.q", "enc.1.q"), name: np.ones(2, np.float32)})
    assert (code, told in message) == ("bad_tensors", True), message


def test_one_factor_without_the_other() -> None:
    tensors = factors("enc.0.q", "enc.1.q")
    del tensors["base_model.model.enc.1.q.lora_B.weight"]
    assert refusal(tensors) == ("bad_tensors", "adapter_model.safetensors: 'enc.1.q' has one factor of two")


def test_one_tensor_in_two_forms() -> None:
    both = {**factors("enc.0.q", "enc.1.q"), **factors("enc.0.q", default=".default")}
    assert refusal(both)[0] == "duplicate_key"


def test_two_dtypes_in_one_file() -> None:
    mixed = {**factors("enc.0.q"), **factors("enc.1.q", dtype=np.float16)}
    code, message = refusal(mixed)
    assert (code, "F16, F32" in message) == ("bad_tensors", True)
    assert refusal(factors("enc.0.q", "enc.1.q", dtype=np.float64))[0] == "bad_tensors"


# ------------------------------------------------------------------------------------------- whole copies, the head


def with_head(weight: np.ndarray | None = None, bias: np.ndarray | None = None, infix: str = "") -> Tensors:
    tensors = factors("enc.0.q", "enc.1.q")
    tensors[f"base_model.model.cls.{infix}weight"] = PARAMETERS["cls.weight"] if weight is None else weight
    tensors[f"base_model.model.cls.{infix}bias"] = PARAMETERS["cls.bias"] if bias is None else bias
    return tensors


SAVED = {"modules_to_save": ["cls", "score"], "task_type": "SEQ_CLS"}


@pytest.mark.parametrize("infix", ["", "modules_to_save.default."])
def test_a_head_that_did_not_change_is_dropped(infix: str) -> None:
    converted = convert(with_head(infix=infix), **SAVED)
    assert sorted(converted.deltas) == ["enc.0.q", "enc.1.q"]
    assert (converted.head_rows, converted.rank, converted.notes) == (None, 2, ())


@pytest.mark.parametrize("alpha", [4, 3])
def test_changed_weights_of_a_head_become_a_delta_of_the_same_patch(alpha: int) -> None:
    weight = PARAMETERS["cls.weight"].copy()
    weight[[0, 2]] += RNG.normal(size=(2, 5)).astype(np.float32)
    converted = convert(with_head(weight), lora_alpha=alpha, **SAVED)
    assert converted.rank == 2  # two rows changed, and the adapter has rank 2
    np.testing.assert_allclose(update(converted, "cls"), weight - PARAMETERS["cls.weight"], rtol=1e-6, atol=1e-7)
    assert "2 row(s)" in converted.notes[0]


def test_lower_ranks_are_filled_with_zeros_without_changing_a_product() -> None:
    weight = PARAMETERS["cls.weight"] + 1
    plain, padded = convert(factors("enc.0.q", "enc.1.q")), convert(with_head(weight), **SAVED)
    assert (plain.rank, padded.rank, padded.alpha) == (2, 3, 6.0)
    for module in ("enc.0.q", "enc.1.q"):
        assert padded.deltas[module][0].shape[0] == padded.deltas[module][1].shape[1] == 3
        np.testing.assert_array_equal(update(padded, module), update(plain, module))
    np.testing.assert_allclose(update(padded, "cls"), np.ones((3, 5)), rtol=1e-6)


def test_more_changed_rows_than_the_largest_rank() -> None:
    code, message = refusal(with_head(PARAMETERS["cls.weight"] + 1), max_rank=2, **SAVED)
    assert (code, "3 rows" in message) == ("too_large", True)


def test_a_changed_bias_of_the_base_s_rows_is_refused() -> None:
    code, message = refusal(with_head(bias=PARAMETERS["cls.bias"] + 1), **SAVED)
    assert (code, "not their biases" in message) == ("bad_tensors", True)


def test_a_head_of_other_labels_becomes_rows() -> None:
    weight, bias = np.ones((2, 5), np.float32), np.array([3, 4], np.float32)
    converted = convert(with_head(weight, bias), row_names=["joy", "fear"], **SAVED)
    rows = converted.head_rows
    assert rows is not None
    assert rows.labels == ("joy", "fear")
    np.testing.assert_array_equal(rows.weight, weight)
    np.testing.assert_array_equal(rows.bias, bias)
    assert "cls" not in converted.deltas
    assert "3 row(s) of the base stay and compete" in converted.notes[0]


def test_known_and_new_rows_in_another_order() -> None:
    own, own_bias = PARAMETERS["cls.weight"], PARAMETERS["cls.bias"]
    weight = np.stack([own[1] + 1, np.full(5, 7, np.float32), own[0]])
    bias = np.array([own_bias[1], 9, own_bias[0]], np.float32)
    converted = convert(with_head(weight, bias), row_names=["b", "joy", "a"], **SAVED)
    rows = converted.head_rows
    assert rows is not None
    assert (rows.labels, rows.bias.tolist()) == (("joy",), [9.0])
    expected = np.zeros((3, 5))
    expected[1] = 1
    np.testing.assert_allclose(update(converted, "cls"), expected, atol=1e-6)


def test_rows_must_be_named_once_each() -> None:
    more = with_head(np.ones((4, 5), np.float32), np.ones(4, np.float32))
    code, message = refusal(more, **SAVED)
    assert (code, "4 rows, the base 3" in message) == ("bad_tensors", True)
    for names in (["x"], ["x", "x", "y", "z"]):
        assert refusal(more, row_names=names, **SAVED)[0] == "bad_tensors"
    assert refusal(factors("enc.0.q", "enc.1.q"), row_names=["x"])[0] == "bad_tensors"


def test_a_head_of_another_width_is_of_another_base() -> None:
    assert refusal(with_head(np.ones((3, 9), np.float32)), **SAVED)[0] == "wrong_base"


def test_a_head_that_is_adapted_and_saved_as_well() -> None:
    tensors = {**factors("enc.0.q", "enc.1.q", "cls"), **with_head(PARAMETERS["cls.weight"] + 1)}
    assert refusal(tensors, **SAVED)[0] == "bad_config"


def test_a_head_without_a_bias() -> None:
    base = replace(BASE, parameter={"cls.weight": PARAMETERS["cls.weight"]}.get)
    tensors = with_head(PARAMETERS["cls.weight"] + 1)
    assert refusal(tensors, base=base, **SAVED)[0] == "wrong_base"
    del tensors["base_model.model.cls.bias"]
    converted = convert(tensors, base, row_names=["a", "b", "joy"], **SAVED)
    assert converted.head_rows is not None
    assert converted.head_rows.bias.tolist() == [0.0]


def test_other_modules_saved_whole_must_be_the_base_s_own() -> None:
    same = {**factors("enc.0.q", "enc.1.q"), "base_model.model.norm.weight": np.ones(5, np.float32)}
    assert sorted(convert(same, modules_to_save=["norm"]).deltas) == ["enc.0.q", "enc.1.q"]
    assert refusal(same)[1].endswith("'norm.weight' is not part of modules_to_save")
    other = {**same, "base_model.model.norm.weight": np.full(5, 2, np.float32)}
    code, message = refusal(other, modules_to_save=["norm"])
    assert (code, "only linear updates" in message) == ("bad_tensors", True)
    wide = {**same, "base_model.model.norm.weight": np.ones(6, np.float32)}
    assert refusal(wide, modules_to_save=["norm"])[0] == "wrong_base"
    unknown = {**same, "base_model.model.norm.gain": np.ones(5, np.float32)}
    assert refusal(unknown, modules_to_save=["norm"])[0] == "wrong_base"


@settings(max_examples=60, deadline=None)
@given(
    rank=st.integers(1, 5),
    alpha=st.floats(0.25, 64),
    stable=st.booleans(),
    changed=st.sets(st.integers(0, 2)),
    added=st.integers(0, 2),
)
def test_every_conversion_is_the_same_function(
    rank: int, alpha: float, stable: bool, changed: set[int], added: int
) -> None:
    """Logits of a linear head on random features: trained ones, and those of the base with the patch on top."""
    rng = np.random.default_rng([rank, added, len(changed)])
    own, own_bias = PARAMETERS["cls.weight"], PARAMETERS["cls.bias"]
    weight = np.concatenate([own, rng.normal(size=(added, 5)).astype(np.float32)])
    bias = np.concatenate([own_bias, rng.normal(size=added).astype(np.float32)])
    for row in changed:
        weight[row] += rng.normal(size=5).astype(np.float32)
    tensors = {**with_head(weight, bias), **factors("enc.0.q", "enc.1.q", rank=rank)}
    names = [*BASE.labels, "new 0", "new 1"][: 3 + added]
    converted = convert(tensors, r=rank, lora_alpha=alpha, use_rslora=stable, row_names=names, **SAVED)
    scale = alpha / (np.sqrt(rank) if stable else rank)
    for module in ("enc.0.q", "enc.1.q"):
        a, b = (tensors[f"base_model.model.{module}.lora_{side}.weight"].astype(np.float64) for side in "AB")
        np.testing.assert_allclose(update(converted, module), scale * b @ a, rtol=1e-12, atol=1e-12)
    features = rng.normal(size=(7, 5))
    logits = features @ own.T.astype(np.float64) + own_bias
    if "cls" in converted.deltas:
        logits = logits + features @ update(converted, "cls").T
    if (rows := converted.head_rows) is not None:
        logits = np.concatenate([logits, features @ rows.weight.T.astype(np.float64) + rows.bias], axis=1)
    np.testing.assert_allclose(logits, features @ weight.T.astype(np.float64) + bias, rtol=1e-4, atol=1e-5)
    assert ("cls" in converted.deltas) == bool(changed)
    assert converted.rank == max(rank, len(changed))
