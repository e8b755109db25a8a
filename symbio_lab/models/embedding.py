"""Sentence embeddings by the embedded default encoder: for search, patterns and frozen features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import ModelUnresolvedError, NetworkUnavailableError
from symbio_lab.models.classifier import TextClassifier
from symbio_lab.models.digests import MINILM_ID
from symbio_lab.models.loading import load_encoder, locate_model
from symbio_lab.models.pooled import PooledClassifier

logger = logging.getLogger(__name__)


class SentenceEmbedder:
    """Texts to unit vectors; the encoder is loaded on first use and kept."""

    def __init__(self, model: str | Path = MINILM_ID) -> None:
        """Remember the encoder's id or folder; nothing is loaded."""
        self._source = model
        self._probe: TextClassifier | None = None

    def _loaded(self) -> TextClassifier:
        if self._probe is None:
            encoder, tokenizer, digest = load_encoder(self._source)
            module = PooledClassifier(encoder, encoder.config.hidden_size, 1)
            self._probe = TextClassifier(
                module, tokenizer, ["-"], head_name="classifier", model_id=str(self._source), digest=digest
            )
        return self._probe

    @property
    def digest(self) -> str:
        """Root digest of the encoder, 64 hex."""
        return self._loaded().digest

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, (N, D).

        Raises:
            ModelUnresolvedError: the encoder is not on this machine.
            NetworkUnavailableError: it must be downloaded and no network answers.
        """
        probe = self._loaded()
        features, _, _ = probe.logits(list(texts))
        probe.forget()
        vectors: NDArray[np.float32] = features.numpy()
        return vectors


def find_embedder() -> SentenceEmbedder | None:
    """Return the sentence embedder, or None (search by words only) where its model is not on this machine."""
    try:
        locate_model(MINILM_ID)
    except (ModelUnresolvedError, NetworkUnavailableError) as error:
        logger.warning("searching by words only: %s", error)
        return None
    return SentenceEmbedder()
