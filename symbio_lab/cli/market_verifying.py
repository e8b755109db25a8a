"""Verifying what lies in a folder or on a Hub: one patch, or every patch of a market."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.config import Settings
from symbio_lab.errors import NotFoundError, StorageError, TrustError

if TYPE_CHECKING:
    from symbio_lab.marketplace.directory import DirectoryTransport
    from symbio_lab.marketplace.transport import Transport
    from symbio_lab.trust.policy import TrustPolicy


@dataclass(frozen=True, slots=True)
class Verified:
    """What the trust rules say about one patch."""

    id: str
    """``namespace/name@version``; of a refused patch what its place or its manifest states, else the folder's name."""
    path: str
    """Folder, or page on a Hub."""
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
    code: str = "unsafe_name"
    """Trust code of that problem."""


def verify_place(
    place: str, settings: Settings, *, now: str, keys: tuple[str, ...] = (), base_digest: str | None = None
) -> list[Verified]:
    """Return the verdict on a patch folder, on every version in a market folder, or on the patches at a Hub's address.

    Every file is read and checked; verified copies go to a temporary store and are dropped. Of a Hub the newest
    versions are verified, of an address of one patch also the older ones that are tagged.

    Args:
        place: patch folder, market folder or ``hf://...``.
        settings: state folder; decides the policy.
        now: UTC time.
        keys: public keys enrolled for this call only.
        base_digest: base that every patch must be for; None takes the local pool's base, or any.

    Raises:
        NotFoundError: no such folder or repository, or a market without patches.
        StorageError: it cannot be read.
        NetworkUnavailableError: a Hub did not answer.
    """
    from symbio_lab.marketplace.hub_address import is_hub_address

    if is_hub_address(place):
        return _verify_hub(place, settings, now=now, keys=keys, base_digest=base_digest)
    return verify_folder(Path(place), settings, now=now, keys=keys, base_digest=base_digest)


def verify_folder(
    folder: Path, settings: Settings, *, now: str, keys: tuple[str, ...] = (), base_digest: str | None = None
) -> list[Verified]:
    """Return the verdict on a patch folder, or on everything below ``patches/`` of a market; see ``verify_place``.

    Raises:
        NotFoundError: no such folder, or a market without patches.
        StorageError: it cannot be read.
    """
    from symbio_lab.cli.market_access import policy_of_folder
    from symbio_lab.marketplace.directory import DirectoryTransport

    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint="give a patch folder, a market folder or hf://OWNER")
    policy, pool_base = policy_of_folder(folder, settings, keys)
    market = DirectoryTransport(folder) if (folder / "patches").is_dir() else None
    found = list(_of_market(market)) if market else [_Found(folder, None)]
    if not found:
        raise NotFoundError(f"the market {folder} holds no patch", hint="nothing was verified")
    rules = _Rules(policy, now, base_digest or pool_base)
    return [_judge(item, str(item.folder), rules, market) for item in found]


def _verify_hub(
    address: str, settings: Settings, *, now: str, keys: tuple[str, ...], base_digest: str | None
) -> list[Verified]:
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.trust.envelope import MAX_ENVELOPE_BYTES

    market = open_market(address, settings, keys=keys)
    hub: Any = market.transport
    rules = _Rules(market.policy, now, base_digest)
    cap = market.policy.max_total_bytes + MAX_ENVELOPE_BYTES
    verdicts = []
    for patch_id in hub.list_refs():
        try:
            versions = hub.list_versions(patch_id) if hub.address.repo is not None else []
        except TrustError:
            versions = []  # the newest one is refused for the same reason
        for ref in [f"{patch_id}@{version}" for version in versions] or [patch_id]:
            with tempfile.TemporaryDirectory(prefix="symbio-verify-") as holder:
                folder = Path(holder) / "patch"
                try:
                    hub.fetch(ref, folder, max_bytes=cap)
                    item = _Found(folder, ref)
                except TrustError as error:
                    item = _Found(folder, ref, str(error), error.code)
                verdicts.append(_judge(item, hub.page(ref), rules, hub))
    if not verdicts:
        raise NotFoundError(f"the market {address} holds no patch", hint="nothing was verified")
    return verdicts


@dataclass(frozen=True, slots=True)
class _Rules:
    """By what every folder is judged."""

    policy: TrustPolicy
    now: str
    base_digest: str | None


def _judge(item: _Found, place: str, rules: _Rules, market: Transport | None) -> Verified:
    from symbio_lab.trust.trusted_set import TrustedState
    from symbio_lab.trust.verifying import verify_patch

    try:
        if item.problem:
            raise TrustError(item.code, item.problem)
        with tempfile.TemporaryDirectory(prefix="symbio-verify-") as store:
            patch = verify_patch(
                item.folder,
                rules.policy,
                # No memory: each version is judged by itself, older ones too.
                TrustedState(),
                now=rules.now,
                store=Path(store),
                expect_ref=item.ref,
                base_digest=rules.base_digest,
                evaluations=_evaluations(market, item.folder) if market else (),
            )
    except TrustError as error:
        name = item.ref or _stated_id(item.folder)
        return Verified(name, place, False, error.code, str(error), "unverified", "", "", "")
    keyid = patch.manifest.keyid
    publisher = rules.policy.keys[keyid]
    return Verified(
        id=f"{patch.patch_id}@{patch.manifest.version}",
        path=place,
        ok=True,
        code="",
        reason=f"signed by {publisher.name}, level {patch.level}",
        level=patch.level,
        digest=patch.digest,
        keyid=keyid,
        public_key=publisher.public_hex,
    )


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


def _evaluations(market: Transport, folder: Path) -> list[bytes]:
    """Return the unverified evaluations that the market holds of the patch in ``folder``; none if it is unreadable."""
    import hashlib

    from symbio_lab.trust.envelope import peek_payload
    from symbio_lab.trust.verifying import read_envelope

    try:
        payload = peek_payload(read_envelope(folder))
    except TrustError:
        return []  # verifying refuses it with the code of the first rule that it breaks
    return market.read_evaluations(hashlib.sha256(payload).hexdigest())
