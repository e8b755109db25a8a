"""Loaded bases, one copy for all tenants, and the adapters of the patches that answer now.

Rules:
    1. A base is loaded on first use and stays while there is room; the one that was used longest ago leaves, after it
       answered what waits for it.
    2. Patches are opened by the digest that the hash-chained ledger names, checked to fit, and kept in bounded memory
       (``models/kept_adapters.py``); other bytes than these never answer.
    3. Every answer comes through the base's queue (``answering.py``): one thread uses the network, tenants are mixed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from symbio_lab.config import Settings
from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.models.kept_adapters import KeptAdapters
from symbio_lab.models.loading import load_model
from symbio_lab.models.mixed_batch import Slot
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import Deployment
from symbio_lab.service.answering import Answering, AnsweringFigures
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.store.registered_models import RegisteredModel
from symbio_lab.trust.stored import open_stored

BASE = Slot("base", None)
"""What answers where nothing is deployed."""


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded base."""

    model: PatchableModel
    adapters: KeptAdapters
    answering: Answering


class Residents:
    """The bases that are in memory."""

    def __init__(self, settings: Settings, service: ServiceSettings) -> None:
        """Prepare; nothing is loaded yet."""
        self._settings, self._service = settings, service
        self._loaded: OrderedDict[str, Resident] = OrderedDict()
        self._guard = threading.Lock()

    @property
    def num_loaded(self) -> int:
        """Bases in memory."""
        return len(self._loaded)

    def figures(self) -> list[AnsweringFigures]:
        """Return what each base in memory did so far."""
        with self._guard:
            loaded = list(self._loaded.values())
        return [resident.answering.figures() for resident in loaded]

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
                service = self._service
                held = self._loaded[registered.digest] = Resident(
                    model,
                    KeptAdapters(model, service.max_adapter_bytes),
                    Answering(model, max_texts=service.max_waiting_texts, max_tokens=service.max_batch_tokens),
                )
                while len(self._loaded) > self._service.max_resident:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(registered.digest)
            return held

    def slot(self, resident: Resident, line: Deployment | None) -> Slot:
        """Return what answers by a line of the ledger.

        Raises:
            ModelError: the patch does not fit this base.
            NotFoundError: the store holds no such patch.
            TrustError: its files changed on disk; nothing is answered with other bytes.
        """
        if line is None or line.patch_digest is None:
            return BASE
        adapter = resident.adapters.find(line.patch_digest)
        if adapter is None:
            adapter = resident.adapters.get(open_stored(self._settings.patches, line.patch_digest))
        return Slot(line.patch_id or line.patch_digest[:12], adapter)
