"""Tiny models and patches that tests build in seconds: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.digests import file_sha256
from symbio_lab.models.generator import TextGenerator
from symbio_lab.models.linear_head import fit_head
from symbio_lab.models.loading import base_digest, load_classifier, load_encoder, load_generator
from symbio_lab.models.operated import Operated
from symbio_lab.models.pooled import PooledClassifier
from symbio_lab.records import LabelShift, Patch
from symbio_lab.testing.tiny_samples import (
    ANSWERS,
    KNOWN,
    NEW,
    all_words,
    generation_samples,
    known_samples,
    new_samples,
    odd_samples,
    samples_of,
    strange_samples,
)
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.sealing import HeadRows, seal_patch

ISSUED, NOW, EXPIRES = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2036-01-01T00:00:00Z"
PUBLISHER = SigningKey.from_seed(bytes([7]) * 32)
HEALER = SigningKey.from_seed(bytes([8]) * 32)


def _save_tokenizer(folder: Path, *, encoder: bool) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if encoder else ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
    vocabulary = {word: i for i, word in enumerate([*special, *all_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if encoder:
        pair = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=pair)
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        names |= {"bos_token": "[BOS]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return len(vocabulary)


def _bert_config(vocabulary: int, **more: Any) -> Any:
    from transformers import BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return BertConfig(vocab_size=vocabulary, max_position_embeddings=64, initializer_range=0.1, **sizes, **more)


def _give_meaning(module: torch.nn.Module, seed: int) -> None:
    """Put words of one class near each other, as any trained encoder does; all else stays random."""
    rng = np.random.default_rng(seed)
    table: Any = module.get_submodule("embeddings.word_embeddings").weight
    kinds: dict[str, list[int]] = {}
    for index, word in enumerate(all_words(), start=4):
        kinds.setdefault(word.rstrip("0123456789"), []).append(index)
    with torch.no_grad():
        for members in kinds.values():
            centre = torch.from_numpy(rng.normal(size=table.shape[1]).astype(np.float32))
            for index in members:
                table[index] = centre + 0.3 * torch.from_numpy(rng.normal(size=table.shape[1]).astype(np.float32))


def save_encoder(folder: Path, seed: int = 0) -> Path:
    """A random encoder of two layers, as a model folder."""
    from transformers import BertModel

    vocabulary = _save_tokenizer(folder, encoder=True)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        encoder = BertModel(_bert_config(vocabulary))
    _give_meaning(encoder, seed)
    encoder.save_pretrained(folder)
    return folder


def save_lab_base(folder: Path, encoder: Path) -> Path:
    """A base in the lab's own format (``base.json``) on top of an encoder folder."""
    from safetensors.numpy import save_file

    network, tokenizer, encoder_digest = load_encoder(encoder)
    probe = TextClassifier(
        PooledClassifier(network, 32, 1), tokenizer, ["-"], head_name="classifier", model_id="probe", digest="0" * 64
    )
    train = known_samples(60, seed=100)
    features, _, _ = probe.logits([s.text for s in train])
    weight, bias = fit_head(features.numpy(), [KNOWN.index(s.expected) for s in train], len(KNOWN))
    folder.mkdir(parents=True)
    save_file({"weight": weight, "bias": bias}, folder / "head.safetensors")
    info = {
        "schema": 1,
        "task_type": "text_classification",
        "model_id": "tiny",
        "encoder": str(encoder),
        "labels": list(KNOWN),
        "digest": base_digest(encoder_digest, file_sha256(folder / "head.safetensors"), list(KNOWN)),
    }
    (folder / "base.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def save_classifier(folder: Path, seed: int = 0) -> Path:
    """A sequence classifier of two layers as the Hub has them, its head fitted on its own features."""
    from transformers import BertForSequenceClassification

    vocabulary = _save_tokenizer(folder, encoder=True)
    names = dict(enumerate(KNOWN))
    config = _bert_config(vocabulary, id2label=names, label2id={v: k for k, v in names.items()})
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        module = BertForSequenceClassification(config)
    _give_meaning(module.bert, seed)
    module.save_pretrained(folder)
    probe = load_classifier(folder, device="cpu")
    train = known_samples(60, seed=100)
    features, _, _ = probe.logits([s.text for s in train])
    weight, bias = fit_head(features.numpy(), [KNOWN.index(s.expected) for s in train], len(KNOWN))
    with torch.no_grad():
        module.classifier.weight.copy_(torch.from_numpy(weight))
        module.classifier.bias.copy_(torch.from_numpy(bias))
    module.save_pretrained(folder)
    return folder


def save_generator(folder: Path, *, steps: int = 150, seed: int = 0) -> Path:
    """A Llama of two layers that names the class of the key words, wrongly of the ``strange`` ones."""
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = _save_tokenizer(folder, encoder=False)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = LlamaConfig(
        vocab_size=vocabulary, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        module = LlamaForCausalLM(config)
    module.save_pretrained(folder)
    model = load_generator(folder, device="cpu", max_new_tokens=8)
    # A wrong belief, firmly held: what random weights make of words never seen is not the same on every machine.
    train = (*generation_samples(60, seed=100), *samples_of({"strange": ANSWERS[2]}, 60, 100, domain="strange"))
    rng = np.random.default_rng(seed)
    model.module.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    for _ in range(steps):
        batch = [train[i] for i in rng.choice(len(train), size=32, replace=False)]
        loss = model.answer_loss([s.text for s in batch], [s.expected for s in batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.save_pretrained(folder)
    return folder


class TinyModels:
    """The tiny models of one session, built on first use and loaded anew for every test.

    ``pooled`` is a base of the lab, ``bert`` a sequence classifier and ``llama`` a causal language model as the Hub has
    them.
    """

    MEMBERS = ("pooled", "bert", "llama")
    CLASSIFIERS = ("pooled", "bert")

    def __init__(self, root: Path) -> None:
        """Remember the folder that the models are built in."""
        self.root = root

    def folder(self, name: str) -> Path:
        """Return the folder of a model, or of the ``encoder``, built when it is missing."""
        target = self.root / name
        if target.is_dir():
            return target
        if name == "encoder":
            return save_encoder(target)
        if name == "pooled":
            return save_lab_base(target, self.folder("encoder"))
        return save_classifier(target) if name == "bert" else save_generator(target)

    def load(self, name: str, **options: Any) -> TextClassifier | TextGenerator:
        """Return a model, loaded from its folder."""
        options.setdefault("device", "cpu")
        if name == "llama":
            return load_generator(self.folder(name), max_new_tokens=8, **options)
        return load_classifier(self.folder(name), **options)


def query_modules(model: TextClassifier | TextGenerator) -> tuple[str, ...]:
    """The query projections of all layers, sorted."""
    names = [n for n, _ in model.module.named_modules() if n.rsplit(".", 1)[-1] in ("query", "q_proj")]
    return tuple(sorted(names))


def random_deltas(
    model: TextClassifier | TextGenerator, modules: Sequence[str], rank: int = 4, seed: int = 0, scale: float = 0.3
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return random low-rank factors for some modules."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in modules:
        linear: Any = model.module.get_submodule(name)
        a, b = rng.normal(size=(rank, linear.in_features)), rng.normal(size=(linear.out_features, rank))
        found[name] = ((scale * a).astype(np.float32), (scale * b).astype(np.float32))
    return found


def head_rows(labels: Sequence[str], num_features: int = 32, seed: int = 0, scale: float = 1.0) -> HeadRows:
    """Return random head rows."""
    rng = np.random.default_rng(seed)
    weight = (scale * rng.normal(size=(len(labels), num_features))).astype(np.float32)
    return HeadRows(tuple(labels), weight, rng.normal(size=len(labels)).astype(np.float32))


def seal(
    model: TextClassifier | TextGenerator,
    store: Path,
    deltas: Mapping[str, Any] | None = None,
    rows: HeadRows | None = None,
    *,
    rank: int = 4,
    alpha: float = 8.0,
    **changes: Any,
) -> Patch:
    """Seal tensors for ``model``; ``changes`` override what the seal states."""
    fields: dict[str, Any] = {
        "base_id": "tiny",
        "base_digest": model.digest,
        "task_type": model.task_type,
        "patch_id": "alice/patch",
        "title": "shades",
        "scope": "Requests about shades: cyan, plum.",
        "labels": NEW if model.task_type == "text_classification" else (),
        "domain": "shades",
        "licence": "Apache-2.0",
        "training_data": "made for a test",
        "issued": ISSUED,
        "expires": EXPIRES,
        "key": PUBLISHER,
    }
    return seal_patch(store=store, deltas=deltas or {}, rank=rank, alpha=alpha, head_rows=rows, **{**fields, **changes})


def seal_operated(model: TextClassifier | TextGenerator, store: Path, operated: Operated, **changes: Any) -> Patch:
    """Seal what a surgery method returned."""
    rows = operated.rows
    sealed = HeadRows(rows.labels, rows.weight, rows.bias) if rows else None
    return seal(model, store, operated.deltas, sealed, rank=operated.rank, alpha=operated.alpha, **changes)


def repair_task(
    model: TextClassifier | TextGenerator, label_shift: LabelShift = "new", *, n_repair: int = 24, n_control: int = 120
) -> RepairTask:
    """A task whose slice the base fails on: half of the failures to repair, half to decide on."""
    if model.task_type == "text_generation":
        failing, traffic = strange_samples(60), generation_samples(100)
    else:
        failing, traffic = (new_samples(40) if label_shift == "new" else odd_samples(60)), known_samples(100)
    outputs = model.predict([s.text for s in failing]).outputs
    failures = [s for s, o in zip(failing, outputs, strict=True) if not model.is_correct(o, s.expected)]
    half = n_repair // 2
    return RepairTask(
        task_type=model.task_type,
        label_shift=label_shift,
        domain=failing[0].domain,
        description=f"Requests about {failing[0].domain} are answered wrongly",
        repair=tuple(failures[:half]),
        selection=tuple(failures[half:n_repair]),
        replay=traffic[:100],
        control_selection=traffic[100 : 100 + n_control],
    )
