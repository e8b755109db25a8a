"""The recipe of the embedded generators: a Llama-type decoder of under 1M parameters, trained from scratch.

Rules:
    1. Answers only are learned: the prompt's tokens carry no loss.
    2. Weights, batches and their order come from the seed; the same samples and seed give the same weights on the
       same machine (other machines round differently, so trained bases are shipped or cached with their digest).
    3. Weights are saved in half precision and used in single precision: what is measured is what is shipped.

References:
    Network: Touvron et al. 2023, LLaMA, section 2 (RMSNorm, SwiGLU, rotary positions). Training: Loshchilov and Hutter
    2019, AdamW; warm-up, then cosine decay. Batches are bucketed by length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from symbio_lab.models.generator import TextGenerator
from symbio_lab.records import Sample
from symbio_lab.seeding import numpy_generator, torch_generator

PAD, BOS, EOS, UNKNOWN, ANSWER = "<pad>", "<s>", "</s>", "<unk>", "=>"
CHAT_TEMPLATE = (
    "{{ '" + BOS + " ' }}{% for message in messages %}{{ message['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ANSWER + "' }}{% endif %}"
)
"""The prompt as every user of the saved folder gets it."""
BUCKETS = 16
"""Batches drawn together and sorted by length."""


@dataclass(frozen=True, slots=True)
class CausalRecipe:
    """Settings of one training run."""

    tokenizer: Literal["word", "bpe"] = "word"
    vocabulary_size: int = 2000
    """Of ``bpe``; ``word`` takes every word."""
    hidden_size: int = 128
    intermediate_size: int = 352
    num_layers: int = 3
    num_heads: int = 4
    tie_embeddings: bool = False
    epochs: float = 20.0
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    max_new_tokens: int = 64


def build_tokenizer(recipe: CausalRecipe, samples: Sequence[Sample]) -> Any:
    """Return a fast tokenizer made from the samples' texts and answers, with the prompt format as chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [part for s in samples for part in (s.text, s.expected)]
    special = [PAD, BOS, EOS, UNKNOWN, ANSWER]
    if recipe.tokenizer == "word":
        words = sorted({word for text in texts for word in text.split()} - set(special))
        core = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *words])}, unk_token=UNKNOWN))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        core = Tokenizer(models.BPE(unk_token=UNKNOWN))
        core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(r"[\[\]_|,.;:?!]"), "isolated")]
        )
        core.decoder = decoders.Metaspace()
        core.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=recipe.vocabulary_size, special_tokens=special, show_progress=False)
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN, pad_token=PAD
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [ANSWER]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_network(recipe: CausalRecipe, vocabulary_size: int, seed: int) -> Any:
    """Return an untrained network."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_heads,
        max_position_embeddings=256,
        tie_word_embeddings=recipe.tie_embeddings,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.set_rng_state(torch_generator(seed, "network").get_state())
        return LlamaForCausalLM(config)


def train_causal(
    recipe: CausalRecipe,
    samples: Sequence[Sample],
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train a base on ``samples`` and save it to ``folder`` (network, tokenizer, chat template).

    Args:
        recipe: settings.
        samples: prompts and gold answers; repeated samples weigh more.
        folder: an existing folder.
        seed: weights and batches.
        device: torch device.
        progress: called with (step, steps) now and then.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    tokenizer = build_tokenizer(recipe, samples)
    network = build_network(recipe, len(tokenizer), seed).to(device)
    # The generator's own prompt format and loss, so that training and use cannot differ.
    model = TextGenerator(network, tokenizer, model_id="training", digest="", device=device)
    network.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    steps = max(round(recipe.epochs * len(samples) / recipe.batch_size), 1)
    prompts = model.encode([s.text for s in samples])
    answers = [model.encode_answer(s.expected) for s in samples]
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    for step, batch in enumerate(_batches(lengths, recipe.batch_size, steps, seed)):
        rate = min(1.0, (step + 1) / recipe.warmup_steps) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate
        loss = model.token_loss([prompts[i] for i in batch], [answers[i] for i in batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if progress is not None and (step + 1) % max(steps // 20, 1) == 0:
            progress(step + 1, steps)
    network.half().cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _batches(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield ``steps`` batches of sample numbers of like length; every sample once an epoch, but for a short rest."""
    rng = numpy_generator(seed, "batches")
    size = np.asarray(lengths)
    done = 0
    while done < steps:
        order = rng.permutation(len(size))
        chunk = batch_size * BUCKETS
        for start in range(0, len(order), chunk):
            part = order[start : start + chunk]
            part = part[np.argsort(size[part], kind="stable")]
            starts = range(0, len(part), batch_size)
            for begin in rng.permutation(np.asarray(starts)):
                yield part[begin : begin + batch_size].tolist()
                done += 1
                if done == steps:
                    return
