"""What this installation remembers of the registry and the log of a market, and the keys that it keeps them with.

Layout, below the state folder:
    registries/<id>/root.json             root that we trust: our own, or one that was given once by --root
    registries/<id>/cache/                verified metadata: the newest versions seen
    registries/<id>/kept.json             what we signed last, where we are the keeper
    registries/<id>/log.key               key of the log that we trust
    registries/<id>/log-seen.checkpoint   last checkpoint that we accepted as a reader
    registries/<id>/log-signed.checkpoint last checkpoint that we signed as a writer
    keys/registry/<id>/<role>-<n>.json    private keys of a registry that we keep; ``log.json`` for its log
``<id>`` names the place where the registry lies: two markets never share a memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from symbio_lab.codec import strict_loads, write_atomic
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, DataError, NotFoundError, StorageError, TrustError
from symbio_lab.records import content_id

if TYPE_CHECKING:
    from symbio_lab.marketplace.registry.role_keys import RegistryKeys
    from symbio_lab.marketplace.registry.static_files import StaticFiles
    from symbio_lab.marketplace.transport import Transport
    from symbio_lab.trust.checkpoint import LogKey
    from symbio_lab.trust.keys import SigningKey
    from symbio_lab.trust.policy import RegistryRequirement

_ROLE_KEY = re.compile(r"(root|targets|snapshot|timestamp)-([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class RegistryState:
    """The memory of one registry, and where the registry lies."""

    files: StaticFiles
    folder: Path
    """``registries/<id>``."""
    keys: Path
    """Default folder of private keys."""

    @property
    def cache(self) -> Path:
        """Verified metadata."""
        return self.folder / "cache"

    @property
    def kept(self) -> Path:
        """What we signed last as keeper."""
        return self.folder / "kept.json"

    @property
    def log_seen(self) -> Path:
        """Last checkpoint accepted."""
        return self.folder / "log-seen.checkpoint"

    @property
    def log_signed(self) -> Path:
        """Last checkpoint signed."""
        return self.folder / "log-signed.checkpoint"

    @property
    def is_trusted(self) -> bool:
        """Whether a root of this registry was given."""
        return (self.folder / "root.json").is_file()

    def root(self, given: Path | None = None) -> bytes:
        """Return the root that we trust, taking ``given`` the first time.

        Raises:
            NotFoundError: none was given yet, or the file is not there.
            ConfigError: another one is trusted already.
            StorageError: it cannot be read or written.
        """
        path = self.folder / "root.json"
        if given is not None:
            data = _read(given)
            if path.is_file() and _read(path) != data:
                raise ConfigError(
                    [f"another root of {self.files.uri} is trusted already"],
                    hint=f"if its keeper started anew, remove {path} and give the new root again",
                )
            write_atomic(path, data)
        if not path.is_file():
            raise NotFoundError(
                f"no root of the registry {self.files.uri} is trusted yet",
                hint="get its first root from its keeper by another way, and give it once: --root FILE",
            )
        return _read(path)

    def log_key(self, given: str | None = None) -> LogKey:
        """Return the key of the log that we trust, taking ``given`` the first time.

        Raises:
            NotFoundError: none was given yet.
            DataError: it is not written like a key.
            ConfigError: another one is trusted already.
            StorageError: it cannot be read or written.
        """
        from symbio_lab.trust.checkpoint import LogKey

        path = self.folder / "log.key"
        known = LogKey.parse(_read(path).decode("utf-8", "replace")) if path.is_file() else None
        wanted = LogKey.parse(given) if given is not None else known
        if wanted is None:
            raise NotFoundError(
                f"no key of the log of {self.files.uri} is trusted yet",
                hint="get it from its keeper by another way, and give it once: --log-key NAME+ID+KEY",
            )
        if known is not None and known != wanted:
            raise ConfigError(
                [f"another key of the log of {self.files.uri} is trusted already"],
                hint=f"if its keeper started anew, remove {path} and give the new key again",
            )
        if known is None:
            write_atomic(path, wanted.text.encode() + b"\n")
        return wanted


def state_of(market: str, settings: Settings, registry: str | None = None) -> RegistryState:
    """Return the state of the registry of a market.

    Args:
        market: address of the market.
        settings: state folder.
        registry: folder or web address of the registry, where it does not lie in its usual place.

    Raises:
        ConfigError: the address has no registry.
    """
    import os

    from symbio_lab.marketplace.registry.opening import registry_files
    from symbio_lab.marketplace.registry.static_files import FolderFiles

    is_folder = registry is not None and not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", registry)
    files: StaticFiles = (
        FolderFiles(Path(registry or ""))
        if is_folder
        else registry_files(registry or market, token=os.environ.get("HF_TOKEN"))
    )
    place = files.path.resolve().as_posix() if isinstance(files, FolderFiles) else files.uri
    name = content_id(place)[:16]
    return RegistryState(files, settings.home / "registries" / name, settings.keys / "registry" / name)


def kept_folder(state: RegistryState) -> Path:
    """Return the folder of a registry that is kept here.

    Raises:
        ConfigError: it lies on a server: keep it in a folder, and upload that.
    """
    from symbio_lab.marketplace.registry.static_files import FolderFiles

    if not isinstance(state.files, FolderFiles):
        raise ConfigError([f"{state.files.uri} is on a server"], hint="keep the registry in a folder: --registry DIR")
    return state.files.path


def registered(
    transport: Transport, settings: Settings, now: str, required: RegistryRequirement | None = None
) -> Transport:
    """Return the market behind its registry if a root of that is trusted here, else the market as it is.

    Args:
        transport: any market.
        settings: state folder.
        now: UTC time.
        required: the registry that the policy asks for; without it there is no market.

    Raises:
        TrustError: ``unregistered``: no root of the required registry is trusted yet, or others than the policy names
            may sign it.
        ConfigError: the address of the required registry is not supported.
        StorageError: the trusted root cannot be read.
    """
    from symbio_lab.marketplace.registry.transport import behind_registry

    try:
        state = state_of(transport.uri, settings, required.uri if required else None)
    except ConfigError:
        if required is not None:
            raise
        return transport  # a market of a kind that has no registry
    if not state.is_trusted:
        if required is None:
            return transport
        raise TrustError(
            "unregistered",
            f"the policy asks for the registry at {required.uri}, of which no root is trusted yet: get it from its "
            "keeper by another way, and give it once (symbio market registry verify --root FILE)",
        )
    root = state.root()
    if required is not None and not signers_of(root) <= set(required.root_keyids):
        raise TrustError(
            "unregistered",
            f"the trusted root of {required.uri} may be signed by keys that the policy does not name in "
            "require_registry.root_keyids",
        )
    return behind_registry(transport, state.files, root, state.cache, now)


def signers_of(root: bytes) -> set[str]:
    """Return the keyids that may sign a root.

    Raises:
        DataError: it is no root.
    """
    try:
        return set(strict_loads(root)["signed"]["roles"]["root"]["keyids"])
    except (KeyError, TypeError) as error:
        raise DataError("the trusted root is damaged", hint="get it from its keeper again") from error


def open_role_keys(folders: Iterable[Path], roles: Iterable[str]) -> RegistryKeys:
    """Return the private keys of these roles that lie in ``folders``, asking for passphrases where they have one.

    Raises:
        DataError: a file is damaged, or no passphrase can be asked for.
        TrustError: ``bad_key``.
    """
    from symbio_lab.cli.passphrases import passphrase_of
    from symbio_lab.marketplace.registry.role_keys import RegistryKeys
    from symbio_lab.trust.key_ring import KeyRing

    found: dict[str, list[SigningKey]] = {role: [] for role in roles}
    for folder in folders:
        ring = KeyRing(folder)
        for stored in ring.stored():
            match = _ROLE_KEY.fullmatch(stored.name)
            if match is not None and not stored.retired and match[1] in found:
                found[match[1]].append(ring.open(stored.name, lambda name=stored.name: passphrase_of(name)))  # type: ignore[misc]
    return RegistryKeys(**{role: tuple(keys) for role, keys in found.items()})


def make_role_keys(folder: Path, numbers: Mapping[str, int], *, encrypt: bool) -> dict[str, tuple[SigningKey, ...]]:
    """Return new private keys by role, written beside those that are there.

    Args:
        folder: folder of private keys.
        numbers: role -> how many.
        encrypt: whether those of root and targets get a passphrase; the others sign unattended.

    Raises:
        DataError: no passphrase can be asked for, or it is too short.
        StorageError: a file cannot be written.
    """
    from symbio_lab.cli.passphrases import new_passphrase, passphrase_of
    from symbio_lab.trust.key_ring import KeyRing

    ring = KeyRing(folder)
    made: dict[str, tuple[SigningKey, ...]] = {}
    for role, number in numbers.items():
        matches = [_ROLE_KEY.fullmatch(key.name) for key in ring.stored()]
        first = max((int(match[2]) for match in matches if match is not None and match[1] == role), default=0) + 1
        keys = []
        for name in (f"{role}-{first + i}" for i in range(number)):
            sealed = encrypt and role in ("root", "targets")
            ring.create(name, "passphrase" if sealed else "none", lambda name=name: new_passphrase(name))  # type: ignore[misc]
            keys.append(ring.open(name, lambda name=name: passphrase_of(name)))  # type: ignore[misc]
        made[role] = tuple(keys)
    return made


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", hint="check the path") from error
    except OSError as error:
        raise StorageError(f"cannot read {path.name}: {error.strerror or error}") from error
