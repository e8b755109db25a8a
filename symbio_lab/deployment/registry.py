"""The in-process model registry: which patch answers for which tenant, and the way back.

Rules:
    1. One base serves all tenants; a tenant's patch is applied for the length of a prediction only.
    2. Every change is a line of the append-only ledger first, then of the registry.
    3. Rolling back restores the previous deployment's patch, bit for bit: the same verified files are applied.
"""

from __future__ import annotations

from collections.abc import Sequence

from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.models.protocol import PatchableModel, Predictions
from symbio_lab.records import Patch


class ModelRegistry:
    """Registered bases and each tenant's live patch."""

    def __init__(self) -> None:
        """Start empty."""
        self._models: dict[str, PatchableModel] = {}
        self._live: dict[tuple[str, str], Patch | None] = {}

    def register(self, model_id: str, model: PatchableModel) -> None:
        """Make a base known under an id."""
        self._models[model_id] = model

    def model(self, model_id: str) -> PatchableModel:
        """Return a registered base.

        Raises:
            ModelUnresolvedError: no model is registered under this id.
        """
        if model_id not in self._models:
            raise ModelUnresolvedError(
                f"no model is registered as {model_id!r}",
                hint="register it first; registered: " + (", ".join(sorted(self._models)) or "none"),
            )
        return self._models[model_id]

    def live_patch(self, tenant: str, model_id: str) -> Patch | None:
        """Return the tenant's live patch; None means the base answers."""
        return self._live.get((tenant, model_id))

    def set_live(self, tenant: str, model_id: str, patch: Patch | None) -> None:
        """Let ``patch`` (or the base) answer for a tenant; only ``deploy`` and ``roll_back`` call this.

        Raises:
            ModelUnresolvedError: no model is registered under this id.
        """
        self.model(model_id)
        self._live[tenant, model_id] = patch

    def predict(self, tenant: str, model_id: str, texts: Sequence[str]) -> Predictions:
        """Return the predictions of the tenant's deployed model.

        Raises:
            ModelUnresolvedError: no model is registered under this id.
        """
        model = self.model(model_id)
        with model.applied(self.live_patch(tenant, model_id)):
            return model.predict(texts)
