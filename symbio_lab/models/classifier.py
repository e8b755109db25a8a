"""Text classifiers: a frozen network, a linear head with named rows, and patches on top.

Rules:
    1. The head is the network's last linear module; its input is the feature vector (N, D).
    2. Rows added by a patch are appended after the base's rows and keyed by label name; the base's rows are
       immutable, and a label without a row cannot be predicted.
    3. A patch that names a row which the base already has is refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from symbio_lab.errors import ModelError, PatchApplyError, WrongTaskError
from symbio_lab.models.adapters import LoadedAdapter, applied_deltas, check_fits, check_serves, load_adapter
from symbio_lab.models.batching import length_sorted_batches
from symbio_lab.models.digests import parameters_digest
from symbio_lab.models.pooled import KEPT_BELOW_TOP, CachedTexts, PooledClassifier, PrefixCache
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Patch, TaskType

MAX_LENGTH = 128
"""Tokens kept of each text, at most."""
_LAYER = re.compile(r"^encoder\.encoder\.layer\.(\d+)\.")


def _layer_of(module_name: str, num_layers: int) -> int:
    """Return the layer that a module belongs to; 0, the safe answer, for modules outside the layers."""
    found = _LAYER.match(module_name)
    return min(int(found.group(1)), num_layers) if found else 0


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
        self._prefixes = PrefixCache()
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
    def is_patched(self) -> bool:
        """Whether a patch is active."""
        return self._active is not None

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
        return int(self._configured("num_hidden_layers", 1))

    @property
    def max_length(self) -> int:
        """Tokens kept of each text: ``MAX_LENGTH``, or fewer where the network has fewer positions."""
        return min(MAX_LENGTH, int(self._configured("max_position_embeddings", MAX_LENGTH)))

    def _configured(self, name: str, default: int) -> int:
        """Return a number of the network's Hugging Face configuration, wherever the network keeps it."""
        found: int = getattr(getattr(getattr(self.module, "encoder", self.module), "config", None), name, default)
        return found

    @property
    def num_parameters(self) -> int:
        """Parameters that multiply activations: all but the embedding tables."""
        return sum(p.numel() for n, p in self.module.named_parameters() if "embeddings" not in n)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of each text, cut at ``max_length``."""
        if not texts:
            return []
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
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
        ids, mask = self.pad(encoded)
        return self._captured(lambda: self.module(input_ids=ids, attention_mask=mask))

    def _captured(self, run: Callable[[], Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Run something that ends in the head; return the head's input and the logits of all rows."""
        captured: list[torch.Tensor] = []

        def keep(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            captured.append(inputs[0])

        handle = self.head.register_forward_pre_hook(keep)
        try:
            output = run()
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

    def first_changed_layer(self, adapter: LoadedAdapter | None) -> int:
        """Return the lowest layer whose output a patch changes; the number of layers for none."""
        if adapter is None:
            return self.num_layers
        return min(
            (_layer_of(n, self.num_layers) for n in adapter.deltas if n != self.head_name), default=self.num_layers
        )

    def _shared(
        self, module: PooledClassifier, encoded: Sequence[Sequence[int]], number: int, cached: CachedTexts
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one batch from the highest cached state that the active patch leaves as it is."""
        top, first = len(module.layers), self.first_changed_layer(self._active)
        if first >= top and number in cached.features:
            known = cached.features[number]
            return self._captured(lambda: module.classifier(known))
        ids, mask = self.pad(encoded)
        below, found = cached.lowest(number, first)
        states = module.embed(ids) if found is None else found
        for layer in range(below, top):
            if layer <= first and top - layer in KEPT_BELOW_TOP:
                cached.states[number, layer] = states
            states = module.run_layer(layer, states, mask)
        pooled = module.pool(states, mask)
        if first >= top:
            cached.features[number] = pooled
        return self._captured(lambda: module.classifier(pooled))

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Return features (N, D), logits (N, C) in float32 on the CPU, and the number of tokens."""
        encoded = self.encode(texts)
        features = torch.zeros(len(encoded), self.head.in_features)
        logits = torch.zeros(len(encoded), len(self.labels))
        cached = self._prefixes.entry(texts)
        for number, batch in enumerate(length_sorted_batches([len(i) for i in encoded])):
            rows = [encoded[i] for i in batch]
            if isinstance(self.module, PooledClassifier):
                batch_features, batch_logits = self._shared(self.module, rows, number, cached)
            else:
                batch_features, batch_logits = self._forward(rows)
            features[batch] = batch_features.float().cpu()
            logits[batch] = batch_logits.float().cpu()
        self._prefixes.trim()
        return features, logits, sum(len(i) for i in encoded)

    def forget(self) -> None:
        """Drop cached activations: the next prediction computes everything anew."""
        self._prefixes.clear()

    def apart(self) -> TextClassifier:
        """Return the same network with cached activations of its own; neither is used while the other is patched."""
        twin = copy.copy(self)
        twin._prefixes = PrefixCache()
        return twin

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
        check_serves(patch, task_type=self.task_type, base_digest=self.digest)
        with self.applied_adapter(
            load_adapter(patch, dtype=self.head.weight.dtype, device=self.device), patch.patch_id
        ):
            yield

    @contextmanager
    def applied_adapter(self, adapter: LoadedAdapter, name: str) -> Iterator[None]:
        """Apply tensors that are already loaded (the trained, unsealed form used inside surgery).

        Raises:
            PatchApplyError: they do not fit, rename an existing row, or a patch is already active.
        """
        if self._active is not None:
            raise PatchApplyError("a patch is already active", hint="compose patches first, then apply the result")
        self.check_adapter(adapter, name)
        adapter = adapter.to(dtype=self.head.weight.dtype, device=self.device)
        self._active = adapter
        try:
            with applied_deltas(self.module, adapter):
                yield
        finally:
            self._active = None

    def check_adapter(self, adapter: LoadedAdapter, name: str) -> None:
        """Raise unless loaded tensors can be applied.

        Raises:
            PatchApplyError: they do not fit, or rename an existing row.
        """
        check_fits(self.module, adapter, name)
        clash = sorted(set(adapter.row_labels) & set(self._labels))
        if clash:
            raise PatchApplyError(f"{name} would replace the base's own row(s) {', '.join(clash[:5])}")
        if adapter.row_weight is not None and adapter.row_weight.shape[1] != self.head.in_features:
            raise PatchApplyError(
                f"{name}: head rows of width {adapter.row_weight.shape[1]}, not {self.head.in_features}"
            )

    def features(self, encoded: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, D) and the base's logits (N, C) of one batch, with gradients where they flow."""
        return self._forward(encoded)

    def training_copy(self) -> TextClassifier:
        """Return a model with its own copy of the network, for surgery; the base is never trained."""
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module)
        twin._prefixes = PrefixCache()
        return twin

    def prefix_states(self, texts: Sequence[str], below: int) -> list[torch.Tensor] | None:
        """Return each text's states below layer ``below``, (L, D) each; None where the network has no such cut.

        Training that adapts upper layers only starts from these, so the frozen prefix runs once a text.
        """
        if not isinstance(self.module, PooledClassifier) or below <= 0:
            return None
        encoded = self.encode(texts)
        states: list[torch.Tensor] = [torch.empty(0)] * len(encoded)
        with torch.no_grad():
            for batch in length_sorted_batches([len(i) for i in encoded]):
                ids, mask = self.pad([encoded[i] for i in batch])
                hidden = self.module.embed(ids)
                for layer in range(below):
                    hidden = self.module.run_layer(layer, hidden, mask)
                for row, index in enumerate(batch):
                    states[index] = hidden[row, : len(encoded[index])].clone()
        return states

    def features_above(self, states: Sequence[torch.Tensor], below: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (N, D) and the base's logits (N, C) from ``prefix_states``, with gradients."""
        module = self.module
        if not isinstance(module, PooledClassifier):
            raise ModelError(f"{self.model_id} cannot be run from its middle", hint="use features() instead")
        hidden = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        lengths = torch.tensor([len(s) for s in states], device=self.device)
        mask = (torch.arange(hidden.shape[1], device=self.device)[None, :] < lengths[:, None]).long()
        return self._captured(lambda: module.finish(hidden, mask, below))

    def weights_digest(self) -> str:
        """Return the SHA-256 of all live parameters."""
        return parameters_digest(self.module)
