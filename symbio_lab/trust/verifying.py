"""A folder of a stranger becomes a ``Patch``, or a refusal with a stable code.

Protocol:
    1. The envelope is read (bounded) and every rule of ``trusted_set`` runs on it; no other file is opened before.
    2. The folder must hold exactly the signed files: names and sizes are compared before any content is read.
    3. Each file is read once into memory; its digest is taken from those bytes.
    4. Config and tensors are checked on those bytes (``adapter_files``, ``tensors``).
    5. *Those bytes* are written to ``store/<payload digest>/``. The returned ``Patch`` points there, so swapping files
       in the market after the check changes nothing; ``read_verified`` hashes again before anything is applied.

Flow: trust/verifying.py -> evaluation/evaluate.py
Next: symbio_lab/evaluation/evaluate.py
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from symbio_lab.codec import build_folder
from symbio_lab.errors import StorageError, TrustError
from symbio_lab.records import Patch, PatchManifest
from symbio_lab.trust.adapter_files import check_adapter_bytes
from symbio_lab.trust.envelope import ENVELOPE_NAME, MAX_ENVELOPE_BYTES
from symbio_lab.trust.folder_reading import list_folder, read_file
from symbio_lab.trust.naming import check_file_name, is_forbidden
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.trusted_set import TrustedState, check_envelope


def verify_patch(
    folder: Path,
    policy: TrustPolicy,
    state: TrustedState,
    *,
    now: str,
    store: Path,
    expect_ref: str | None = None,
    base_digest: str | None = None,
    task_type: str | None = None,
    evaluations: Sequence[bytes] = (),
    judging_digests: Collection[str] = (),
) -> Patch:
    """Return the verified patch in ``folder``, copied to the content-addressed ``store``.

    Args:
        folder: the patch as it came from a market.
        policy: the tenant's rules.
        state: versions accepted before (not changed; see ``TrustedState.with_seen``).
        now: UTC time, ISO-8601, ends in ``Z``.
        store: folder for verified patches.
        expect_ref: ``namespace/name`` or ``namespace/name@version`` that was asked for.
        base_digest: digest of the model to heal.
        task_type: task type of the failures.
        evaluations: unverified envelope files of signed evaluations of this patch.
        judging_digests: splits that an evaluation must not have touched.

    Raises:
        TrustError: every code of ``check_envelope``; ``missing_file``, ``extra_file``, ``forbidden_file``,
            ``unsafe_name``, ``size_mismatch``, ``digest_mismatch``, ``bad_config``, ``bad_tensors``, ``non_finite``.
        StorageError: the folder cannot be read or the store cannot be written.
    """
    present = list_folder(folder)
    if ENVELOPE_NAME not in present:
        _refuse_forbidden(present)
    envelope = read_envelope(folder)
    accepted = check_envelope(
        envelope,
        policy,
        state,
        now=now,
        expect_ref=expect_ref,
        base_digest=base_digest,
        task_type=task_type,
        evaluations=evaluations,
        judging_digests=judging_digests,
    )
    files = _read_signed(folder, present, accepted.manifest)
    check_adapter_bytes(accepted.manifest, files)
    root = store_files(store, accepted.digest, accepted.manifest, files, envelope)
    return Patch(accepted.manifest, root, accepted.digest, accepted.level)


def read_envelope(folder: Path) -> bytes:
    """Return the bytes of the envelope in a patch folder, unverified and bounded.

    Raises:
        TrustError: ``unsigned``: there is none; ``bad_envelope``: it is too large; ``unsafe_name``: it is a link.
        StorageError: it cannot be read.
    """
    try:
        return read_file(folder, ENVELOPE_NAME, MAX_ENVELOPE_BYTES)
    except TrustError as error:
        code = {"missing_file": "unsigned", "too_large": "bad_envelope"}.get(error.code, error.code)
        raise TrustError(code, f"{folder.name}: {error}") from error


def read_verified(patch: Patch, name: str) -> bytes:
    """Return the bytes of one signed file of ``patch``, hashed again.

    Raises:
        TrustError: ``missing_file``: no such file is signed, or it is gone; ``digest_mismatch``: it was changed on
            disk; ``too_large`` or ``unsafe_name``: it was replaced by something else.
    """
    for entry in patch.manifest.files:
        if entry.name == name:
            data = read_file(patch.root, name, entry.size_bytes)
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise TrustError("digest_mismatch", f"{name} of {patch.patch_id} changed after it was verified")
            return data
    raise TrustError("missing_file", f"{patch.patch_id} signs no file {name!r:.80}")


def reopen(patch: Patch) -> dict[str, bytes]:
    """Return all signed files of ``patch`` by name, each hashed again.

    Raises:
        TrustError: as ``read_verified``.
    """
    return {entry.name: read_verified(patch, entry.name) for entry in patch.manifest.files}


def store_files(store: Path, digest: str, manifest: PatchManifest, files: Mapping[str, bytes], envelope: bytes) -> Path:
    """Return the folder ``store/<digest>/`` that holds exactly ``files`` and the envelope, whole or absent.

    A folder that is already there is used only if its bytes still match; otherwise it is made anew.

    Raises:
        StorageError: disk full or no permission.
    """
    target = store / digest
    if target.is_dir():
        if _is_intact(target, manifest):
            return target
        try:
            shutil.rmtree(target)
        except OSError as error:
            raise StorageError(f"cannot replace a damaged patch: {error.strerror or error}") from error

    def fill(folder: Path) -> None:
        for name, data in (*files.items(), (ENVELOPE_NAME, envelope)):
            path = folder / check_file_name(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    return build_folder(target, fill)


def _read_signed(folder: Path, present: Mapping[str, int], manifest: PatchManifest) -> dict[str, bytes]:
    """Read exactly the signed files; everything that a listing can tell is checked before the first read."""
    _refuse_forbidden(present)
    signed = {entry.name for entry in manifest.files}
    missing, extra = sorted(signed - set(present)), sorted(set(present) - signed - {ENVELOPE_NAME})
    if missing:
        raise TrustError("missing_file", f"{manifest.patch_id} lacks {missing[0]}")
    if extra:
        raise TrustError("extra_file", f"{manifest.patch_id} holds {extra[0]!r:.80}, which is not signed")
    for entry in manifest.files:
        if present[entry.name] != entry.size_bytes:
            raise TrustError(
                "size_mismatch", f"{entry.name} has {present[entry.name]} bytes, signed are {entry.size_bytes}"
            )
    files: dict[str, bytes] = {}
    for entry in manifest.files:
        data = read_file(folder, entry.name, entry.size_bytes)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise TrustError("digest_mismatch", f"{entry.name} of {manifest.patch_id} is not the file that was signed")
        files[entry.name] = data
    return files


def _refuse_forbidden(present: Mapping[str, int]) -> None:
    forbidden = [name for name in present if is_forbidden(name)]
    if forbidden:
        raise TrustError("forbidden_file", f"the patch holds {forbidden[0]!r:.80}")


def _is_intact(target: Path, manifest: PatchManifest) -> bool:
    try:
        present = list_folder(target)
        _read_signed(target, present, manifest)
    except TrustError:
        return False
    return ENVELOPE_NAME in present
