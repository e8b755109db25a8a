"""Training of low-rank adapters by peft on a copy of the base, for classifiers and generators alike.

Rules:
    1. The base's weights and head rows are frozen; only A, B and new head rows are trained.
    2. The initial A comes from the seed's own generator, B is zero; batches are drawn from the same seed.
    3. The number of steps is fixed before the first step, so its cost is charged before the work.

References:
    Hu et al. 2022, LoRA, section 4. Differs from the paper: no dropout (runs last seconds), new head rows
    are trained along at their own rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from symbio_lab.budget import CostMeter, lora_step_cost
from symbio_lab.errors import EmptySliceError, PatchApplyError
from symbio_lab.models.adapters import layer_sizes
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.generator import TextGenerator
from symbio_lab.models.operated import HeadRows, Operated
from symbio_lab.models.protocol import PatchableModel, count_tokens
from symbio_lab.records import Sample
from symbio_lab.seeding import numpy_generator, torch_generator
from symbio_lab.surgery.protocol import label_index, new_labels
from symbio_lab.surgery.prototype_rows import prototype_head

_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h|block)\.(\d+)\.")
_QUERY_VALUE = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "c_attn", "query_key_value")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Hyper-parameters of one training run, the same for every arm of a comparison."""

    rank: int = 8
    alpha: float = 16.0
    targets: str = "query_value"
    """``query_value`` or ``all_linear``."""
    top_layers: int | None = None
    """Adapt only this many upper layers; None adapts all."""
    learning_rate: float = 1e-3
    row_learning_rate: float = 0.05
    """Rate of new head rows, in AdamW."""
    epochs: int = 10
    min_steps: int = 40
    """Small repair sets are repeated until this many steps."""
    batch_size: int = 16
    replay_ratio: float = 1.0
    """Replay samples drawn for each repair sample in an epoch; 0 uses none."""


def target_modules(module: nn.Module, settings: LoraSettings, *, exclude: str = "") -> tuple[str, ...]:
    """Return the full names of the linear modules to adapt, sorted.

    Raises:
        PatchApplyError: the network has none of them.
    """
    linear = {
        name: int(found.group(1))
        for name, child in module.named_modules()
        if layer_sizes(child) is not None and name != exclude and (found := _LAYER.search(name))
    }
    if settings.targets == "query_value":
        linear = {n: layer for n, layer in linear.items() if n.rsplit(".", 1)[-1] in _QUERY_VALUE}
    if not linear:
        raise PatchApplyError("the network has no layered linear modules to adapt", hint="use targets='all_linear'")
    first = 0 if settings.top_layers is None else max(max(linear.values()) + 1 - settings.top_layers, 0)
    return tuple(sorted(name for name, layer in linear.items() if layer >= first))


def plan_steps(num_repair: int, settings: LoraSettings) -> tuple[int, int, int]:
    """Return (epochs, repair and replay samples an epoch, samples in all)."""
    per_epoch = num_repair + round(settings.replay_ratio * num_repair)
    steps = math.ceil(per_epoch / settings.batch_size)
    epochs = max(settings.epochs, math.ceil(settings.min_steps / steps))
    return epochs, per_epoch, epochs * per_epoch


def training_forwards(model: PatchableModel, num_repair: int, num_replay: int, settings: LoraSettings) -> float:
    """Return the forwards-equivalent of a training run, initial features included."""
    settings = settings if num_replay else replace(settings, replay_ratio=0.0)
    first = 0 if settings.top_layers is None else max(model.num_layers - settings.top_layers, 0)
    samples = plan_steps(num_repair, settings)[2]
    prefix = (num_repair + num_replay) * first / model.num_layers
    return samples * lora_step_cost(model.num_layers, first, first > 0) + (num_repair + num_replay) + prefix


def train_lora(
    name: str,
    model: PatchableModel,
    repair: Sequence[Sample],
    replay: Sequence[Sample],
    settings: LoraSettings,
    *,
    seed: int,
    meter: CostMeter,
) -> Operated:
    """Return trained low-rank deltas, with new head rows where the repair samples bring new labels.

    Raises:
        EmptySliceError: no repair samples.
        UnknownLabelsError: replay carries a label that neither the model nor ``repair`` has.
        PatchApplyError: the network has none of the modules to adapt.
        BudgetExceededError: the run does not fit; nothing was done.
        HealingTimeoutError: the wall limit was reached.
    """
    if not repair:
        raise EmptySliceError(f"{name} needs repair samples")
    # Everything that can be refused is refused before the budget is charged.
    target_modules(model.module, settings, exclude=_head_of(model))
    if isinstance(model, TextClassifier):
        label_index(model, new_labels(model, repair), replay)
    texts = [s.text for s in (*repair, *replay)]
    forwards = training_forwards(model, len(repair), len(replay), settings)
    meter.charge_forwards(1, weight=forwards, num_tokens=round(count_tokens(model, texts) / len(texts)))
    if isinstance(model, TextClassifier):
        return _train_classifier(name, model, repair, replay, settings, seed, meter)
    if isinstance(model, TextGenerator):
        return _train_generator(name, model, repair, replay, settings, seed, meter)
    raise EmptySliceError(f"{name} cannot train a {type(model).__name__}")


