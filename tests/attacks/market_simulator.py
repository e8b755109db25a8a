"""A market that a test can attack: publish honestly, mutate, and read the code of the refusal.

It uses the real transport and the real client. What an attacker could do with a key (``resign``) or with write access
to the market (plain file operations) is done here; nothing of the library is replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.records import Attempt, Candidate, ClaimedMetric, Patch, canonical_json
from symbio_lab.trust.adapter_files import HeadRows
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload, sign_envelope
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import PublisherKey, TrustPolicy, policy_for
from symbio_lab.trust.sealing import seal_patch
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import verify_patch

T = TypeVar("T")
ALICE = SigningKey.from_seed(bytes([1]) * 32)
MALLORY = SigningKey.from_seed(bytes([2]) * 32)
EVE = SigningKey.from_seed(bytes([3]) * 32)
"""ALICE is known, MALLORY is enrolled but not known, EVE is a stranger."""
BASE = "b" * 64
NOW = "2026-06-01T00:00:00Z"
ISSUED = "2026-01-01T00:00:00Z"
EXPIRES = "2027-01-01T00:00:00Z"
MODULE = "bert.encoder.layer.0.attention.self.query"


def standard_policy(**settings: Any) -> TrustPolicy:
    return policy_for(
        [PublisherKey(ALICE.public_hex, "alice", known=True), PublisherKey(MALLORY.public_hex, "mallory")], **settings
    )


def deltas(seed: int = 0, rank: int = 2, modules: tuple[str, ...] = (MODULE,)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=(rank, 8)).astype(np.float32), rng.normal(size=(8, rank)).astype(np.float32))
        for name in modules
    }


def head_rows(num_rows: int = 2, seed: int = 0) -> HeadRows:
    rng = np.random.default_rng(seed)
    labels = tuple(f"label_{i}" for i in range(num_rows))
    return HeadRows(labels, rng.normal(size=(num_rows, 8)).astype(np.float32), np.zeros(num_rows, np.float32))


def seal(store: Path, **changes: Any) -> Patch:
    """Return an honest patch by ALICE; any argument of ``seal_patch`` can be changed."""
    arguments: dict[str, Any] = {
        "store": store,
        "deltas": deltas(),
        "rank": 2,
        "alpha": 4,
        "head_rows": None,
        "base_id": "org/base",
        "base_digest": BASE,
        "task_type": "text_classification",
        "patch_id": "alice/travel",
        "title": "Travel intents",
        "scope": "fixes flight and hotel booking requests",
        "labels": ("book_flight", "book_hotel"),
        "domain": "travel",
        "licence": "Apache-2.0",
        "training_data": "own templates",
        "claims": (ClaimedMetric("fix_rate", 0.5, 100),),
        "issued": ISSUED,
        "expires": EXPIRES,
        "key": ALICE,
    }
    return seal_patch(**{**arguments, **changes})


def safetensors_bytes(header: Mapping[str, Any] | bytes, body: bytes, length: int | None = None) -> bytes:
    """Return a safetensors file with any header, also one that no library would write."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + body


def resign(
    folder: Path,
    key: SigningKey = ALICE,
    edit: Callable[[dict[str, Any]], None] | None = None,
    files: Mapping[str, bytes | None] | None = None,
) -> None:
    """Change files and statement of a published patch, and sign the result as a malicious key owner would."""
    statement = json.loads(peek_payload((folder / ENVELOPE_NAME).read_bytes()))
    for name, data in (files or {}).items():
        if data is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(data)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    contents = {name: (folder / name).read_bytes() for name in names if name != ENVELOPE_NAME}
    statement["subject"] = [
        {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}} for name, data in contents.items()
    ]
    statement["predicate"]["sizes"] = {name: len(data) for name, data in contents.items()}
    statement["predicate"]["publisher"]["keyid"] = key.keyid
    if edit:
        edit(statement)
    (folder / ENVELOPE_NAME).write_bytes(sign_envelope(canonical_json(statement), key))


def attempt(call: Callable[[], T]) -> tuple[T | None, str]:
    """Return what ``call`` returns and no code, or nothing and the code of its refusal."""
    try:
        return call(), ""
    except TrustError as error:
        return None, error.code


class Market:
    """One directory market and one client that faces it."""

    def __init__(self, root: Path, policy: TrustPolicy | None = None) -> None:
        self.root = root
        self.transport = DirectoryTransport(root / "market")
        self.policy = policy or standard_policy()
        self.store = root / "verified"
        self.now = NOW

    def publish(self, **changes: Any) -> Path:
        """Publish a patch honestly and return its folder in the market."""
        patch = seal(self.root / "publisher", **changes)
        self.transport.publish(patch.root, patch.patch_id)
        return self.folder(f"{patch.patch_id}@{patch.manifest.version}")

    def folder(self, ref: str) -> Path:
        patch_id, _, version = ref.partition("@")
        return self.transport.path / "patches" / patch_id / f"v{version or 1}"

    def client(self, **settings: Any) -> MarketplaceClient:
        return MarketplaceClient([self.transport], self.policy, self.store, self.now, **settings)

    def fetch(self, ref: str = "alice/travel", **wanted: Any) -> tuple[Patch | None, Attempt]:
        """Fetch past the search, so that only the verifier stands between the attacker and the model."""
        return self.client().fetch(Candidate(ref, self.transport.uri, None, 1.0, ""), **wanted)

    def code(self, ref: str = "alice/travel", **wanted: Any) -> str:
        """Return the code with which ``ref`` is refused, or ``accepted``."""
        before = self.stored()
        patch, attempt = self.fetch(ref, **wanted)
        assert (patch is None) == (attempt.status == "refused")
        # A refusal leaves nothing in the store that could be applied.
        assert patch is not None or self.stored() == before
        return attempt.code if patch is None else "accepted"

    def stored(self) -> set[str]:
        return {path.relative_to(self.store).as_posix() for path in self.store.rglob("*")}

    def verify(self, folder: Path, state: TrustedState | None = None, **wanted: Any) -> Patch:
        return verify_patch(folder, self.policy, state or TrustedState(), now=self.now, store=self.store, **wanted)
