"""Reading a registry as a client: stock python-tuf decides, this module only asks it for everything.

Protocol (TUF 1.0, ``tuf.ngclient.Updater``):
    1. The client starts from a root that it was given by other means, and follows the chain of newer roots.
    2. Timestamp, snapshot and targets are read in this order; each must be signed by enough keys of its role, not
       expired, not older than what the cache has seen, and the very file that the one above it names.
    3. The cache is the memory: without it a rollback cannot be told from news. Use one folder for each registry.
    4. Beyond stock TUF: of a role's keys each must be a valid Ed25519 point and stand there once. Otherwise one signer
       under two names would count twice.

Time:
    ``Updater`` has no parameter for the time. Its ``TrustedMetadataSet`` reads the clock once, when it is made, into
    the attribute ``reference_time``, and compares every expiry with that. ``read_registry`` sets this attribute right
    after construction, which compares nothing yet. It is the one place that reaches behind the public interface; the
    alternative would be to replace ``datetime`` for everybody in the process.

Conformance: python-tuf 7.0.1, the client used here, passes all 113 tests of ``tuf-conformance`` (commit eec841c).

References:
    The Update Framework Specification 1.0, section 5, "Detailed client workflow".
    Differs from the paper: all lists are read, not only the one that holds a target, since a market is to be listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from symbio_lab.errors import ConfigError, NotFoundError, TrustError
from symbio_lab.marketplace.registry.layout import METADATA, REVOKED_PATH, ROLES, TARGETS
from symbio_lab.marketplace.registry.refusals import refusal
from symbio_lab.marketplace.registry.registered import RegisteredFile, Registry
from symbio_lab.marketplace.registry.revoked import MAX_REVOKED_BYTES, RevokedKey, read_revoked
from symbio_lab.marketplace.registry.signer import require_tuf
from symbio_lab.marketplace.registry.static_files import StaticFiles
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.locking import locked
from symbio_lab.trust.strict_fields import instant

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.tuf_names import FetcherInterface, SuccinctRoles, Targets, Updater

T = TypeVar("T")
MOST_BITS = 16
"""More bins than ``2**16`` are an attempt to keep us busy."""


def read_registry(files: StaticFiles, root: bytes, cache: Path, *, now: str) -> Registry:
    """Return the current state of a registry, verified.

    Args:
        files: where it lies.
        root: bytes of a root that is trusted, any version.
        cache: folder for verified metadata, this registry's alone; it remembers the newest versions seen.
        now: UTC time, ISO-8601, ends in ``Z``.

    Raises:
        NotFoundError: there is no registry.
        TrustError: ``stale``, ``rollback``, ``mix_and_match``, ``bad_signature``, ``threshold``, ``bad_key`` or
            ``bad_response``.
        NetworkUnavailableError: the server does not answer.
        StorageError: the cache cannot be written.
        MissingExtraError: python-tuf is not installed.
    """
    require_tuf()
    with locked(cache / ".lock"):
        fetcher, last = _fetcher(files)
        asking = _Asking(files.uri, last)
        updater = asking(lambda: _updater(fetcher, root, cache))
        trusted = _set_clock(updater, instant(now, "now"))
        asking(updater.refresh)
        _check_keys(trusted.root.roles, trusted.root.keys)
        lists = {"targets": trusted.targets}
        for role, probe in _bins(trusted.targets):
            # Looking for a path that nobody registers makes the updater read and verify the list that would hold it.
            asking(lambda probe=probe: updater.get_targetinfo(probe))  # type: ignore[misc]
            lists[role] = trusted[role]
        found = {path: file for listed in lists.values() for path, file in listed.targets.items()}
        tops = {"root": trusted.root, "timestamp": trusted.timestamp, "snapshot": trusted.snapshot}
        expires = {role: _text(signed.expires) for role, signed in tops.items()}
        expires["targets"] = _text(min(listed.expires for listed in lists.values()))
        revoked = _revoked(updater, asking, cache)
        newest = asking(lambda: (cache / "root.json").read_bytes())
    return Registry(
        uri=files.uri,
        files=MappingProxyType(
            {
                path: RegisteredFile(_sha256(path, file), file.length)
                for path, file in found.items()
                if path != REVOKED_PATH
            }
        ),
        revoked=revoked,
        versions={role: trusted[role].version for role in ROLES},
        expires=expires,
        num_lists=len(lists),
        root=newest,
    )


class _Asking:
    """Calls the updater, and tells what it reports in our own codes."""

    def __init__(self, uri: str, last: Callable[[], str]) -> None:
        self._uri, self._last = uri, last

    def __call__(self, call: Callable[[], T]) -> T:
        from symbio_lab.marketplace.registry.tuf_names import DownloadError, RepositoryError

        try:
            return call()
        except (RepositoryError, DownloadError, OSError) as error:
            raise refusal(error, self._last(), self._uri) from error


def _updater(fetcher: FetcherInterface, root: bytes, cache: Path) -> Updater:
    from symbio_lab.marketplace.registry.tuf_names import Updater

    return Updater(
        str(cache),
        f"{METADATA}/",
        target_dir=str(cache / TARGETS),
        target_base_url=f"{TARGETS}/",
        fetcher=fetcher,
        bootstrap=root,
    )


def _set_clock(updater: Updater, now: datetime) -> Any:
    """Let the updater compare expiries with ``now``; return its trusted set (see the module's docstring)."""
    trusted: Any = getattr(updater, "_trusted_set", None)
    if not isinstance(getattr(trusted, "reference_time", None), datetime):
        raise ConfigError(
            ["this version of python-tuf keeps its clock in another place"],
            hint="install the version in constraints.txt",
        )
    trusted.reference_time = now
    return trusted


def _fetcher(files: StaticFiles) -> tuple[FetcherInterface, Callable[[], str]]:
    """Return a fetcher that reads from ``files``, and what tells the role that it was asked for last."""
    from symbio_lab.marketplace.registry.tuf_names import DownloadHTTPError, FetcherInterface

    asked = ["root"]

    class StaticFetcher(FetcherInterface):
        """Reads files by their names; the caps are those of the updater."""

        def _fetch(self, url: str) -> Iterator[bytes]:
            name = url.rpartition("/")[2].removesuffix(".json")
            version, dot, rest = name.partition(".")
            asked[0] = rest if dot and version.isdecimal() else name
            try:
                return files.stream(url)
            except NotFoundError as error:
                # Without a cause: a missing file means something else for every role.
                raise DownloadHTTPError(str(error), 404) from None

    return StaticFetcher(), lambda: asked[0]


def _bins(targets: Targets) -> list[tuple[str, str]]:
    """Return role and a path that falls into it for every bin."""
    if targets.delegations is None:
        return []
    _check_keys({"bins": targets.delegations.succinct_roles}, targets.delegations.keys)
    bins: SuccinctRoles | None = targets.delegations.succinct_roles
    if bins is None or bins.bit_length > MOST_BITS:
        raise TrustError("bad_response", "the registry delegates to others than hash bins, or to too many of them")
    return list(zip(bins.get_roles(), _probes(bins.bit_length), strict=True))


@lru_cache(maxsize=4)
def _probes(bits: int) -> tuple[str, ...]:
    """Return a path that falls into each of ``2**bits`` bins, in order."""
    from symbio_lab.marketplace.registry.tuf_names import SuccinctRoles

    bins, found, i = SuccinctRoles([], 1, bits, "bin"), dict[str, str](), 0
    while len(found) < bins.number_of_bins:
        probe = f"probe/{i}"
        found.setdefault(bins.get_role_for_target(probe), probe)
        i += 1
    return tuple(found[role] for role in bins.get_roles())


def _check_keys(roles: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    """Refuse a key that is no valid point, and a role in which one key stands under two keyids."""
    for role, found in roles.items():
        if found is None:
            continue
        points = []
        for keyid in found.keyids:
            key = keys.get(keyid)
            if key is None or key.keytype != "ed25519":
                raise TrustError("bad_key", f"a key of the role {role} is no Ed25519 key")
            points.append(PublicKey(str(key.keyval.get("public", ""))).public_hex)
        if len(set(points)) != len(points):
            raise TrustError("threshold", f"one key of the role {role} stands under two names")


def _revoked(updater: Updater, asking: _Asking, cache: Path) -> tuple[RevokedKey, ...]:
    target = asking(lambda: updater.get_targetinfo(REVOKED_PATH))
    if target is None:
        return ()
    if target.length > MAX_REVOKED_BYTES:
        raise TrustError("too_large", f"the list of revoked keys has {target.length} bytes")
    known = updater.find_cached_target(target)
    path = known or asking(lambda: updater.download_target(target))
    return read_revoked(asking(Path(path).read_bytes))


def _sha256(path: str, file: Any) -> str:
    digest = file.hashes.get("sha256")
    if not isinstance(digest, str):
        raise TrustError("bad_response", f"the registry gives no SHA-256 of {path!r:.80}")
    return digest


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
