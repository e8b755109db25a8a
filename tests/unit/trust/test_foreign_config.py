"""Somebody else's config: what is believed, what is refused, and that all of it is told at once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.trust.foreign_config import MAX_CONFIG_BYTES, ForeignConfig, read_foreign_config

PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": "org/base",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "v_proj"],
}


def read(**changes: Any) -> ForeignConfig:
    return read_foreign_config(json.dumps({**PLAIN, **changes}).encode())


def refusal(**changes: Any) -> tuple[str, str]:
    with pytest.raises(TrustError) as caught:
        read(**changes)
    assert caught.value.hint
    return caught.value.code, str(caught.value)


def test_a_plain_config() -> None:
    config = read()
    assert (config.base, config.rank, config.alpha, config.scale) == ("org/base", 4, 8.0, 2.0)
    assert (config.targets, config.whole_names, config.task) == (("q_proj", "v_proj"), False, None)


def test_whatever_peft_writes_by_default_is_read() -> None:
    from peft import LoraConfig

    written = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM").to_dict()
    written |= {"target_modules": ["q_proj"], "base_model_name_or_path": "org/base"}
    config = read_foreign_config(json.dumps(written, default=str).encode())
    assert (config.scale, config.task) == (2.0, "CAUSAL_LM")


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (4, 8), (8, 16), (7, 3.5)])
def test_a_rank_stabilised_scale_is_alpha_over_the_root_of_the_rank(rank: int, alpha: float) -> None:
    config = read(r=rank, lora_alpha=alpha, use_rslora=True)
    assert config.scale == pytest.approx(alpha / math.sqrt(rank), rel=1e-15)
    assert read(r=rank, lora_alpha=alpha).scale == pytest.approx(alpha / rank, rel=1e-15)


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"peft_type": "ADALORA"}, "bad_config", "is not LORA"),
        ({"surprise": 1}, "bad_config", "unknown key 'surprise'"),
        ({"surprise": None}, "bad_config", "unknown key"),
        ({"use_dora": True}, "bad_config", "DoRA rescales"),
        ({"bias": "all"}, "bad_config", "biases of the base"),
        ({"bias": "lora_only"}, "bad_config", "biases of the base"),
        ({"lora_bias": True}, "bad_config", "no bias of its own"),
        ({"rank_pattern": {"q_proj": 8}}, "bad_config", "regular expressions"),
        ({"alpha_pattern": {"^.*q": 8}}, "bad_config", "regular expressions"),
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}, "bad_config", "import a class"),
        ({"init_lora_weights": "pissa"}, "bad_config", "weights of the base"),
        ({"init_lora_weights": "pissa_niter_4"}, "bad_config", "weights of the base"),
        ({"init_lora_weights": "olora"}, "bad_config", "weights of the base"),
        ({"init_lora_weights": 1}, "bad_config", "weights of the base"),
        ({"init_lora_weights": {}}, "bad_config", "weights of the base"),
        ({"layer_replication": [[0, 2]]}, "bad_config", "layers of the base"),
        ({"trainable_token_indices": [1]}, "bad_config", "embeddings"),
        ({"target_parameters": ["mlp.gate"]}, "bad_config", "outside linear modules"),
        ({"lora_bias": 0}, "bad_config", "no bias of its own"),
        ({"use_rslora": "yes"}, "bad_config", "not true or false"),
        ({"fan_in_fan_out": "yes"}, "bad_config", "another type"),
        ({"lora_dropout": True}, "bad_config", "another type"),
        ({"r": 0}, "bad_config", "whole number"),
        ({"r": True}, "bad_config", "whole number"),
        ({"r": 4.0}, "bad_config", "whole number"),
        ({"r": 257}, "too_large", "more than 256"),
        ({"r": 10**300}, "too_large", "a very large number"),
        ({"lora_alpha": 0}, "bad_config", "above 0"),
        ({"lora_alpha": -1.5}, "bad_config", "above 0"),
        ({"lora_alpha": "8"}, "bad_config", "above 0"),
        ({"lora_alpha": True}, "bad_config", "above 0"),
        ({"lora_alpha": 1e30}, "too_large", "more than 65536"),
        ({"lora_alpha": 10**4000}, "too_large", "a very large number"),
        ({"base_model_name_or_path": None}, "bad_config", "name the base"),
        ({"base_model_name_or_path": "a\u202eb"}, "bad_config", "control characters"),
        ({"task_type": "TOKEN_CLS"}, "wrong_task", "TOKEN_CLS"),
        ({"task_type": ["SEQ_CLS"]}, "wrong_task", "not served"),
        ({"target_modules": None}, "bad_config", "does not list"),
        ({"target_modules": []}, "bad_config", "does not list"),
        ({"target_modules": "(([a-z])+)+[A-Z]"}, "bad_config", "not a literal module name"),
        ({"target_modules": ".*q_proj"}, "bad_config", "not a literal module name"),
        ({"target_modules": ["q_proj", "v.*"]}, "bad_config", "not a literal module name"),
        ({"target_modules": ["q_proj", "q_proj"]}, "bad_config", "unique"),
        ({"target_modules": ["q_proj", 3]}, "bad_config", "not a literal module name"),
        ({"target_modules": [f"m{i}" for i in range(2049)]}, "bad_config", "more than 2048"),
        ({"modules_to_save": ["cls.*"]}, "bad_config", "not a literal module name"),
        ({"modules_to_save": [f"m{i}" for i in range(65)]}, "bad_config", "more than 64"),
        ({"exclude_modules": "lm_head"}, "bad_config", "not a list"),
        ({"layers_to_transform": [-1]}, "bad_config", "layer numbers"),
        ({"layers_to_transform": [True]}, "bad_config", "layer numbers"),
        ({"layers_to_transform": "0"}, "bad_config", "layer numbers"),
        ({"layers_to_transform": [0], "target_modules": "all-linear"}, "bad_config", "list of target_modules only"),
        ({"layers_pattern": "h|layers"}, "bad_config", "not a literal module name"),
        ({"layers_pattern": "model.layers"}, "bad_config", "more than one part"),
        ({"layers_pattern": 3}, "bad_config", "not a literal name"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], code: str, told: str) -> None:
    found, message = refusal(**changes)
    assert (found, told in message) == (code, True), message
    assert len(message) < 2100


def test_values_that_change_nothing_are_let_through() -> None:
    empty = {"rank_pattern": {}, "alpha_pattern": None, "loftq_config": {}, "use_dora": False, "layer_replication": []}
    assert read(**empty, fan_in_fan_out=True, lora_dropout=0.1, inference_mode=True, revision=None) == read()
    assert read(init_lora_weights="gaussian") == read(init_lora_weights=True)


def test_all_problems_are_told_at_once() -> None:
    code, message = refusal(r=0, lora_alpha=-1, use_dora=True, bias="all", surprise=1, target_modules="a|b")
    assert code == "bad_config"
    for told in ("r 0", "lora_alpha -1", "use_dora", "bias", "surprise", "target_modules"):
        assert told in message


def test_all_linear_is_known_in_any_case_and_a_literal_string_is_a_full_name() -> None:
    assert (read(target_modules="All-Linear").targets, read(target_modules="ALL-LINEAR").whole_names) == ((), False)
    literal = read(target_modules="model.layers.0.q_proj")
    assert (literal.targets, literal.whole_names) == (("model.layers.0.q_proj",), True)


def test_layer_lists_keep_their_order() -> None:
    assert read(layers_to_transform=[3, 1, 1], layers_pattern=["layers", "h"]).layer_lists == ("layers", "h")
    assert read(layers_to_transform=2).layers == (2,)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[]", "bad_config"),
        (b"not json", "bad_config"),
        (b'{"r": 1, "r": 2}', "duplicate_key"),
        (b'{"r": NaN}', "bad_config"),
        (b"[" * 100_000, "bad_config"),
        (b" " * (MAX_CONFIG_BYTES + 1), "too_large"),
        (b'{"r": ' + b"9" * 10_000 + b"}", "bad_config"),
    ],
)
def test_files_that_are_no_config(data: bytes, code: str) -> None:
    with pytest.raises(TrustError) as caught:
        read_foreign_config(data)
    assert caught.value.code == code


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(sorted([*PLAIN, "use_rslora", "bias", "rank_pattern", "modules_to_save", "exclude_modules",
                                "layers_to_transform", "layers_pattern", "init_lora_weights", "task_type", "use_dora",
                                "lora_dropout"]))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(changes=st.dictionaries(_KEYS, _JSON, max_size=4))
def test_any_value_is_either_read_within_bounds_or_refused(changes: dict[str, Any]) -> None:
    config, code = None, ""
    try:
        config = read(**changes)
    except TrustError as error:
        code = error.code
    assert code in ("", "bad_config", "too_large", "wrong_task")
    if config is None:
        return
    assert 1 <= config.rank <= 256
    assert 0 < config.alpha <= 65536
    assert math.isfinite(config.scale)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") for name in
               (*config.targets, *config.saved, *config.excluded, *config.layer_lists))  # fmt: skip
