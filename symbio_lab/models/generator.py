"""Text generators: causal language models judged by free-running decoding and exact match.

Rules:
    1. Decoding is greedy and free-running: the model reads its own tokens, never the reference
       (teacher forcing leaks content and length, Yang et al. 2025, arXiv 2502.11177).
    2. A prompt is the sample's text as one user turn of the tokenizer's chat template; without a template it is the
       text and one separator. The answer ends at the end-of-sequence token.
    3. Prompts of one batch have equal length, so no padding can change an answer.
    4. An answer is right when it equals the gold answer up to white space (``match="exact"``), or when it mentions
       the same slots, each as often (``match="slots"``: no slot error, for delexicalised replies).

References:
    Slot errors: Wen et al. 2015, Semantically Conditioned LSTM-based Natural Language Generation, EMNLP, section 4.1
    (ERR = (missing + redundant) / slots). Differs from the paper: an answer counts as right only without any.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from symbio_lab.errors import PatchApplyError, WrongTaskError
from symbio_lab.models.adapters import LoadedAdapter, applied_deltas, check_fits, check_serves, load_adapter
from symbio_lab.models.digests import parameters_digest
from symbio_lab.models.protocol import Predictions
from symbio_lab.records import Patch, TaskType

MAX_BATCH = 128
"""Prompts decoded at once."""
Match = Literal["exact", "slots"]
_SLOT = re.compile(r"\[\s*(\w+)\s*\]")


def slots_of(text: str) -> Counter[str]:
    """Return the slots that a delexicalised reply mentions, with how often.

    >>> slots_of("It leaves [from] at [time], from [from]")["from"]
    2
    """
    return Counter(_SLOT.findall(text))


class TextGenerator:
    """A base causal language model that verified patches can be applied to."""

    task_type: TaskType = "text_generation"

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Any,
        *,
        model_id: str,
        digest: str,
        device: str = "cpu",
        dtype: str = "float32",
        max_new_tokens: int = 64,
        separator: str = " ",
        match: Match = "exact",
    ) -> None:
        """Wrap a loaded causal language model.

        Args:
            module: a Hugging Face causal language model.
            tokenizer: its tokenizer, with an end-of-sequence token.
            model_id: shown in records.
            digest: root digest of the files, 64 hex.
            device: torch device.
            dtype: torch dtype name.
            max_new_tokens: longest answer, in tokens.
            separator: text between prompt and answer where the tokenizer has no chat template.
            match: ``exact``, or ``slots`` for delexicalised replies.
        """
        self.module: Any = module.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.model_id = model_id
        self.digest = digest
        self.device = device
        self.dtype = dtype
        self.max_new_tokens = max_new_tokens
        self.separator = separator
        self.match = match
        self._active = False
        if tokenizer.eos_token_id is None:
            raise WrongTaskError(f"{model_id}: its tokenizer has no end-of-sequence token")

    @property
    def labels(self) -> tuple[str, ...]:
        """Empty: a generator has no label rows."""
        return ()

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return int(getattr(self.module.config, "num_hidden_layers", 1))

    @property
    def num_parameters(self) -> int:
        """Parameters that multiply activations: all but the input embedding table."""
        embedding = self.module.get_input_embeddings()
        return sum(p.numel() for p in self.module.parameters()) - sum(p.numel() for p in embedding.parameters())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt, up to where the answer starts."""
        if not texts:
            return []
        if getattr(self.tokenizer, "chat_template", None):
            turns = [[{"role": "user", "content": text}] for text in texts]
            prompts = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            return [list(i) for i in self.tokenizer(prompts, add_special_tokens=False)["input_ids"]]
        ids = self.tokenizer([t + self.separator for t in texts], add_special_tokens=False)["input_ids"]
        start = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        return [[*start, *i] for i in ids]

    def encode_answer(self, text: str) -> list[int]:
        """Return the token ids of a gold answer, end token included."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the greedy answer to each text and its mean token probability."""
        if not texts:
            return Predictions((), (), 0)
        encoded = self.encode(texts)
        outputs, confidences = [""] * len(encoded), [0.0] * len(encoded)
        num_tokens = 0
        by_length: dict[int, list[int]] = {}
        for index, ids in enumerate(encoded):
            by_length.setdefault(len(ids), []).append(index)
        for length in sorted(by_length):
            group = by_length[length]
            for start in range(0, len(group), MAX_BATCH):
                batch = group[start : start + MAX_BATCH]
                answers, scores = self._decode([encoded[i] for i in batch])
                for index, answer, score in zip(batch, answers, scores, strict=True):
                    outputs[index] = self.tokenizer.decode(answer, skip_special_tokens=True).strip()
                    confidences[index] = score
                    num_tokens += length + len(answer)
        return Predictions(tuple(outputs), tuple(confidences), num_tokens)

    def _decode(self, prompts: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[float]]:
        eos = int(self.tokenizer.eos_token_id)
        ids = torch.tensor(prompts, device=self.device)
        answers: list[list[int]] = [[] for _ in prompts]
        log_probs = torch.zeros(len(prompts), device=self.device)
        alive = torch.ones(len(prompts), dtype=torch.bool, device=self.device)
        cache = None
        for _ in range(self.max_new_tokens):
            out = self.module(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            step = torch.log_softmax(out.logits[:, -1].float(), dim=-1).max(dim=-1)
            log_probs += torch.where(alive, step.values, 0.0)
            for row, (token, counts) in enumerate(zip(step.indices.tolist(), alive.tolist(), strict=True)):
                if counts:
                    answers[row].append(token)
            alive &= step.indices != eos
            if not bool(alive.any()):
                break
            ids = step.indices[:, None]
        scores = [float(torch.exp(log_probs[i] / max(len(a), 1))) for i, a in enumerate(answers)]
        return answers, scores

    def is_correct(self, output: str, expected: str) -> bool:
        """Return whether the answer is right by the model's ``match``."""
        if self.match == "slots":
            return slots_of(output) == slots_of(expected)
        return output.split() == expected.split()

    @contextmanager
    def applied(self, patch: Patch | None) -> Iterator[None]:
        """Apply a verified patch; None applies nothing.

        Raises:
            BaseMismatchError: the patch was made for another base.
            WrongTaskError: it serves another task type.
            PatchApplyError: it does not fit, adds head rows, or a patch is already active.
            TrustError: its files changed since verification.
        """
        if patch is None:
            yield
            return
        check_serves(patch, task_type=self.task_type, base_digest=self.digest)
        dtype = next(self.module.parameters()).dtype
        with self.applied_adapter(load_adapter(patch, dtype=dtype, device=self.device), patch.patch_id):
            yield

    @contextmanager
    def applied_adapter(self, adapter: LoadedAdapter, name: str) -> Iterator[None]:
        """Apply tensors that are already loaded (the trained, unsealed form used inside surgery).

        Raises:
            PatchApplyError: they do not fit, add head rows, or a patch is already active.
        """
        if self._active:
            raise PatchApplyError("a patch is already active", hint="compose patches first, then apply the result")
        self.check_adapter(adapter, name)
        adapter = adapter.to(dtype=next(self.module.parameters()).dtype, device=self.device)
        self._active = True
        try:
            with applied_deltas(self.module, adapter):
                yield
        finally:
            self._active = False

    def check_adapter(self, adapter: LoadedAdapter, name: str) -> None:
        """Raise unless loaded tensors can be applied.

        Raises:
            PatchApplyError: they do not fit, or add head rows.
        """
        if adapter.row_labels:
            raise PatchApplyError(f"{name} adds head rows, which a generator does not have")
        check_fits(self.module, adapter, name)

    def forget(self) -> None:
        """Do nothing: a generator caches no activations between calls."""

    def apart(self) -> TextGenerator:
        """Return the same network; it caches nothing."""
        return self

    def answer_loss(self, texts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        """Return the mean cross-entropy of the gold answers' tokens, with gradients where they flow."""
        return self.token_loss(self.encode(texts), [self.encode_answer(a) for a in answers])

    def token_loss(self, prompts: Sequence[Sequence[int]], gold: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the same from token ids: prompts and answers, (N,) each."""
        longest = max(len(p) + len(a) for p, a in zip(prompts, gold, strict=True))
        fill = int(self.tokenizer.eos_token_id)
        ids, mask, target = [], [], []
        for prompt, answer in zip(prompts, gold, strict=True):
            rest = longest - len(prompt) - len(answer)
            ids.append([*prompt, *answer, *[fill] * rest])
            mask.append([1] * (longest - rest) + [0] * rest)
            target.append([-100] * len(prompt) + [*answer] + [-100] * rest)
        logits = self.module(
            input_ids=torch.tensor(ids, device=self.device), attention_mask=torch.tensor(mask, device=self.device)
        ).logits
        shifted = torch.tensor(target, device=self.device)[:, 1:]
        return nn.functional.cross_entropy(
            logits[:, :-1].float().reshape(-1, logits.shape[-1]), shifted.reshape(-1), ignore_index=-100
        )

    def training_copy(self) -> TextGenerator:
        """Return a model with its own copy of the network, for surgery; the base is never trained."""
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module)
        return twin

    def weights_digest(self) -> str:
        """Return the SHA-256 of all live parameters."""
        return parameters_digest(self.module)
