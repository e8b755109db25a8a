"""Loaded bases, one copy for all tenants, and each tenant's live patch as the ledger has it.

Rules:
    1. A base is loaded on first use and stays while there is room; the one that was used longest ago leaves.
    2. What is live is what the ledger says: a deployment by another process is seen at the next request, without a
       restart, because each prediction compares the ledger's newest line with the one it knows.
    3. A prediction holds the base's lock: patches are applied for its length only, so that no request ever sees
       another tenant's patch, and a swap waits for the batch in progress and drops none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from symbio_lab.config import Settings
from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.models.loading import load_model
from symbio_lab.models.protocol import PatchableModel, Predictions
from symbio_lab.records import Deployment, Patch
from symbio_lab.store.ledger import Ledger
from symbio_lab.store.registered_models import RegisteredModel
from symbio_lab.trust.stored import open_stored


@dataclass(slots=True)
class Resident:
    """One loaded base."""

    model: PatchableModel
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers, and what gave them."""

    predictions: Predictions
    deployment: Deployment | None
    """The ledger's line; None: the base as it was registered."""


class Residents:
    """The bases that are in memory."""

    def __init__(self, settings: Settings, ledger: Ledger, *, max_resident: int = 4) -> None:
        """Prepare; nothing is loaded yet."""
        self._settings, self._ledger, self._max = settings, ledger, max_resident
        self._loaded: OrderedDict[str, Resident] = OrderedDict()
        self._patches: OrderedDict[str, Patch] = OrderedDict()
        self._guard = threading.Lock()

    @property
    def num_loaded(self) -> int:
        """Bases in memory."""
        return len(self._loaded)

    def get(self, registered: RegisteredModel) -> Resident:
        """Return a loaded base.

        Raises:
            ModelUnresolvedError: it cannot be loaded, or its files are not those that were registered.
        """
        with self._guard:
            held = self._loaded.get(registered.digest)
            if held is None:
                model = load_model(
                    registered.source,
                    revision=registered.revision,
                    task=registered.task_type,
                    device=self._settings.device,
                    dtype=self._settings.dtype,
                )
                if model.digest != registered.digest:
                    raise ModelUnresolvedError(
                        f"the files of {registered.model_id!r:.120} changed since it was registered",
                        hint="register the new base under another id",
                    )
                held = self._loaded[registered.digest] = Resident(model)
                while len(self._loaded) > self._max:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(registered.digest)
            return held

    def predict(self, tenant: str, registered: RegisteredModel, texts: Sequence[str]) -> Answered:
        """Answer with the tenant's live patch.

        Raises:
            ModelUnresolvedError: the base cannot be loaded.
            TrustError: the live patch's files changed on disk; nothing is answered with other bytes.
            StorageError: the ledger or the patch store cannot be read.
        """
        resident = self.get(registered)
        line = self._ledger.current(tenant, registered.model_id)
        patch = None if line is None or line.patch_digest is None else self._patch(line.patch_digest)
        with resident.lock, resident.model.applied(patch):
            return Answered(resident.model.predict(texts), line)

    def _patch(self, digest: str) -> Patch:
        with self._guard:
            if digest not in self._patches:
                self._patches[digest] = open_stored(self._settings.patches, digest)
                while len(self._patches) > 256:
                    self._patches.popitem(last=False)
            self._patches.move_to_end(digest)
            return self._patches[digest]
