"""Text classifiers: a frozen network, a linear head with named rows, and patches on top.

Rules:
    1. The head is the network's last linear module; its input is the feature vector (N, D).
    2. Rows added by a patch are appended after the base's rows and keyed by label name; the base's rows are
       immutable, and a label without a row cannot be predicted.
    3. A patch that names a row which the base already has is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from symbio_lab.errors import BaseMismatchError, ModelError, PatchApplyError, WrongTaskError
from symbio_lab.models.adapters import LoadedAdapter, applied_deltas, check_fits, load_adapter
from symbio_lab.models.batching import length_sorted_batches
from symbio_lab.models.digests import parameters_digest
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Patch, TaskType

MAX_LENGTH = 128
"""Tokens kept of each text."""


class PooledClassifier(nn.Module):
    """A sentence encoder, mean pooling to unit length, and a linear head."""

    def __init__(self, encoder: nn.Module, num_features: int, num_labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(num_features, num_labels)

    def pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the mean of the real tokens' states, scaled to unit length, (N, D)."""
        mask = attention_mask[:, :, None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
        return nn.functional.normalize(mean, dim=1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits, (N, C)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.classifier(self.pool(hidden, attention_mask))


class TextClassifier:
    """A base classifier that verified patches can be applied to."""

    task_type: TaskType = "text_classification"

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Any,
        labels: Sequence[str],
        *,
        head_name: str,
        model_id: str,
        digest: str,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        """Wrap a loaded network.

        Args:
            module: network whose module ``head_name`` is the linear head; called with ``input_ids`` and
                ``attention_mask``.
            tokenizer: a Hugging Face fast tokenizer.
            labels: names of the head's rows, (C,).
            head_name: path of the head module.
            model_id: shown in records.
            digest: root digest of the files, 64 hex.
            device: torch device.
            dtype: torch dtype name; recorded with every result.
        """
        self.module = module.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.head_name = head_name
        self.model_id = model_id
        self.digest = digest
        self.device = device
        self.dtype = dtype
        self._labels = tuple(labels)
        self._active: LoadedAdapter | None = None
        if len(set(self._labels)) != self.head.out_features:
            raise ModelError(
                f"{model_id}: {self.head.out_features} head rows but {len(set(self._labels))} distinct labels",
                hint="give one distinct label name for each head row",
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names: the base's rows, then the active patch's."""
        return self._labels + (self._active.row_labels if self._active else ())

    @property
    def head(self) -> nn.Linear:
        """The linear head of the base."""
        head = self.module.get_submodule(self.head_name)
        if not isinstance(head, nn.Linear):
            raise ModelError(f"{self.model_id}: {self.head_name} is not a linear head", hint="name the linear head")
        return head

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return int(
            getattr(getattr(getattr(self.module, "encoder", self.module), "config", None), "num_hidden_layers", 1)
        )

    @property
    def num_parameters(self) -> int:
        """Parameters that multiply activations: all but the embedding tables."""
        return sum(p.numel() for n, p in self.module.named_parameters() if "embeddings" not in n)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of each text, cut at ``MAX_LENGTH``."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
        return [list(i) for i in ids]

    def pad(self, encoded: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask, (N, L) each, padded to the longest."""
        longest = max(len(ids) for ids in encoded)
        fill = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*i, *[fill] * (longest - len(i))] for i in encoded], device=self.device)
        mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in encoded], device=self.device)
        return ids, mask

    def _forward(self, encoded: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, D) and logits (N, C + R) for one batch with the active patch."""
        captured: list[torch.Tensor] = []

        def keep(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            captured.append(inputs[0])

        handle = self.head.register_forward_pre_hook(keep)
        try:
            ids, mask = self.pad(encoded)
            output = self.module(input_ids=ids, attention_mask=mask)
        finally:
            handle.remove()
        logits, features = getattr(output, "logits", output), captured[0]
        if features.dim() != 2:
            raise WrongTaskError(
                f"{self.model_id}: its head reads every token, not one vector a text",
                hint="use an encoder classifier; decoder classification heads are not supported",
            )
        if self._active and self._active.row_weight is not None:
            rows = nn.functional.linear(features, self._active.row_weight, self._active.row_bias)
            logits = torch.cat([logits, rows], dim=1)
        return features, logits

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Return features (N, D), logits (N, C) in float32 on the CPU, and the number of tokens."""
        encoded = self.encode(texts)
        width = len(self.labels)
        features = torch.zeros(len(encoded), self.head.in_features)
        logits = torch.zeros(len(encoded), width)
        for batch in length_sorted_batches([len(i) for i in encoded]):
            batch_features, batch_logits = self._forward([encoded[i] for i in batch])
            features[batch] = batch_features.float().cpu()
            logits[batch] = batch_logits.float().cpu()
        return features, logits, sum(len(i) for i in encoded)

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the top label and its softmax for each text."""
        if not texts:
            return Predictions((), (), 0)
        _, logits, num_tokens = self.logits(texts)
        confidence, index = torch.softmax(logits, dim=1).max(dim=1)
        names = self.labels
        return Predictions(tuple(names[i] for i in index.tolist()), tuple(confidence.tolist()), num_tokens)

    def is_correct(self, output: str, expected: str) -> bool:
        """Return whether the label is the gold label."""
        return output == expected

    @contextmanager
    def applied(self, patch: Patch | None) -> Iterator[None]:
        """Apply a verified patch; None applies nothing.

        Raises:
            BaseMismatchError: the patch was made for another base.
            WrongTaskError: it serves another task type.
            PatchApplyError: it does not fit, renames an existing row, or a patch is already active.
            TrustError: its files changed since verification.
        """
        if patch is None:
            yield
            return
        if self._active is not None:
            raise PatchApplyError("a patch is already active", hint="compose patches first, then apply the result")
        manifest = patch.manifest
        if manifest.task_type != self.task_type:
            raise WrongTaskError(f"{patch.patch_id} is for {manifest.task_type}, the model for {self.task_type}")
        if manifest.base_digest != self.digest:
            raise BaseMismatchError(
                f"{patch.patch_id} was made for base {manifest.base_digest[:12]}, not {self.digest[:12]}"
            )
        with self.applied_adapter(
            load_adapter(patch, dtype=self.head.weight.dtype, device=self.device), patch.patch_id
        ):
            yield

    @contextmanager
    def applied_adapter(self, adapter: LoadedAdapter, name: str) -> Iterator[None]:
        """Apply tensors that are already loaded (the trained, unsealed form used inside surgery)."""
        check_fits(self.module, adapter, name)
        clash = sorted(set(adapter.row_labels) & set(self._labels))
        if clash:
            raise PatchApplyError(f"{name} would replace the base's own row(s) {', '.join(clash[:5])}")
        if adapter.row_weight is not None and adapter.row_weight.shape[1] != self.head.in_features:
            raise PatchApplyError(
                f"{name}: head rows of width {adapter.row_weight.shape[1]}, not {self.head.in_features}"
            )
        self._active = adapter
        try:
            with applied_deltas(self.module, adapter):
                yield
        finally:
            self._active = None

    def features(self, encoded: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, D) and the base's logits (N, C) of one batch, with gradients where they flow."""
        return self._forward(encoded)

    def training_copy(self) -> TextClassifier:
        """Return a model with its own copy of the network, for surgery; the base is never trained."""
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module)
        return twin

    def weights_digest(self) -> str:
        """Return the SHA-256 of all live parameters."""
        return parameters_digest(self.module)
