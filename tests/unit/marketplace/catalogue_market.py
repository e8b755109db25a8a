"""A market in memory with generated manifests, for the tests of the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.marketplace.catalogue.judging import MarketRules
from symbio_lab.records import AdapterSpec, FileEntry, PatchManifest
from symbio_lab.trust.envelope import sign_envelope
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.manifest import manifest_to_payload
from tests.attacks.market_simulator import ALICE, BASE, EVE, EXPIRES, ISSUED, MALLORY, MODULE, NOW, standard_policy

TOPICS = {
    "travel": "flight hotel visa luggage train ticket airport booking passport tour",
    "banking": "card transfer account balance fee loan interest statement payment currency",
    "food": "pizza recipe restaurant menu allergy kitchen order delivery vegan dinner",
    "health": "doctor symptom pill clinic insurance pain fever appointment nurse therapy",
}
LICENCES = ("Apache-2.0", "MIT", "CC-BY-4.0")
OTHER_BASE = "c" * 64


@dataclass
class MemoryMarket:
    """A transport that counts what is read; ``tokens`` makes it list them."""

    uri: str = "memory://market"
    envelopes: dict[str, bytes | TrustError] = field(default_factory=dict)
    evaluations: dict[str, list[bytes]] = field(default_factory=dict)
    num_reads: int = 0

    def list_refs(self) -> list[str]:
        return sorted(self.envelopes)

    def read_manifest(self, ref: str) -> bytes:
        self.num_reads += 1
        if ref not in self.envelopes:
            raise NotFoundError(f"no {ref}")
        found = self.envelopes[ref]
        if isinstance(found, TrustError):
            raise found
        return found

    def read_evaluations(self, digest: str) -> list[bytes]:
        return self.evaluations.get(digest, [])

    def fetch(self, ref: str, into: Path, *, max_bytes: int | None = None) -> Path:
        raise NotImplementedError

    def publish(self, folder: Path, ref: str) -> None:
        raise NotImplementedError

    def publish_evaluation(self, digest: str, data: bytes) -> None:
        self.evaluations.setdefault(digest, []).append(data)


class TokenMarket(MemoryMarket):
    """The same, with a token for each offer."""

    def list_tokens(self) -> Mapping[str, str]:
        return {ref: f"t{hashlib.sha256(_bytes(found)).hexdigest()}" for ref, found in self.envelopes.items()}


def _bytes(found: bytes | TrustError) -> bytes:
    return found if isinstance(found, bytes) else found.code.encode()


def manifest(**changes: Any) -> PatchManifest:
    """Return a manifest that passes the standard policy; any field can be changed."""
    fields: dict[str, Any] = {
        "patch_id": "alice/travel",
        "version": 1,
        "base_id": "org/base",
        "base_digest": BASE,
        "task_type": "text_classification",
        "adapter": AdapterSpec("LORA", 8, 16.0, (MODULE,)),
        "files": tuple(
            FileEntry(name, hashlib.sha256(name.encode()).hexdigest(), 1_000)
            for name in ("README.md", "adapter_config.json", "adapter_model.safetensors")
        ),
        "keyid": ALICE.keyid,
        "title": "Travel intents",
        "scope": "fixes flight and hotel booking requests",
        "labels": ("book_flight", "book_hotel"),
        "domain": "travel",
        "licence": "Apache-2.0",
        "training_data": "own templates",
        "claims": (),
        "lineage": (),
        "issued": ISSUED,
        "expires": EXPIRES,
    }
    return PatchManifest(**{**fields, **changes})


def envelope(key: SigningKey = ALICE, **changes: Any) -> bytes:
    """Return the envelope of such a manifest, signed by ``key``."""
    return sign_envelope(manifest_to_payload(manifest(**{"keyid": key.keyid, **changes})), key)


def generated(count: int, seed: int = 0, market: MemoryMarket | None = None) -> MemoryMarket:
    """Fill a market: most offers are good, some are for another base or task, some are refused for various reasons."""
    rng = np.random.default_rng(seed)
    market = MemoryMarket() if market is None else market
    for number in range(count):
        topic = str(rng.choice(list(TOPICS)))
        vocabulary = TOPICS[topic].split()
        labels = tuple(sorted({f"{topic}_{word}" for word in rng.choice(vocabulary, size=3)}))
        words = rng.choice([*vocabulary, "please", "help", "with", "the", "my"], size=int(rng.integers(4, 14)))
        ref = f"{topic}{number % 7}/patch-{number:04d}"
        changes: dict[str, Any] = {
            "patch_id": ref,
            "title": f"{topic} intents {number % 5}",
            "scope": " ".join(words.tolist()),
            "labels": labels,
            "domain": topic,
            "licence": str(rng.choice(LICENCES)),
            "base_digest": OTHER_BASE if rng.random() < 0.15 else BASE,
            "task_type": "text_generation" if rng.random() < 0.1 else "text_classification",
        }
        key = (ALICE, MALLORY, EVE)[int(rng.choice(3, p=[0.7, 0.2, 0.1]))]
        kind = rng.random()
        if kind < 0.03:
            market.envelopes[ref] = TrustError("unsigned", "no envelope")
        elif kind < 0.06:
            market.envelopes[ref] = b"{not an envelope"
        elif kind < 0.1:
            market.envelopes[ref] = envelope(key, **{**changes, "expires": "2026-02-01T00:00:00Z"})
        else:
            market.envelopes[ref] = envelope(key, **changes)
    return market


def rules(**settings: Any) -> MarketRules:
    """Return the rules of the standard policy at the tests' time."""
    fields = {name: settings.pop(name) for name in ("now", "state", "judging_digests") if name in settings}
    return MarketRules(settings.pop("policy", None) or standard_policy(**settings), fields.pop("now", NOW), **fields)


def letters(texts: list[str]) -> np.ndarray:
    """Count pairs of letters: deterministic, and near for near texts."""
    vectors = np.zeros((len(texts), 64))
    for row, text in enumerate(texts):
        lower = text.lower()
        for one, two in pairwise(lower):
            vectors[row, (ord(one) * 31 + ord(two)) % 64] += 1.0
    return vectors
