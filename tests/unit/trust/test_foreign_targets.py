"""The modules that a foreign config means are those that peft itself would adapt."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from symbio_lab.trust.foreign_config import ForeignConfig, read_foreign_config
from symbio_lab.trust.foreign_targets import layer_of, targeted_modules


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(4, 4), nn.Linear(4, 4)
        self.subquery = nn.Linear(4, 4)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])


class Network(nn.Module):
    """Names that tell a suffix from a substring, a list from another list, and a head from the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([Block() for _ in range(3)])
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([Block() for _ in range(3)])
        self.classifier = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        self.query = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def config_of(**changes: Any) -> ForeignConfig:
    plain = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": "b"}
    return read_foreign_config(json.dumps({**plain, **changes}).encode())


def ours(**changes: Any) -> tuple[str, ...]:
    modules = {name: module for name, module in Network().named_modules() if name}
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    return targeted_modules(config_of(**changes), modules, linear)


def theirs(**changes: Any) -> tuple[str, ...]:
    from peft import LoraConfig, get_peft_model

    model: Any = get_peft_model(Network(), LoraConfig(r=1, **changes))  # type: ignore[arg-type]
    return tuple(sorted({name.split(".lora_A")[0] for name, _ in model.base_model.model.named_modules()
                         if name.endswith("lora_A")}))  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["query"]},
        {"target_modules": ["query", "value"]},
        {"target_modules": ["attention.query"]},
        {"target_modules": ["model.layers.1.attention.query"]},
        {"target_modules": "model.layers.1.attention.query"},
        {"target_modules": "all-linear"},
        {"target_modules": ["query"], "exclude_modules": ["attention.query"]},
        {"target_modules": ["query", "classifier.1"], "exclude_modules": ["classifier.1"]},
        {"target_modules": ["query", "classifier.0"], "modules_to_save": ["classifier"]},
        {"target_modules": ["query"], "layers_to_transform": [1]},
        {"target_modules": ["query"], "layers_to_transform": 2, "layers_pattern": "h"},
        {"target_modules": ["query"], "layers_to_transform": [0, 2], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["query"], "layers_to_transform": [0, 2], "layers_pattern": ["layers", "experts"]},
        {"target_modules": ["query"], "layers_to_transform": [7]},
        {"target_modules": ["experts.1"], "layers_to_transform": [2]},
        {"target_modules": ["query", "model.layers.0.attention.value"], "layers_to_transform": [1]},
    ],
)
def test_the_same_modules_as_peft(changes: dict[str, Any]) -> None:
    expected = theirs(**changes)
    assert expected
    assert ours(**changes) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["uery"]},
        {"target_modules": "query", "exclude_modules": ["query"]},
        {"target_modules": ["classifier.0"], "modules_to_save": ["classifier"]},
        {"target_modules": ["value"], "layers_to_transform": [7]},
        {"target_modules": ["0", "1"], "layers_to_transform": [1], "layers_pattern": "experts"},
    ],
)
def test_nothing_where_peft_finds_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"[Tt]arget modules"):
        theirs(**changes)
    assert ours(**changes) == ()


def test_all_linear_leaves_out_the_output_and_the_head_of_a_classifier() -> None:
    names = ["score", "classifier", "lm_head", "model.q"]
    assert targeted_modules(config_of(target_modules="all-linear"), names, names, ["lm_head"]) == (
        "classifier", "model.q", "score",
    )  # fmt: skip
    headed = config_of(target_modules="all-linear", task_type="SEQ_CLS")
    assert targeted_modules(headed, names, names, []) == ("classifier", "lm_head", "model.q")
    assert targeted_modules(headed, names[1:], names[1:], []) == ("lm_head", "model.q")


@pytest.mark.parametrize(
    ("name", "lists", "layer"),
    [
        ("model.layers.3.mlp", (), 3),
        ("h.3.attn", (), None),
        ("a.h.3", (), None),
        ("a.h.12.b", (), 12),
        ("h.3.attn", ("h",), 3),
        ("a.layers.1.experts.2.x", ("experts",), 2),
        ("a.layers.1.experts.2.x", ("experts", "layers"), 2),
        ("a.layers.1.experts.2.x", ("blocks",), None),
    ],
)
def test_the_layer_of_a_module(name: str, lists: tuple[str, ...], layer: int | None) -> None:
    assert layer_of(name, lists) == layer
