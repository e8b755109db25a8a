"""Verifying what lies in a folder: one patch, or every version of every patch of a market."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from symbio_lab.config import Settings
from symbio_lab.errors import NotFoundError, StorageError, TrustError

if TYPE_CHECKING:
    from symbio_lab.marketplace.directory import DirectoryTransport


@dataclass(frozen=True, slots=True)
class Verified:
    """What the trust rules say about one folder."""

    id: str
    """``namespace/name@version``; of a refused patch what its place or its manifest states, else the folder's name."""
    path: str
    ok: bool
    code: str
    """Trust code of the refusal; empty when accepted."""
    reason: str
    level: str
    """Trust level; ``unverified`` when refused."""
    digest: str
    """Payload digest; empty when refused."""
    keyid: str
    public_key: str


@dataclass(frozen=True, slots=True)
class _Found:
    """One folder to verify."""

    folder: Path
    ref: str | None
    """What its place in the market says that it is; None outside a market."""
    problem: str = ""
    """Why it cannot even be asked for."""


def verify_folder(
    folder: Path, settings: Settings, *, now: str, keys: tuple[str, ...] = (), base_digest: str | None = None
) -> list[Verified]:
    """Return the verdict on a patch folder, or on everything below ``patches/`` of a market.

    Every file is read and checked; verified copies go to a temporary store and are dropped.

    Args:
        folder: patch folder or market folder.
        settings: state folder; decides the policy.
        now: UTC time.
        keys: public keys enrolled for this call only.
        base_digest: base that every patch must be for; None takes the local pool's base, or any.

    Raises:
        NotFoundError: no such folder, or a market without patches.
        StorageError: it cannot be read.
    """
    from symbio_lab.cli.market_access import policy_of_folder
    from symbio_lab.marketplace.directory import DirectoryTransport
    from symbio_lab.trust.trusted_set import TrustedState
    from symbio_lab.trust.verifying import verify_patch

    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint="give a patch folder or a market folder")
    policy, pool_base = policy_of_folder(folder, settings, keys)
    is_market = (folder / "patches").is_dir()
    found = list(_of_market(DirectoryTransport(folder))) if is_market else [_Found(folder, None)]
    if not found:
        raise NotFoundError(f"the market {folder} holds no patch", hint="nothing was verified")
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="symbio-verify-") as store:
        for item in found:
            try:
                if item.problem:
                    raise TrustError("unsafe_name", item.problem)
                patch = verify_patch(
                    item.folder,
                    policy,
                    # No memory: each version is judged by itself, older ones too.
                    TrustedState(),
                    now=now,
                    store=Path(store),
                    expect_ref=item.ref,
                    base_digest=base_digest or pool_base,
                    evaluations=_evaluations(folder, item.folder) if is_market else (),
                )
            except TrustError as error:
                name = item.ref or _stated_id(item.folder)
                verdicts.append(
                    Verified(name, str(item.folder), False, error.code, str(error), "unverified", "", "", "")
                )
                continue
            keyid = patch.manifest.keyid
            verdicts.append(
                Verified(
                    id=f"{patch.patch_id}@{patch.manifest.version}",
                    path=str(item.folder),
                    ok=True,
                    code="",
                    reason=f"signed by {policy.keys[keyid].name}, level {patch.level}",
                    level=patch.level,
                    digest=patch.digest,
                    keyid=keyid,
                    public_key=policy.keys[keyid].public_hex,
                )
            )
    return verdicts


def _of_market(transport: DirectoryTransport) -> Iterator[_Found]:
    """Yield every version in a market, and every entry that has no place in one: skipping it would hide it."""
    from symbio_lab.trust.naming import split_ref

    root = transport.path / "patches"
    for namespace in _visible(root):
        for name in _visible(namespace) if _is_folder(namespace) else [namespace]:
            ref = name.relative_to(root).as_posix()
            try:
                split_ref(ref)
                versions = transport.list_versions(ref)
            except TrustError as error:
                yield _Found(name, ref, str(error))
                continue
            known = {f"v{version}" for version in versions}
            strays = [path for path in (_visible(name) if _is_folder(name) else [name]) if path.name not in known]
            yield from (_Found(name / f"v{version}", f"{ref}@{version}") for version in versions)
            yield from (_Found(p, p.relative_to(root).as_posix(), f"{p.name!r:.80} is no version") for p in strays)


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder; hidden ones are unfinished work of a publisher that was killed."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise StorageError(f"cannot read {folder.name}: {error.strerror or error}") from error


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _stated_id(folder: Path) -> str:
    """Return what the unverified manifest in a folder calls itself, to name it in a message."""
    from symbio_lab.trust.envelope import peek_payload
    from symbio_lab.trust.manifest import payload_to_manifest
    from symbio_lab.trust.verifying import read_envelope

    try:
        manifest = payload_to_manifest(peek_payload(read_envelope(folder)))
    except TrustError:
        return folder.name
    return f"{manifest.patch_id}@{manifest.version}"


def _evaluations(market: Path, folder: Path) -> list[bytes]:
    """Return the unverified evaluations that the market holds of the patch in ``folder``; none if it is unreadable."""
    import hashlib

    from symbio_lab.marketplace.directory import DirectoryTransport
    from symbio_lab.trust.envelope import peek_payload
    from symbio_lab.trust.verifying import read_envelope

    try:
        payload = peek_payload(read_envelope(folder))
    except TrustError:
        return []  # verifying refuses it with the code of the first rule that it breaks
    return DirectoryTransport(market).read_evaluations(hashlib.sha256(payload).hexdigest())
