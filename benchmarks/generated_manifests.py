"""A market of generated, really signed manifests, and vectors for their cards: as many as asked for, none kept.

Cards read like those of contributors: a title, a scope of some twenty words, labels of a topic. Words follow Zipf's
law, half of them drawn from a topic's own; bases follow it too, so that a few have most patches. One manifest in fifty
is signed by a stranger. Everything follows from the seed and the number of a manifest.

Vectors come in two kinds:
    - ``clustered``: 2,000 centres, 32 directions around them and noise: what near duplicates and families look like;
    - ``hard``: no clusters, and a spectrum that falls as slowly as that of sentence embeddings: neighbours are hardly
      nearer than the rest.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import nacl.signing
import numpy as np

from symbio_lab.errors import NotFoundError
from symbio_lab.trust.envelope import PAYLOAD_TYPE, pae
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.manifest import PREDICATE_TYPE
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for
from symbio_lab.trust.statement import write_statement

NOW, ISSUED, EXPIRES = "2026-06-01T00:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
NUM_WORDS, NUM_TOPICS, NUM_BASES, NUM_DIMS = 30_000, 2_000, 50, 384
LICENCES = ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0")
BLOCK = 2_000
KEYS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in range(1, 9))
STRANGER = SigningKey.from_seed(bytes([200]) * 32)
_FILES = ("README.md", "adapter_config.json", "adapter_model.safetensors")


def _zipf(count: int, power: float) -> np.ndarray:
    weights = np.arange(1, count + 1) ** -power
    return np.cumsum(weights / weights.sum())


_WORDS = _zipf(NUM_WORDS, 1.05)
_BASES = _zipf(NUM_BASES, 1.1)


def word(number: int) -> str:
    """Return a made-up word; common words are short."""
    letters, rest = "bcdfghjklmnprstvwz", number + 3
    found = ""
    while rest:
        rest, one = divmod(rest, len(letters) * 5)
        found += letters[one % len(letters)] + "aeiou"[one // len(letters)]
    return found


VOCABULARY = tuple(word(n) for n in range(NUM_WORDS))
BASE_DIGESTS = tuple(f"{n + 1:064x}" for n in range(NUM_BASES))


def topic_words(topic: int) -> np.ndarray:
    """Return the 40 words of a topic, by number."""
    return np.random.default_rng([7, topic]).integers(50, NUM_WORDS, size=40)


def generated_policy() -> TrustPolicy:
    """Return the policy that accepts all but the stranger's manifests."""
    return policy_for(PublisherKey(key.public_hex, f"publisher {n}") for n, key in enumerate(KEYS))


class GeneratedMarket:
    """A market whose offers are made when they are read."""

    def __init__(self, count: int, seed: int = 0) -> None:
        """Name the offers; nothing is made."""
        self.count, self.seed = count, seed

    @property
    def uri(self) -> str:
        """Names the seed."""
        return f"generated://{self.seed}"

    def list_refs(self) -> list[str]:
        """Return all references, sorted."""
        return [reference(number) for number in range(self.count)]

    def list_tokens(self) -> Mapping[str, str]:
        """Return all references with tokens."""
        return {reference(number): f"g{self.seed}" for number in range(self.count)}

    def read_manifest(self, ref: str) -> bytes:
        """Return the signed envelope of an offer."""
        number = int(ref[-7:])
        if number >= self.count:
            raise NotFoundError(f"no {ref}")
        return _envelope(number, self.seed)

    def read_evaluations(self, digest: str) -> list[bytes]:
        """Return none."""
        return []

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        """Refuse: there are no files."""
        raise NotFoundError(f"{ref} has a manifest only")

    def publish(self, folder: Path, ref: str) -> None:
        """Refuse."""
        raise NotFoundError("this market cannot be written")

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        """Refuse."""
        raise NotFoundError("this market cannot be written")


def reference(number: int) -> str:
    """Return the reference of an offer.

    >>> reference(1234)
    'maker0001/patch-0001234'
    """
    return f"maker{number // 1000:04d}/patch-{number:07d}"


