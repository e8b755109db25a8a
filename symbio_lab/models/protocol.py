"""What every model of the lab can do, whatever its task type.

Rules:
    1. ``predict`` is pure: same texts, same active patch, same bytes out; texts are batched by length.
    2. ``applied(patch)`` is the only way to patch; leaving the context restores the base bit for bit.
    3. ``weights_digest`` hashes the live parameters, so a test can prove rule 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from symbio_lab.records import Patch, TaskType


@dataclass(frozen=True, slots=True)
class Predictions:
    """Outputs for N samples, in input order."""

    outputs: tuple[str, ...]
    """Label names or generated texts, (N,)."""
    confidences: tuple[float, ...]
    """Softmax of the top label, or mean token probability, (N,), in [0, 1]."""
    num_tokens: int
    """Tokens processed, padding excluded."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.outputs)


class PatchableModel(Protocol):
    """A loaded base model."""

    task_type: TaskType
    model_id: str
    """Hub id, path name or scenario name."""
    digest: str
    """Root digest of weights, configuration and tokenizer files, 64 hex."""
    dtype: str
    device: str
    module: Any
    """The torch module; its parameters never change."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names of the head, in order; empty for generation."""

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""

    @property
    def num_parameters(self) -> int:
        """Number of parameters that multiply activations (embeddings excluded)."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each input."""

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Answer each text with the active patch, or the base."""

    def applied(self, patch: Patch | None) -> AbstractContextManager[None]:
        """Apply a verified patch for the duration of the context; None applies nothing."""

    def applied_adapter(self, adapter: Any, name: str) -> AbstractContextManager[None]:
        """Apply loaded tensors that were never sealed; only surgery uses it, to choose between its own trials."""

    def check_adapter(self, adapter: Any, name: str) -> None:
        """Raise ``PatchApplyError`` unless loaded tensors can be applied."""

    def weights_digest(self) -> str:
        """Return the SHA-256 of all live parameters, 64 hex."""

    def forget(self) -> None:
        """Drop cached activations, so that arms compared by time start alike."""

    def apart(self) -> PatchableModel:
        """Return the same network with cached activations of its own, which ``forget`` here does not drop."""

    def is_correct(self, output: str, expected: str) -> bool:
        """Judge one output (label equality or exact match)."""


def count_tokens(model: PatchableModel, texts: Sequence[str]) -> int:
    """Return the number of input tokens of all texts together."""
    return sum(len(ids) for ids in model.encode(texts)) if texts else 0
