"""Finding and loading models: local path, Hub cache, installed package, Hub download, in this order.

Rules:
    1. Only safetensors weights are read; remote code is never run.
    2. The embedded default is checked against its published SHA-256 before it is used.
    3. The root digest covers weights, configuration and tokenizer, so a patch names exactly one base.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from symbio_lab.codec import read_json
from symbio_lab.config import available_threads
from symbio_lab.errors import (
    DataError,
    ModelUnresolvedError,
    WrongTaskError,
)
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.devices import resolve_device as resolve_device
from symbio_lab.models.digests import MINILM_ID, file_sha256, folder_digest, root_digest
from symbio_lab.models.generator import Match, TextGenerator
from symbio_lab.models.locating import locate_model as locate_model
from symbio_lab.models.pooled import PooledClassifier


def load_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, use_fast=True)


def load_encoder(model: str | Path = MINILM_ID) -> tuple[Any, Any, str]:
    """Return a sentence encoder, its tokenizer and its root digest."""
    from transformers import AutoModel

    folder = locate_model(model)
    encoder = _read_network(AutoModel, folder)
    return encoder, load_tokenizer(folder), folder_digest(folder)


def _read_config(folder: Path) -> Any:
    """Return the configuration of a model folder.

    Raises:
        ModelUnresolvedError: there is none that can be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnresolvedError(
            f"{folder.name} has no config.json that can be read: {error}".splitlines()[0],
            hint="give the folder of a Hugging Face model, config.json included",
        ) from error


