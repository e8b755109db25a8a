"""The gradient of the loss on a set of failures by the weights of many modules, from one backward pass.

A frozen module's weights have no gradient, so a zero is added to its output: the gradient of that zero, D (tokens,
out), times the module's inputs, H (tokens, in), is the gradient by the weights, D^T H, whatever the module's own
layout. Nothing of the model is written or switched.

References:
    Goodfellow (2015), "Efficient Per-Example Gradient Computations", arXiv 1510.01799, section 4 (gradients of weights
    from those of outputs). Differs from the paper: summed over the failures, not one for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from symbio_lab.errors import ModelError
from symbio_lab.records import Sample

if TYPE_CHECKING:
    import torch

    from symbio_lab.models.adapters import LoadedAdapter
    from symbio_lab.models.classifier import TextClassifier
    from symbio_lab.models.generator import TextGenerator
    from symbio_lab.models.protocol import PatchableModel


@dataclass(frozen=True)
class FailureGradient:
    """What one pass over the failures tells of a model."""

    by_weight: Mapping[str, torch.Tensor]
    """Module -> gradient of the mean loss, (out, in)."""
    input_moment: Mapping[str, torch.Tensor]
    """Module -> mean of h h^T over the tokens, h at unit length, (in, in)."""
    loss: float
    """Mean loss of the base, in nats."""
    features: torch.Tensor | None = None
    """Base features of the failures, (N, D); None for generators."""
    logits: torch.Tensor | None = None
    """Base logits, (N, C)."""
    gold: tuple[str, ...] = ()
    """Gold labels, (N,)."""
    labels: tuple[str, ...] = ()
    """Labels of the base's rows, (C,)."""

    def row_gain(self, adapter: LoadedAdapter) -> float:
        """Return by how much an adapter's head rows lower the mean loss on the base's features; 0 without rows."""
        if adapter.row_weight is None or self.features is None or self.logits is None:
            return 0.0
        import torch

        bias = adapter.row_bias
        rows = torch.nn.functional.linear(
            self.features, adapter.row_weight.float(), None if bias is None else bias.float()
        )
        before = _loss(self.logits, self.labels, self.gold)
        after = _loss(torch.cat([self.logits, rows], dim=1), (*self.labels, *adapter.row_labels), self.gold)
        return float(before - after)


@dataclass
class _Probe:
    """What was caught at one module in one pass."""

    inputs: list[torch.Tensor] = field(default_factory=list)
    zeros: list[torch.Tensor] = field(default_factory=list)


def failure_gradient(
    model: PatchableModel, failures: Sequence[Sample], modules: Sequence[str], *, batch_size: int = 32
) -> FailureGradient:
    """Return the gradient of the mean loss on ``failures`` by the weights of ``modules``.

    Args:
        model: the failing base, unpatched.
        failures: with their gold answers, (N,), N > 0.
        modules: full names of linear modules.
        batch_size: failures in one pass.

    Raises:
        ModelError: a model of a kind that has no loss here.
    """
    import torch

    from symbio_lab.models.classifier import TextClassifier
    from symbio_lab.models.generator import TextGenerator

    if not isinstance(model, TextClassifier | TextGenerator):
        raise ModelError(f"no loss is known for a {type(model).__name__}")
    sums: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}
    num_tokens = dict.fromkeys(modules, 0)
    total = 0.0
    features: list[torch.Tensor] = []
    logits: list[torch.Tensor] = []
    reference = _reference_rows(model, failures) if isinstance(model, TextClassifier) else None
    for start in range(0, len(failures), batch_size):
        batch = failures[start : start + batch_size]
        with torch.enable_grad(), _probed(model.module, modules) as probes:
            if isinstance(model, TextClassifier):
                loss, lengths = _classifier_loss(model, batch, reference, features, logits)
            else:
                loss, lengths = _generator_loss(model, batch)
            zeros = [zero for probe in probes.values() for zero in probe.zeros]
            found = iter(torch.autograd.grad(loss, zeros, allow_unused=True) if zeros else ())
        total += float(loss.detach())
        for name, probe in probes.items():
            for inputs, zero in zip(probe.inputs, probe.zeros, strict=True):
                change = next(found)
                rows = inputs.reshape(-1, inputs.shape[-1]).double().cpu()
                out = (torch.zeros_like(zero) if change is None else change).reshape(-1, zero.shape[-1]).double().cpu()
                sums[name] = sums.get(name, 0.0) + out.T @ rows
                real = rows[_real_tokens(inputs, lengths)]
                units = torch.nn.functional.normalize(real, dim=1)
                moments[name] = moments.get(name, 0.0) + units.T @ units
                num_tokens[name] += len(real)
    num = len(failures)
    return FailureGradient(
        by_weight={name: value / num for name, value in sums.items()},
        input_moment={name: value / max(num_tokens[name], 1) for name, value in moments.items()},
        loss=total / num,
        features=torch.cat(features) if features else None,
        logits=torch.cat(logits) if logits else None,
        gold=tuple(sample.expected for sample in failures),
        labels=tuple(model.labels),
    )


