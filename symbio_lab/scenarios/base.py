"""Training and caching the base classifier of a world: a frozen sentence encoder and a linear head.

The head is multinomial logistic regression on unit-length mean-pooled features, fitted by L-BFGS to convergence, so
that the same samples give the same base. Bases are cached by the content of everything that went in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from symbio_lab.codec import build_folder, write_atomic, write_json
from symbio_lab.events import BuildProgress, Listener, emit
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.digests import MINILM_ID, file_sha256
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.models.linear_head import MAX_STEPS, WEIGHT_DECAY, fit_head
from symbio_lab.models.loading import base_digest, load_classifier
from symbio_lab.records import Sample, content_id
from symbio_lab.scenarios.recipe import FORMAT


def build_base(
    name: str, train: Sequence[Sample], bases: Path, *, device: str = "cpu", listener: Listener | None = None
) -> TextClassifier:
    """Return the base trained on ``train``, from the cache when it was built before.

    Args:
        name: shown as the model id.
        train: labelled samples; their labels are the head's rows, sorted.
        bases: cache folder.
        device: torch device.
        listener: told about progress.

    Raises:
        ModelUnresolvedError: the sentence encoder is not on this machine.
        StorageError: the cache cannot be written.
    """
    key = content_id([FORMAT, name, WEIGHT_DECAY, MAX_STEPS, [[s.text, s.expected] for s in train]])[:16]
    folder = bases / f"{name.replace('/', '-')}-{key}"
    bases.mkdir(parents=True, exist_ok=True)
    with FileLock(bases / f".{folder.name}.lock"):
        if not (folder / "base.json").is_file():
            emit(listener, BuildProgress(f"base {name}", 0, 1))
            build_folder(folder, lambda temporary: _fill(temporary, name, train, bases))
            emit(listener, BuildProgress(f"base {name}", 1, 1))
    return load_classifier(folder, device=device)


def _fill(folder: Path, name: str, train: Sequence[Sample], bases: Path) -> None:
    from safetensors.numpy import save_file

    started = time.perf_counter()
    labels = sorted({s.expected for s in train})
    features, encoder_digest = encode_texts([s.text for s in train], bases)
    index = {label: i for i, label in enumerate(labels)}
    weight, bias = fit_head(features, [index[s.expected] for s in train], len(labels))
    save_file({"weight": weight, "bias": bias}, folder / "head.safetensors")
    info = {
        "schema": 1,
        "task_type": "text_classification",
        "model_id": name,
        "encoder": MINILM_ID,
        "labels": labels,
        "digest": base_digest(encoder_digest, file_sha256(folder / "head.safetensors"), labels),
        "build_wall_s": time.perf_counter() - started,
        "training": f"{len(train)} samples, multinomial logistic regression on frozen features",
    }
    write_json(folder / "base.json", info)


def encode_texts(texts: Sequence[str], bases: Path) -> tuple[NDArray[np.float32], str]:
    """Return the encoder's features of ``texts`` (N, D), in text order, and the encoder's digest.

    Features are cached by text, in one file a set of texts, so that building the same base again is quick.
    """
    from safetensors.numpy import load_file, save_file

    embed = SentenceEmbedder()
    distinct = sorted(set(texts))
    cache = bases / f".features-{content_id([embed.digest, distinct])[:16]}.safetensors"
    if cache.is_file():
        features = load_file(cache)["features"]
    else:
        features = embed(distinct)
        write_atomic(cache, lambda path: save_file({"features": np.ascontiguousarray(features)}, path))
    position = {text: i for i, text in enumerate(distinct)}
    return features[[position[t] for t in texts]], embed.digest