def _read_network(kind: Any, folder: Path) -> Any:
    """Return the network of a model folder in float32.

    Raises:
        ModelUnresolvedError: its weights are damaged or do not match its configuration.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        return kind.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelUnresolvedError(
            f"the weights of {folder.name} cannot be read: {error}".splitlines()[0],
            hint="fetch the model again; its weights are damaged or belong to another configuration",
        ) from error


def load_classifier(
    model: str | Path, *, revision: str | None = None, device: str = "auto", dtype: str = "float32"
) -> TextClassifier:
    """Return a classifier from a Hub id, a model folder or a base folder of the lab (``base.json``).

    Args:
        model: Hub id or folder.
        revision: Hub revision.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: torch dtype name.

    Raises:
        ModelUnresolvedError: not found, or without safetensors weights.
        WrongTaskError: the model has no classification head.
        NetworkUnavailableError: it must be downloaded and no network answers.
    """
    folder = locate_model(model, revision=revision)
    if (folder / "base.json").is_file():
        return _load_lab_base(folder, device=device, dtype=dtype)
    from transformers import AutoModelForSequenceClassification

    config = _read_config(folder)
    if not any("SequenceClassification" in name for name in config.architectures or ()):
        raise WrongTaskError(
            f"{model} has no classification head (it is {', '.join(config.architectures or ('unknown',))})",
            hint="use a sequence classification model, or load it with load_generator",
        )
    digest = folder_digest(folder)
    module = _read_network(AutoModelForSequenceClassification, folder)
    heads = [
        n for n, m in module.named_modules() if isinstance(m, torch.nn.Linear) and m.out_features == config.num_labels
    ]
    if not heads:
        raise WrongTaskError(f"{model} has no linear head of {config.num_labels} rows")
    labels = [config.id2label[i] for i in range(config.num_labels)]
    return TextClassifier(
        module,
        load_tokenizer(folder),
        labels,
        head_name=heads[-1],
        model_id=str(model),
        digest=digest,
        device=resolve_device(device),
        dtype=dtype,
    )


def base_digest(encoder_digest: str, head_sha256: str, labels: list[str]) -> str:
    """Return the root digest of a lab base: its encoder, head and label order."""
    from symbio_lab.records import content_id

    return root_digest([("encoder", encoder_digest), ("head.safetensors", head_sha256), ("labels", content_id(labels))])


def _load_lab_base(folder: Path, *, device: str, dtype: str) -> TextClassifier:
    from safetensors.torch import load_file

    info: Mapping[str, Any] = read_json(folder / "base.json")
    try:
        labels, encoder_id, expected = list(info["labels"]), info["encoder"], info["digest"]
        task, model_id = info["task_type"], info["model_id"]
    except KeyError as error:
        raise DataError(f"base.json lacks {error}", hint="build the base again") from error
    if task != "text_classification":
        raise WrongTaskError(f"{model_id} is a {task} base")
    encoder, tokenizer, encoder_digest = load_encoder(encoder_id)
    head_path = folder / "head.safetensors"
    digest = base_digest(encoder_digest, file_sha256(head_path), labels)
    if digest != expected:
        raise ModelUnresolvedError(
            f"{model_id}: its files changed since it was built", hint="delete it and build again"
        )
    head = load_file(head_path)
    module = PooledClassifier(encoder, head["weight"].shape[1], len(labels))
    with torch.no_grad():
        module.classifier.weight.copy_(head["weight"])
        module.classifier.bias.copy_(head["bias"])
    return TextClassifier(
        module,
        tokenizer,
        labels,
        head_name="classifier",
        model_id=model_id,
        digest=digest,
        device=resolve_device(device),
        dtype=dtype,
    )


def load_generator(
    model: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    max_new_tokens: int = 64,
    match: Match = "exact",
) -> TextGenerator:
    """Return a causal language model from a Hub id or a folder; its chat template is used where it has one.

    Args:
        model: Hub id or folder.
        revision: Hub revision.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: torch dtype name.
        max_new_tokens: longest answer, in tokens.
        match: ``exact``, or ``slots`` for delexicalised replies.

    Raises:
        ModelUnresolvedError: not found, or without safetensors weights.
        WrongTaskError: the model is no causal language model.
        NetworkUnavailableError: it must be downloaded and no network answers.
    """
    from transformers import AutoModelForCausalLM

    folder = locate_model(model, revision=revision)
    config = _read_config(folder)
    if not any("CausalLM" in name or "LMHead" in name for name in config.architectures or ()):
        raise WrongTaskError(
            f"{model} is no causal language model (it is {', '.join(config.architectures or ('unknown',))})",
            hint="use a causal language model, or load it with load_classifier",
        )
    digest = folder_digest(folder)
    module = _read_network(AutoModelForCausalLM, folder)
    return TextGenerator(
        module,
        load_tokenizer(folder),
        model_id=str(model),
        digest=digest,
        device=resolve_device(device),
        dtype=dtype,
        max_new_tokens=max_new_tokens,
        match=match,
    )


def load_model(
    model: str | Path,
    *,
    task: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> TextClassifier | TextGenerator:
    """Return a model of either task; which one, its configuration says.

    Args:
        model: Hub id or folder.
        task: ``text_classification`` or ``text_generation``, where the caller insists.
        revision: Hub revision.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: torch dtype name.

    Raises:
        ModelUnresolvedError: not found, or without safetensors weights.
        WrongTaskError: the model is of neither task, or not of ``task``.
        NetworkUnavailableError: it must be downloaded and no network answers.
    """
    folder = locate_model(model, revision=revision)
    if task is None and (folder / "base.json").is_file():
        task = "text_classification"
    if task is None:
        names = _read_config(folder).architectures or ()
        generates = any("CausalLM" in name or "LMHead" in name for name in names)
        task = "text_generation" if generates else "text_classification"
    if task == "text_generation":
        return load_generator(model, revision=revision, device=device, dtype=dtype)
    if task == "text_classification":
        return load_classifier(model, revision=revision, device=device, dtype=dtype)
    raise WrongTaskError(f"unknown task {task!r}", hint="use text_classification or text_generation")


def use_threads(num_threads: int | None = None) -> int:
    """Set torch's CPU threads (default: the cores this process may use) and return the number."""
    count = num_threads or available_threads()
    torch.set_num_threads(count)
    return count
