"""Deploy a patch for one tenant, and roll it back.

Flow: evaluation/evaluate.py -> deployment/deploy.py, the end of the spine; the ledger is in store/ledger.py.
"""

from __future__ import annotations

from collections.abc import Callable

from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import NotFoundError, TrustError
from symbio_lab.events import Deployed, Listener, emit
from symbio_lab.records import Deployment, Patch
from symbio_lab.store.ledger import Ledger

Reopen = Callable[[str], Patch]
"""Payload digest -> the verified patch again, from the patch store."""


def deploy(
    registry: ModelRegistry,
    ledger: Ledger,
    patch: Patch,
    *,
    tenant: str,
    model_id: str,
    now: str,
    stage: str = "live",
    note: str = "",
    share_ppm: int | None = None,
    listener: Listener | None = None,
) -> Deployment:
    """Return the ledger line of a new deployment; a ``live`` one answers from now on.

    Args:
        registry: where the base is registered.
        ledger: append-only history.
        patch: a verified patch that the gate accepted.
        tenant: who gets it.
        model_id: registered id of the base.
        now: UTC time.
        stage: ``live``, ``shadow`` or ``canary``; only ``live`` changes answers in this registry.
        note: shown in the ledger.
        share_ppm: parts per million of the traffic that a shadow or canary takes part in.
        listener: told about it.

    Raises:
        ModelUnresolvedError: the model is not registered.
        TrustError: ``wrong_base``: the patch was made for another base.
        StorageError: the ledger cannot be written; nothing changed.
    """
    model = registry.model(model_id)
    if patch.manifest.base_digest != model.digest:
        raise TrustError("wrong_base", f"{patch.patch_id} was made for another base than {model_id}")
    current = ledger.current(tenant, model_id)
    line = Deployment(
        tenant=tenant,
        model_id=model_id,
        base_digest=model.digest,
        patch_digest=patch.digest,
        patch_id=patch.patch_id,
        stage=stage,  # type: ignore[arg-type]
        previous=current.deployment_id if current else None,
        created_at=now,
        note=note,
        share_ppm=share_ppm,
    )
    ledger.append(line)
    if stage == "live":
        registry.set_live(tenant, model_id, patch)
    emit(listener, Deployed(line.deployment_id, patch.patch_id, stage))
    return line


def roll_back(
    registry: ModelRegistry,
    ledger: Ledger,
    *,
    tenant: str,
    model_id: str,
    now: str,
    reopen: Reopen,
    listener: Listener | None = None,
) -> Deployment:
    """Return the ledger line that undoes the tenant's live deployment.

    What answered before it answers again: its predecessor's patch, or the base.

    Raises:
        NotFoundError: nothing is deployed for this tenant and model.
        TrustError: the predecessor's files changed on disk; nothing was rolled back.
        StorageError: the ledger cannot be written; nothing changed.
    """
    current = ledger.current(tenant, model_id)
    if current is None or current.patch_digest is None:
        raise NotFoundError(f"nothing is deployed for tenant {tenant!r} on {model_id!r}")
    target = ledger.get(current.previous) if current.previous else None
    patch = reopen(target.patch_digest) if target and target.patch_digest else None
    line = Deployment(
        tenant=tenant,
        model_id=model_id,
        base_digest=current.base_digest,
        patch_digest=patch.digest if patch else None,
        patch_id=patch.patch_id if patch else None,
        stage="rolled_back",
        previous=target.previous if target else None,
        created_at=now,
        note=f"rolls back {current.deployment_id[:12]}",
    )
    ledger.append(line)
    registry.set_live(tenant, model_id, patch)
    emit(listener, Deployed(line.deployment_id, line.patch_id, "rolled_back"))
    return line


def withdraw(ledger: Ledger, candidate: Deployment, *, now: str, listener: Listener | None = None) -> Deployment:
    """Return the ledger line that ends a shadow or canary; what is live goes on.

    Raises:
        StorageError: the ledger cannot be written; nothing changed.
    """
    live = ledger.current(candidate.tenant, candidate.model_id)
    line = Deployment(
        tenant=candidate.tenant,
        model_id=candidate.model_id,
        base_digest=live.base_digest if live else candidate.base_digest,
        patch_digest=live.patch_digest if live else None,
        patch_id=live.patch_id if live else None,
        stage="rolled_back",
        # Rolling back once more leads to what was before the line that is live now.
        previous=live.previous if live else None,
        created_at=now,
        note=f"withdraws {candidate.stage} {candidate.deployment_id[:12]}",
    )
    ledger.append(line)
    emit(listener, Deployed(line.deployment_id, line.patch_id, "rolled_back"))
    return line


def restore(registry: ModelRegistry, ledger: Ledger, *, tenant: str, model_id: str, reopen: Reopen) -> Patch | None:
    """Let what the ledger says is live answer again, after a restart; return that patch, or None for the base.

    Raises:
        ModelUnresolvedError: the model is not registered.
        TrustError: the base differs from the ledger's, or the patch's files changed.
    """
    current = ledger.current(tenant, model_id)
    if current is None:
        return None
    if current.base_digest != registry.model(model_id).digest:
        raise TrustError("wrong_base", f"{model_id} is not the base that {current.deployment_id[:12]} was deployed on")
    patch = reopen(current.patch_digest) if current.patch_digest else None
    registry.set_live(tenant, model_id, patch)
    return patch