@contextmanager
def _probed(network: torch.nn.Module, modules: Sequence[str]) -> Iterator[dict[str, _Probe]]:
    """Add a zero with a gradient to each module's output, and keep its inputs."""
    import torch

    found = dict(network.named_modules())
    probes = {name: _Probe() for name in modules}
    handles = []
    for name in modules:

        def add(
            _module: torch.nn.Module,
            inputs: tuple[torch.Tensor, ...],
            output: torch.Tensor,
            probe: _Probe = probes[name],
        ) -> torch.Tensor:
            zero = torch.zeros_like(output, requires_grad=True)
            probe.inputs.append(inputs[0].detach())
            probe.zeros.append(zero)
            return output + zero

        handles.append(found[name].register_forward_hook(add))
    try:
        yield probes
    finally:
        for handle in handles:
            handle.remove()


def _classifier_loss(
    model: TextClassifier,
    batch: Sequence[Sample],
    reference: tuple[tuple[str, ...], torch.Tensor, torch.Tensor] | None,
    features: list[torch.Tensor],
    logits: list[torch.Tensor],
) -> tuple[torch.Tensor, list[int]]:
    """Return the summed loss of a batch, and the number of tokens of each text."""
    import torch

    encoded = model.encode([sample.text for sample in batch])
    found, scores = model.features(encoded)
    features.append(found.detach().float().cpu())
    logits.append(scores.detach().float().cpu())
    labels = tuple(model.labels)
    if reference is not None:
        names, weight, bias = reference
        scores = torch.cat([scores, torch.nn.functional.linear(found, weight.to(found), bias.to(found))], dim=1)
        labels += names
    loss = _loss(scores, labels, tuple(sample.expected for sample in batch)) * len(batch)
    return loss, [len(ids) for ids in encoded]


def _generator_loss(model: TextGenerator, batch: Sequence[Sample]) -> tuple[torch.Tensor, list[int]]:
    prompts = model.encode([sample.text for sample in batch])
    answers = [model.encode_answer(sample.expected) for sample in batch]
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    return model.token_loss(prompts, answers) * len(batch), lengths


def _reference_rows(
    model: TextClassifier, failures: Sequence[Sample]
) -> tuple[tuple[str, ...], torch.Tensor, torch.Tensor] | None:
    """Return a row for each gold label that the base lacks, from the failures alone; None where it lacks none."""
    import torch

    lacking = tuple(sorted({sample.expected for sample in failures} - set(model.labels)))
    if not lacking:
        return None
    features, _, _ = model.logits([sample.text for sample in failures])
    weight, bias = model.head.weight.detach().float().cpu(), model.head.bias
    length = weight.norm(dim=1).mean()
    means = [
        features[[i for i, sample in enumerate(failures) if sample.expected == label]].mean(dim=0) for label in lacking
    ]
    rows = torch.nn.functional.normalize(torch.stack(means), dim=1) * length
    level = float(bias.detach().float().mean()) if bias is not None else 0.0
    return lacking, rows, torch.full((len(lacking),), level)


def _loss(logits: torch.Tensor, labels: Sequence[str], gold: Sequence[str]) -> torch.Tensor:
    """Return the mean cross-entropy; a gold label without a row scores as the lowest row does."""
    import torch

    index = {label: i for i, label in enumerate(labels)}
    scores = logits.float()
    lowest = scores.min(dim=1).values
    picked = torch.stack(
        [scores[row, index[label]] if label in index else lowest[row] for row, label in enumerate(gold)]
    )
    return (torch.logsumexp(scores, dim=1) - picked).mean()


def _real_tokens(inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Return which of the flattened inputs belong to a text and not to its padding."""
    import torch

    if inputs.dim() != 3 or inputs.shape[0] != len(lengths):
        return torch.ones(inputs.reshape(-1, inputs.shape[-1]).shape[0], dtype=torch.bool)
    places = torch.arange(inputs.shape[1])[None, :]
    return (places < torch.tensor(lengths)[:, None]).reshape(-1)
