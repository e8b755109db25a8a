"""Our own tensors become a ``Patch``: written in the market's format, signed, in the content-addressed store.

Rules:
    1. What training, composition or chance produced takes this one way to become a ``Patch``, so that ours and
       strangers' are applied, judged and published alike.
    2. Without a key, a key of this process signs. It is never written, no policy enrols it, and the level is
       ``self``: such a patch can be applied here but never passes for a published one.
    3. Same tensors, texts, times and key give the same bytes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError
from symbio_lab.records import AdapterSpec, ClaimedMetric, FileEntry, Patch, PatchManifest, TaskType
from symbio_lab.trust.adapter_files import (
    CARD_NAME,
    CONFIG_NAME,
    DELTAS_NAME,
    PREFIX,
    ROWS_NAME,
    HeadRows,
    adapter_config_bytes,
    card_markdown,
    check_adapter_bytes,
)
from symbio_lab.trust.envelope import sign_envelope
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.manifest import as_ppm, manifest_to_payload
from symbio_lab.trust.policy import SELF_LEVEL
from symbio_lab.trust.strict_fields import clean_text
from symbio_lab.trust.verifying import reopen, store_files

__all__ = ["HeadRows", "process_key", "reseal_patch", "seal_files", "seal_patch"]

_process_key: SigningKey | None = None
_process_key_lock = threading.Lock()
_DTYPES: dict[str, Any] = {"F32": np.float32, "F16": np.float16}


def process_key() -> SigningKey:
    """Return the key of this process: made on first use, never written."""
    global _process_key
    with _process_key_lock:
        if _process_key is None:
            _process_key = SigningKey.generate()
        return _process_key


def seal_patch(
    *,
    store: Path,
    deltas: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    rank: int,
    alpha: float,
    head_rows: HeadRows | None,
    base_id: str,
    base_digest: str,
    task_type: TaskType,
    patch_id: str,
    title: str,
    scope: str,
    labels: Sequence[str],
    domain: str,
    licence: str,
    training_data: str,
    issued: str,
    expires: str,
    claims: Iterable[ClaimedMetric] = (),
    lineage: Sequence[str] = (),
    key: SigningKey | None = None,
    version: int = 1,
    previous: str | None = None,
    dtype: Literal["F32", "F16"] = "F32",
) -> Patch:
    """Return our own tensors as a signed patch in ``store``.

    Args:
        store: folder of verified patches.
        deltas: module name -> (A of shape (r, in), B of shape (out, r)); empty for a patch of head rows only.
        rank: LoRA rank r, shared by all deltas; ignored without deltas.
        alpha: LoRA alpha, shared by all deltas; ignored without deltas.
        head_rows: rows that the patch adds to the head, or None.
        base_id: id of the base model.
        base_digest: digest of the base model, 64 hex.
        task_type: ``text_classification`` or ``text_generation``.
        patch_id: ``namespace/name``.
        title: one line.
        scope: what it heals, in words.
        labels: labels that it claims to fix.
        domain: domain of the failures.
        licence: SPDX id.
        training_data: statement about the training data.
        issued: UTC time, ``2026-01-31T12:00:00Z``.
        expires: UTC time, later than ``issued``.
        claims: claimed metrics; rounded to parts per million.
        lineage: payload digests of the patches that it was made from.
        key: publisher's key; None signs with the process key and gives the level ``self``.
        version: version under ``patch_id``, from 1.
        previous: payload digest of the previous version.
        dtype: precision on disk.

    Raises:
        DataError: neither deltas nor rows, or arrays that are not two-dimensional numbers.
        TrustError: ``bad_tensors`` (shapes do not match the rank), ``non_finite``, ``bad_manifest``, ``unsafe_name``.
        StorageError: the store cannot be written.
    """
    if not deltas and head_rows is None:
        raise DataError("a patch needs deltas or head rows", hint="check that the training produced an update")
    signer = key or process_key()
    spec = AdapterSpec(
        kind="LORA" if deltas else "HEAD_ROWS",
        rank=rank if deltas else 0,
        alpha=float(alpha) if deltas else 0.0,
        target_modules=tuple(sorted(deltas)),
        head_labels=tuple(head_rows.labels) if head_rows else (),
        num_features=int(np.asarray(head_rows.weight).shape[-1]) if head_rows else 0,
        dtype=dtype,
    )
    files: dict[str, bytes] = {}
    if deltas:
        tensors = {}
        for module, (a, b) in deltas.items():
            tensors[f"{PREFIX}{module}.lora_A.weight"] = _as_array(a, dtype, module)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = _as_array(b, dtype, module)
        files[DELTAS_NAME] = _save(tensors)
        files[CONFIG_NAME] = adapter_config_bytes(spec, base_id, task_type)
    if head_rows is not None:
        rows = {"weight": head_rows.weight, "bias": head_rows.bias}
        files[ROWS_NAME] = _save({name: _as_array(array, dtype, "head rows") for name, array in rows.items()})
    manifest = PatchManifest(
        patch_id=patch_id,
        version=version,
        base_id=base_id,
        base_digest=base_digest,
        task_type=task_type,
        adapter=spec,
        files=(),
        keyid=signer.keyid,
        title=clean_text(title),
        scope=clean_text(scope),
        labels=tuple(labels),
        domain=clean_text(domain),
        licence=licence,
        training_data=clean_text(training_data),
        claims=tuple(ClaimedMetric(c.name, as_ppm(c.value), c.n) for c in claims),
        lineage=tuple(lineage),
        issued=issued,
        expires=expires,
        previous=previous,
    )
    return seal_files(store, manifest, files, key)


def seal_files(
    store: Path,
    manifest: PatchManifest,
    files: Mapping[str, bytes],
    key: SigningKey | None,
    *,
    front_matter: Callable[[PatchManifest], str] | None = None,
) -> Patch:
    """Return tensors and config that already exist as bytes as a signed patch in ``store``.

    The card is written anew from the manifest; ``files`` and ``keyid`` of the manifest are filled in here.

    Args:
        store: folder of verified patches.
        manifest: everything but files and keyid.
        files: bytes by name, without the card.
        key: publisher's key; None signs with the process key and gives the level ``self``.
        front_matter: what a market wants before the card, from the manifest; None writes the card alone.

    Raises:
        TrustError: the bytes or the manifest break a rule that a verifier would enforce.
        StorageError: the store cannot be written.
    """
    signer = key or process_key()
    manifest = replace(manifest, keyid=signer.keyid)
    head = front_matter(manifest) if front_matter is not None else ""
    complete = {**files, CARD_NAME: (head + card_markdown(manifest)).encode("utf-8")}
    entries = tuple(FileEntry(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in complete.items())
    manifest = replace(manifest, files=tuple(sorted(entries, key=lambda entry: entry.name)))
    payload = manifest_to_payload(manifest)
    check_adapter_bytes(manifest, complete)
    digest = hashlib.sha256(payload).hexdigest()
    root = store_files(store, digest, manifest, complete, sign_envelope(payload, signer))
    return Patch(manifest, root, digest, SELF_LEVEL if key is None else "signed")


def reseal_patch(
    store: Path,
    patch: Patch,
    key: SigningKey,
    *,
    front_matter: Callable[[PatchManifest], str] | None = None,
    **changes: Any,
) -> Patch:
    """Return ``patch`` signed by ``key`` with some fields of its manifest changed (a new payload, a new digest).

    Args:
        store: folder of verified patches.
        patch: verified patch; its files are hashed again.
        key: publisher's key.
        front_matter: see ``seal_files``.
        changes: fields of ``PatchManifest`` to replace, such as ``patch_id``, ``version``, ``issued``.

    Raises:
        TrustError: ``digest_mismatch``, or a rule that the new manifest breaks.
        StorageError: the store cannot be written.
    """
    files = {name: data for name, data in reopen(patch).items() if name != CARD_NAME}
    return seal_files(store, replace(patch.manifest, **changes), files, key, front_matter=front_matter)


def _as_array(values: Any, dtype: str, what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{what}: expected numbers, got {array.dtype}", hint="pass float arrays")
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused as non_finite
        return np.ascontiguousarray(array, dtype=_DTYPES[dtype])


def _save(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    from safetensors.numpy import save

    return save(dict(tensors))
