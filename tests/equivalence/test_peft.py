"""Patched logits equal peft's own: on the sealed folder as peft reads it, and on the layers that peft injects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symbio_lab.composition.exact_sum import exact_sum
from symbio_lab.models.adapters import load_adapter
from symbio_lab.surgery.lora_training import LoraSettings, target_modules
from tests.fixtures_models import (
    TinyModels,
    generation_samples,
    known_samples,
    random_deltas,
    seal,
)

MEMBERS = pytest.mark.parametrize("member", TinyModels.MEMBERS)
TOLERANCE = 1e-5


def batch_of(model: Any) -> dict[str, torch.Tensor]:
    """Padded inputs for the bare network."""
    samples = known_samples(4) if model.labels else generation_samples(4)
    encoded = model.encode([s.text for s in samples])
    longest = max(map(len, encoded))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in encoded])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in encoded])
    return {"input_ids": ids, "attention_mask": mask}


@torch.inference_mode()
def raw_logits(module: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    output = module(**batch)
    logits: torch.Tensor = getattr(output, "logits", output)
    return logits.clone()


def modules_of(model: Any, targets: str) -> tuple[str, ...]:
    names = target_modules(model.module, LoraSettings(targets=targets), exclude=getattr(model, "head_name", "lm_head"))
    return names[-3:] if targets == "all_linear" else names


@MEMBERS
@pytest.mark.parametrize("rank", [1, 4, 16])
@pytest.mark.parametrize("targets", ["query_value", "all_linear"])
def test_a_sealed_folder_read_by_peft_gives_the_same_logits(
    tiny: TinyModels, tmp_path: Path, member: str, rank: int, targets: str
) -> None:
    from peft import PeftModel

    model: Any = tiny.load(member)
    deltas = random_deltas(model, modules_of(model, targets), rank=rank, seed=rank)
    patch = seal(model, tmp_path, deltas, rank=rank, alpha=2.5 * rank)
    batch = batch_of(model)
    base = raw_logits(model.module, batch)
    with model.applied(patch):
        ours = raw_logits(model.module, batch)
    theirs = PeftModel.from_pretrained(model.training_copy().module, str(patch.root)).eval()
    torch.testing.assert_close(ours, raw_logits(theirs, batch), rtol=TOLERANCE, atol=TOLERANCE)
    assert (ours - base).abs().max() > 100 * TOLERANCE


@MEMBERS
def test_layers_that_peft_injects_give_the_same_logits(tiny: TinyModels, tmp_path: Path, member: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    model: Any = tiny.load(member)
    names = modules_of(model, "query_value")
    deltas = random_deltas(model, names, rank=4)
    twin = model.training_copy().module
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=8, target_modules=list(names), bias="none"), twin)
    with torch.no_grad():
        for name, (a, b) in deltas.items():
            layer = twin.get_submodule(name)
            layer.lora_A["default"].weight.copy_(torch.from_numpy(a))
            layer.lora_B["default"].weight.copy_(torch.from_numpy(b))
    batch = batch_of(model)
    with model.applied(seal(model, tmp_path, deltas, rank=4, alpha=8.0)):
        ours = raw_logits(model.module, batch)
    torch.testing.assert_close(ours, raw_logits(twin.eval(), batch), rtol=TOLERANCE, atol=TOLERANCE)


def test_generated_text_is_the_same_as_peft_s(tiny: TinyModels, tmp_path: Path) -> None:
    from peft import PeftModel

    model: Any = tiny.load("llama")
    patch = seal(model, tmp_path, random_deltas(model, modules_of(model, "query_value"), scale=1.0))
    texts = [s.text for s in generation_samples(4)]
    with model.applied(patch):
        ours = model.predict(texts).outputs
    theirs = PeftModel.from_pretrained(model.training_copy().module, str(patch.root)).eval()
    for text, answer in zip(texts, ours, strict=True):
        prompt = torch.tensor(model.encode([text]))
        ids = theirs.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False
        )
        assert model.tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True).strip() == answer


@MEMBERS
def test_the_exact_sum_equals_peft_s_cat(tiny: TinyModels, tmp_path: Path, member: str) -> None:
    from peft import PeftModel

    model: Any = tiny.load(member)
    names, weights = modules_of(model, "query_value"), [0.7, 0.3]
    patches = [
        seal(model, tmp_path, random_deltas(model, names, rank=rank, seed=rank), rank=rank, alpha=3.0 * rank)
        for rank in (2, 8)
    ]
    composed = exact_sum("sum", [load_adapter(p) for p in patches], weights)
    batch = batch_of(model)
    with model.applied_adapter(composed.to_adapter(), "sum"):
        ours = raw_logits(model.module, batch)
    theirs = PeftModel.from_pretrained(model.training_copy().module, str(patches[0].root), adapter_name="a")
    theirs.load_adapter(str(patches[1].root), adapter_name="b")
    theirs.add_weighted_adapter(["a", "b"], weights, adapter_name="both", combination_type="cat")
    theirs.set_adapter("both")
    torch.testing.assert_close(ours, raw_logits(theirs.eval(), batch), rtol=TOLERANCE, atol=TOLERANCE)


@MEMBERS
def test_merging_the_update_into_the_weights_gives_the_same_logits(
    tiny: TinyModels, tmp_path: Path, member: str
) -> None:
    model: Any = tiny.load(member)
    deltas = random_deltas(model, modules_of(model, "all_linear"), rank=4)
    batch = batch_of(model)
    with model.applied(seal(model, tmp_path, deltas, rank=4, alpha=6.0)):
        ours = raw_logits(model.module, batch)
    merged = model.training_copy().module
    with torch.no_grad():
        for name, (a, b) in deltas.items():
            merged.get_submodule(name).weight += torch.from_numpy(np.float32(6.0 / 4) * (b @ a))
    torch.testing.assert_close(ours, raw_logits(merged, batch), rtol=1e-4, atol=1e-4)
