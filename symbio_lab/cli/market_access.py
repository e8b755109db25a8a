"""Markets by address or by default, each with the policy and the memory of versions that belong to it.

Rules:
    1. A pool under the state folder is a scenario's own: its policy is rebuilt from ``pool.json``. Such a file beside
       any other market is a stranger's claim and is never read: scenario keys can be derived by everyone.
    2. Every other market is judged by the keys enrolled here, and by ``trust-policy.yaml`` if there is one.
    3. Our own key counts everywhere: what we published, we may adopt.
    4. Versions seen are remembered market by market: equal names in two folders are different patches. On a Hub a name
       is one repository, whatever the address that led to it: there is one memory for each endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.cli.session import utc_now
from symbio_lab.codec import read_json
from symbio_lab.config import Settings
from symbio_lab.errors import DataError, NotFoundError, TrustError
from symbio_lab.records import content_id

if TYPE_CHECKING:
    from symbio_lab.marketplace.directory import DirectoryTransport
    from symbio_lab.marketplace.hub import HubTransport
    from symbio_lab.marketplace.transport import Transport
    from symbio_lab.trust.policy import TrustPolicy

GIVEN_KEY_NAME = "given by --key"


@dataclass(frozen=True, slots=True)
class Market:
    """One market as this installation sees it."""

    transport: Transport
    policy: TrustPolicy
    seen: Path
    """Folder that remembers the versions accepted from it."""
    base_digest: str | None
    """Base that all patches of a local pool are meant for; None for other markets."""

    @property
    def uri(self) -> str:
        """Address of the market."""
        return self.transport.uri

    def holds(self, ref: str) -> bool:
        """Return whether the market has this patch, in this version if the reference names one.

        Raises:
            TrustError: ``unsafe_name``; of a Hub also ``bad_response``.
            NetworkUnavailableError: a Hub did not answer.
        """
        from symbio_lab.marketplace.directory import DirectoryTransport

        if isinstance(self.transport, DirectoryTransport):
            return self._folder(self.transport, ref) is not None
        # A Hub, or a market behind its registry: what that refuses is there all the same.
        try:
            self.transport.read_manifest(ref)
        except NotFoundError:
            return False
        except TrustError as error:
            if error.code in ("unsafe_name", "bad_response"):
                raise
        return True  # one that cannot be read is there all the same, and will be refused

    def place(self, ref: str) -> str | None:
        """Return where a patch lies, for people: its folder, or its page on a Hub; None if it is absent.

        Raises:
            TrustError: ``unsafe_name``.
        """
        from symbio_lab.marketplace.directory import DirectoryTransport
        from symbio_lab.marketplace.hub import HubTransport

        # Behind a registry a market lies where it lay.
        transport = getattr(self.transport, "inner", self.transport)
        if isinstance(transport, DirectoryTransport):
            folder = self._folder(transport, ref)
            return str(folder) if folder else None
        return transport.page(ref) if isinstance(transport, HubTransport) else None

    @staticmethod
    def _folder(transport: DirectoryTransport, ref: str) -> Path | None:
        from symbio_lab.trust.naming import split_ref

        namespace, name, version = split_ref(ref)
        versions = transport.list_versions(f"{namespace}/{name}")
        if not versions or version not in (None, *versions):
            return None
        return transport.path / "patches" / namespace / name / f"v{version or versions[-1]}"


def open_market(uri: str, settings: Settings, *, keys: Iterable[str] = (), must_exist: bool = True) -> Market:
    """Return the market at an address.

    Args:
        uri: folder, ``file://`` and a folder, or ``hf://`` and what of a Hub is meant.
        settings: state folder.
        keys: public keys (64 hex) enrolled for this call only.
        must_exist: False lets the first ``publish`` make the folder. What exists on a Hub shows when it is read.

    Raises:
        ConfigError: the address is not supported, or ``HF_ENDPOINT`` is wrong.
        NotFoundError: there is no such folder.
        TrustError: ``bad_key``.
        DataError: the file of an enrolled key is damaged.
    """
    from symbio_lab.marketplace.directory import DirectoryTransport
    from symbio_lab.marketplace.opening import open_transport

    transport = open_transport(uri, cache=settings.home / "hub")
    if not isinstance(transport, DirectoryTransport):
        return _hub_market(transport, settings, keys)
    if must_exist and not transport.path.is_dir():
        raise NotFoundError(f"there is no market at {uri}", hint="check the address; symbio market publish makes one")
    return _market(transport, settings, keys)


def local_markets(settings: Settings, *, keys: Iterable[str] = ()) -> list[Market]:
    """Return every finished pool under the state folder, then the overlays that healing contributed to.

    Raises:
        NotFoundError: there is none yet.
    """
    from symbio_lab.marketplace.directory import DirectoryTransport

    pools = sorted(path.parent / "market" for path in settings.pools.glob("*/pool.json"))
    folders = [*pools, *sorted((settings.home / "overlays").glob("*/"))]
    if not folders:
        raise NotFoundError(
            "there is no local pool yet", hint="build one: symbio demo, symbio compare or symbio heal; or give --market"
        )
    return [_market(DirectoryTransport(folder), settings, keys) for folder in folders]


def choose_markets(uris: Iterable[str], settings: Settings, *, keys: Iterable[str] = ()) -> list[Market]:
    """Return the markets at ``uris``, or all local ones when none is given, for reading.

    A market whose registry is trusted here (``symbio market registry verify --root``) is seen through it: only what is
    registered, only as it was registered, and nothing once the registry is stale.
    """
    opened = [_behind_registry(open_market(uri, settings, keys=keys), settings) for uri in uris]
    return opened or local_markets(settings, keys=keys)


def _behind_registry(market: Market, settings: Settings) -> Market:
    from symbio_lab.cli.registry_state import registered

    return replace(market, transport=registered(market.transport, settings, utc_now(), market.policy.require_registry))


def policy_of_folder(folder: Path, settings: Settings, keys: Iterable[str] = ()) -> tuple[TrustPolicy, str | None]:
    """Return the policy for whatever lies in ``folder``, and the base digest if it belongs to a local pool.

    Raises:
        DataError: ``pool.json`` or the file of an enrolled key is damaged.
        TrustError: ``bad_key``.
    """
    from symbio_lab.trust.enrolled import enrolled_policy, with_enrolled

    pool = pool_folder(folder, settings)
    if pool is None:
        return _accepting(enrolled_policy(settings), keys), None
    policy, base = _pool_policy(pool)
    return _accepting(with_enrolled(policy, settings), keys), base


def _accepting(policy: TrustPolicy, keys: Iterable[str]) -> TrustPolicy:
    """Return ``policy`` with the keys given for this call; one that it knows already keeps its rights."""
    from symbio_lab.trust.policy import PublisherKey

    known = {publisher.public_hex for publisher in policy.keys.values()}
    return policy.enrol(*(PublisherKey(key, GIVEN_KEY_NAME) for key in keys if key not in known))


def pool_folder(path: Path, settings: Settings) -> Path | None:
    """Return the folder of the finished local pool that ``path`` lies in, or None."""
    try:
        parts = path.resolve().relative_to(settings.pools.resolve()).parts
    except ValueError:
        return None
    folder = settings.pools / parts[0] if parts else settings.pools
    return folder if (folder / "pool.json").is_file() else None


def enrol_key(public_hex: str, name: str, settings: Settings, *, known: bool = False) -> str:
    """Enrol a publisher's key for all markets that are not local pools; return its keyid.

    Raises:
        TrustError: ``bad_key``: not a valid Ed25519 public key.
        StorageError: the state folder cannot be written.
    """
    from symbio_lab.trust.enrolled import EnrolledKey, enrol
    from symbio_lab.trust.policy import PublisherKey

    entry = EnrolledKey(PublisherKey(public_hex, name, known))
    enrol(settings, entry)
    return entry.keyid


def _market(transport: DirectoryTransport, settings: Settings, keys: Iterable[str]) -> Market:
    policy, base = policy_of_folder(transport.path, settings, keys)
    return Market(transport, policy, seen_folder(transport.path, settings), base)


def _hub_market(transport: HubTransport, settings: Settings, keys: Iterable[str]) -> Market:
    from symbio_lab.trust.enrolled import enrolled_policy

    seen = settings.home / "seen" / f"hub-{content_id(transport.endpoint)[:16]}"
    return Market(transport, _accepting(enrolled_policy(settings), keys), seen, None)


def seen_folder(market: Path, settings: Settings) -> Path:
    """Return the folder that remembers the versions accepted from the market in this folder."""
    pool = pool_folder(market, settings)
    name = pool.name if pool is not None else f"market-{content_id(market.resolve().as_posix())[:16]}"
    return settings.home / "seen" / name


def _pool_policy(folder: Path) -> tuple[TrustPolicy, str]:
    from symbio_lab.scenarios.catalogue import scenario_recipe
    from symbio_lab.scenarios.pool import scenario_policy

    info: Mapping[str, Any] = read_json(folder / "pool.json")
    try:
        recipe = scenario_recipe(info["world"], contributor_size=info["contributor_size"])
        return scenario_policy(recipe, info["relevance"], info["world_seed"]), str(info["base_digest"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"pool.json of {folder.name} lacks {error}", hint="delete the pool and build it again"
        ) from error
