"""A market with a registry that a test can attack: keep it honestly, mutate, and read the code of the refusal.

The market, the registry and the client are the real ones. What an attacker could do with some of the keys (``forge``)
or with write access to the files is done here; nothing of the library is replaced.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from symbio_lab.errors import SymbioError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.registry.offers import collect_offers
from symbio_lab.marketplace.registry.reading import read_registry
from symbio_lab.marketplace.registry.registered import Registry
from symbio_lab.marketplace.registry.role_keys import RegistryKeys, Thresholds
from symbio_lab.marketplace.registry.signer import tuf_signer
from symbio_lab.marketplace.registry.static_files import FolderFiles, StaticFiles
from symbio_lab.marketplace.registry.transport import RegisteredTransport
from symbio_lab.marketplace.registry.writing import RegistryChange, change_registry, create_registry
from symbio_lab.records import Candidate
from symbio_lab.trust.keys import SigningKey
from tests.attacks.market_simulator import NOW, Market

ROOT_KEYS = tuple(SigningKey.from_seed(bytes([10 + i]) * 32) for i in range(3))
TARGETS_KEY, SNAPSHOT_KEY, TIMESTAMP_KEY = (SigningKey.from_seed(bytes([20 + i]) * 32) for i in range(3))
STRANGER = SigningKey.from_seed(bytes([30]) * 32)
KEYS = RegistryKeys(ROOT_KEYS, (TARGETS_KEY,), (SNAPSHOT_KEY,), (TIMESTAMP_KEY,))
KINDS: dict[str, Any] = {"root": Root, "timestamp": Timestamp, "snapshot": Snapshot, "targets": Targets}


def code_of(call: Callable[[], object]) -> str:
    """Return the code with which ``call`` is refused, or ``accepted``."""
    try:
        call()
    except SymbioError as error:
        return error.code
    return "accepted"


def later(now: str, **by: int) -> str:
    return (datetime.strptime(now, "%Y-%m-%dT%H:%M:%SZ") + timedelta(**by)).strftime("%Y-%m-%dT%H:%M:%SZ")


class RegisteredMarket:
    """One directory market, its registry and keeper, and one client that faces both.

    ``root`` is a new folder, or a copy of one that was used before.
    """

    def __init__(self, root: Path) -> None:
        self.market = Market(root)
        self.folder = root / "market" / "registry"
        self.metadata = self.folder / "metadata"
        self.memory = root / "keeper" / "kept.json"
        self.cache = root / "client" / "cache"
        self.copies = root / "copies"
        self.now = NOW
        first = self.metadata / "1.root.json"
        if not first.is_file():
            create_registry(self.folder, KEYS, memory=self.memory, now=NOW, thresholds=Thresholds(root=2))
        self.root = first.read_bytes()

    # ------------------------------------------------------------------------------------------- the keeper

    def publish(self, **changes: Any) -> Path:
        return self.market.publish(**changes)

    def register(self, **changes: Any) -> RegistryChange:
        """Register all that the market offers now."""
        offers = collect_offers(self.market.transport, self.market.policy, now=self.now)
        return self.change(add=offers.accepted, **changes)

    def change(self, **changes: Any) -> RegistryChange:
        return change_registry(self.folder, self.root, KEYS, memory=self.memory, now=self.now, **changes)

    # ------------------------------------------------------------------------------------------- the client

    def read(self, files: StaticFiles | None = None) -> Registry:
        return read_registry(files or FolderFiles(self.folder), self.root, self.cache, now=self.now)

    def read_code(self, files: StaticFiles | None = None) -> str:
        return code_of(lambda: self.read(files))

    def transport(self) -> RegisteredTransport:
        return RegisteredTransport(self.market.transport, FolderFiles(self.folder), self.root, self.cache, self.now)

    def code(self, ref: str = "alice/travel") -> str:
        """Return the code with which the client refuses to fetch ``ref``, or ``accepted``."""
        transport = self.transport()
        client = MarketplaceClient([transport], self.market.policy, self.market.store, self.now)
        patch, attempt = client.fetch(Candidate(ref, transport.uri, None, 1.0, ""))
        return attempt.code if patch is None else "accepted"

    # ----------------------------------------------------------------------------------------- the attacker

    def copy(self, name: str = "old") -> Path:
        """Keep a copy of all metadata as they are now."""
        return Path(shutil.copytree(self.metadata, self.copies / name))

    def put_back(self, name: str = "old") -> None:
        shutil.rmtree(self.metadata)
        shutil.copytree(self.copies / name, self.metadata)

    def load(self, role: str) -> Any:
        """Return the current metadata of a role, to be changed."""
        kind = role if role in KINDS else "targets"
        return Metadata[KINDS[kind]].from_file(str(self.current(role)))

    def current(self, role: str) -> Path:
        """Return the file of the newest version of a role."""
        if role == "timestamp":
            return self.metadata / "timestamp.json"
        found = {int(path.name.partition(".")[0]): path for path in self.metadata.glob(f"*.{role}.json")}
        return found[max(found)]

    def forge(self, role: str, signed: Any, keys: Iterable[SigningKey]) -> bytes:
        """Write metadata signed by ``keys`` where a client looks for it; return the file's bytes."""
        metadata = Metadata(signed)
        for key in keys:
            metadata.sign(tuf_signer(key), append=True)
        data = metadata.to_bytes()
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        (self.metadata / name).write_bytes(data)
        return data

    def forge_snapshot(self, keys: Iterable[SigningKey], **files: bytes) -> bytes:
        """Write a newer snapshot that names these files (role -> bytes) in place of the honest ones."""
        snapshot = self.load("snapshot").signed
        snapshot.version += 1
        for role, data in files.items():
            snapshot.meta[f"{role}.json"] = describe(data)
        return self.forge("snapshot", snapshot, keys)

    def forge_timestamp(self, keys: Iterable[SigningKey], snapshot: bytes) -> None:
        timestamp = self.load("timestamp").signed
        timestamp.version += 1
        timestamp.snapshot_meta = describe(snapshot)
        self.forge("timestamp", timestamp, keys)


def describe(data: bytes) -> MetaFile:
    version = Metadata.from_bytes(data).signed.version
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def far_away() -> datetime:
    return datetime(2099, 1, 1, tzinfo=UTC)