def _head_of(model: PatchableModel) -> str:
    return model.head_name if isinstance(model, TextClassifier) else "lm_head"


def _inject(module: nn.Module, settings: LoraSettings, targets: tuple[str, ...], seed: int) -> list[nn.Parameter]:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(targets),
        lora_dropout=0.0,
        bias="none",
        # GPT-2's layers keep their weights the other way round.
        fan_in_fan_out=not isinstance(module.get_submodule(targets[0]), nn.Linear),
    )
    inject_adapter_in_model(config, module)
    generator = torch_generator(seed, "lora_init")
    trained: list[nn.Parameter] = []
    for key, parameter in module.named_parameters():
        parameter.requires_grad_("lora_" in key)
        if "lora_A" in key:
            initial = torch.empty(parameter.shape)
            nn.init.kaiming_uniform_(initial, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(initial)
        if "lora_" in key:
            trained.append(parameter)
    return trained


def _collect(module: nn.Module, targets: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for target in targets:
        layer: Any = module.get_submodule(target)
        a, b = (side["default"].weight.detach().float().cpu().numpy() for side in (layer.lora_A, layer.lora_B))
        found[target] = (np.ascontiguousarray(a), np.ascontiguousarray(b))
    return found


def _epochs(repair: Sequence[Sample], replay: Sequence[Sample], settings: LoraSettings, seed: int) -> Any:
    """Yield the batches of every epoch, drawn from the seed."""
    rng = numpy_generator(seed, "batches")
    ratio = settings.replay_ratio if replay else 0.0
    epochs = plan_steps(len(repair), replace(settings, replay_ratio=ratio))[0]
    wanted = round(ratio * len(repair))
    for _ in range(epochs):
        drawn: list[int] = []
        if wanted:
            drawn = rng.choice(len(replay), size=wanted, replace=wanted > len(replay)).tolist()
        epoch = [*repair, *(replay[i] for i in drawn)]
        order = rng.permutation(len(epoch))
        for start in range(0, len(epoch), settings.batch_size):
            yield [epoch[i] for i in order[start : start + settings.batch_size]]


def _train_classifier(
    name: str,
    model: TextClassifier,
    repair: Sequence[Sample],
    replay: Sequence[Sample],
    settings: LoraSettings,
    seed: int,
    meter: CostMeter,
) -> Operated:
    twin = model.training_copy()
    targets = target_modules(twin.module, settings, exclude=_head_of(model))
    added = new_labels(model, repair)
    index = label_index(model, added, (*repair, *replay))
    groups: list[dict[str, Any]] = []
    weight = bias = None
    if added:
        features, logits, _ = model.logits([s.text for s in repair])
        other, other_logits, _ = model.logits([s.text for s in replay]) if replay else (features, logits, 0)
        start = prototype_head(model, added, features, [s.expected for s in repair], other, other_logits)
        weight = torch.from_numpy(start.weight.copy()).to(model.device).requires_grad_()
        bias = torch.from_numpy(start.bias.copy()).to(model.device).requires_grad_()
        groups.append({"params": [weight, bias], "lr": settings.row_learning_rate})
    trained = _inject(twin.module, settings, targets, seed)
    groups.append({"params": trained, "lr": settings.learning_rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    below = 0 if settings.top_layers is None else max(model.num_layers - settings.top_layers, 0)
    batches = list(_epochs(repair, replay, settings, seed))
    texts = sorted({s.text for batch in batches for s in batch})
    states = twin.prefix_states(texts, below)
    position = {text: i for i, text in enumerate(texts)}
    for batch in batches:
        meter.check_wall()
        if states is None:
            features, logits = twin.features(twin.encode([s.text for s in batch]))
        else:
            features, logits = twin.features_above([states[position[s.text]] for s in batch], below)
        if weight is not None and bias is not None:
            logits = torch.cat([logits, features @ weight.T.to(features.dtype) + bias.to(features.dtype)], dim=1)
        target = torch.tensor([index[s.expected] for s in batch], device=model.device)
        loss = nn.functional.cross_entropy(logits.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    rows = None
    if weight is not None and bias is not None:
        rows = HeadRows(added, weight.detach().cpu().numpy().copy(), bias.detach().cpu().numpy().copy())
    return Operated(name, _collect(twin.module, targets), settings.rank, settings.alpha, rows)


def _train_generator(
    name: str,
    model: TextGenerator,
    repair: Sequence[Sample],
    replay: Sequence[Sample],
    settings: LoraSettings,
    seed: int,
    meter: CostMeter,
) -> Operated:
    twin = model.training_copy()
    targets = target_modules(twin.module, settings, exclude=_head_of(model))
    trained = _inject(twin.module, settings, targets, seed)
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    for batch in _epochs(repair, replay, settings, seed):
        meter.check_wall()
        loss = twin.answer_loss([s.text for s in batch], [s.expected for s in batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return Operated(name, _collect(twin.module, targets), settings.rank, settings.alpha)