@lru_cache(maxsize=2)
def _drawn(block: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng([seed, block])
    topics = rng.integers(0, NUM_TOPICS, size=BLOCK)
    common = np.searchsorted(_WORDS, rng.random((BLOCK, 20)))
    own = rng.integers(0, 40, size=(BLOCK, 16))
    return topics, common, own, np.searchsorted(_BASES, rng.random(BLOCK)), rng.random((BLOCK, 2))


def card_of(number: int, seed: int = 0) -> dict[str, Any]:
    """Return the card of an offer: title, scope, labels, domain and topic."""
    topics, common, own, _, _ = _drawn(number // BLOCK, seed)
    row = number % BLOCK
    topic = int(topics[row])
    mine = topic_words_cached(topic)
    picked = [mine[i] for i in own[row].tolist()]
    labels = sorted({f"{picked[i]}_{picked[i + 1]}" for i in range(0, 6, 2)})
    scope = " ".join([*picked[6:], *(VOCABULARY[i] for i in common[row].tolist())])
    return {
        "title": f"{mine[0]} intents {number}",
        "scope": scope,
        "labels": labels,
        "domain": f"{mine[0]}_{mine[1]}",
        "topic": topic,
    }


@lru_cache(maxsize=NUM_TOPICS)
def topic_words_cached(topic: int) -> list[str]:
    """Return the words of a topic."""
    return [VOCABULARY[i] for i in topic_words(topic).tolist()]


def _envelope(number: int, seed: int) -> bytes:
    _, _, _, bases, drawn = _drawn(number // BLOCK, seed)
    row = number % BLOCK
    card = card_of(number, seed)
    key = STRANGER if drawn[row, 0] < 0.02 else KEYS[number % len(KEYS)]
    digests = {name: f"{number * 4 + i:064x}" for i, name in enumerate(_FILES)}
    predicate = {
        "schema": 1,
        "patch": {"id": reference(number), "version": 1},
        "publisher": {"keyid": _keyid(key)},
        "base": {"id": "org/base", "digest": {"sha256": BASE_DIGESTS[int(bases[row])]}},
        "taskType": "text_classification",
        "adapter": {
            "kind": "LORA",
            "rank": 8,
            "alpha": 16,
            "targetModules": ["encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.value"],
            "headLabels": [],
            "numFeatures": 0,
            "dtype": "F32",
        },
        "sizes": dict(zip(_FILES, (900, 300, 98_000 + number % 1_000), strict=True)),
        "card": {
            "title": card["title"],
            "scope": card["scope"],
            "labels": card["labels"],
            "domain": card["domain"],
            "trainingData": "generated",
        },
        "claims": [{"name": "fix_rate", "ppm": 500_000, "n": 100}],
        "lineage": [],
        "policy": {"licence": LICENCES[int(drawn[row, 1] * len(LICENCES))]},
        "issued": ISSUED,
        "expires": EXPIRES,
    }
    return _sign(write_statement(digests, PREDICATE_TYPE, predicate), key)


def _sign(payload: bytes, key: SigningKey) -> bytes:
    """Return what ``sign_envelope`` returns; the keys' numbers are worked out once, not for every manifest."""
    signature = _signer(key).sign(pae(PAYLOAD_TYPE, payload)).signature
    return b'{"payload":"%s","payloadType":"%s","signatures":[{"keyid":"%s","sig":"%s"}]}\n' % (
        base64.b64encode(payload),
        PAYLOAD_TYPE.encode(),
        _keyid(key).encode(),
        base64.b64encode(signature),
    )


@lru_cache(maxsize=32)
def _signer(key: SigningKey) -> Any:
    return nacl.signing.SigningKey(key.seed)


@lru_cache(maxsize=32)
def _keyid(key: SigningKey) -> str:
    return key.keyid


class VectorSpace:
    """Vectors for cards by their number, in blocks; ``embed`` reads the number from a card's title."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        """Name the kind: ``clustered`` or ``hard``."""
        rng = np.random.default_rng([11, seed])
        self.kind, self.seed = kind, seed
        self.name = f"generated-{kind}-{seed}"
        self._spectrum = (np.arange(1, NUM_DIMS + 1) ** -0.5).astype(np.float32)
        self._centres = rng.standard_normal((NUM_TOPICS, NUM_DIMS)).astype(np.float32) * self._spectrum
        self._centres /= np.linalg.norm(self._centres, axis=1, keepdims=True)
        self._around = rng.standard_normal((32, NUM_DIMS)).astype(np.float32) / np.sqrt(NUM_DIMS)
        self._last: tuple[int, np.ndarray] = (-1, np.zeros(0))

    def block(self, number: int) -> np.ndarray:
        """Return the vectors of one block of cards, (BLOCK, D), unit length."""
        if self._last[0] != number:
            rng = np.random.default_rng([13, self.seed, number])
            noise = rng.standard_normal((BLOCK, NUM_DIMS)).astype(np.float32)
            if self.kind == "hard":
                found = noise * self._spectrum
            else:
                topics = _drawn(number, 0)[0]
                inner = rng.standard_normal((BLOCK, 32)).astype(np.float32) / np.sqrt(32)
                spread = 0.6 * inner @ self._around * np.sqrt(32) + noise * 0.3 / np.sqrt(NUM_DIMS)
                found = self._centres[topics] + spread
            self._last = (number, found / np.linalg.norm(found, axis=1, keepdims=True))
        return self._last[1]

    def embed(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of cards, (N, D)."""
        numbers = [int(re.search(r" intents (\d+)\n", text + "\n")[1]) for text in texts]  # type: ignore[index]
        return np.stack([self.block(n // BLOCK)[n % BLOCK] for n in numbers])

    def query(self, number: int, rng: np.random.Generator, away: float = 0.6) -> np.ndarray:
        """Return a vector near that of a card, (D,)."""
        step = rng.standard_normal(NUM_DIMS) * (self._spectrum if self.kind == "hard" else 1.0)
        found = self.block(number // BLOCK)[number % BLOCK] + away * step / np.linalg.norm(step)
        return (found / np.linalg.norm(found)).astype(np.float32)
