"""Settings of the lab, each with where its value came from.

Rules:
    1. A flag beats the environment, the environment beats ``symbio.toml``, the file beats the default.
    2. One ``symbio.toml`` is read: the working folder's, else the one in the state folder.
    3. All problems are reported at once, each with the place to correct.
    4. An unknown key in the file is a problem; an empty environment variable counts as not set.

Example:
    >>> resolved = load_settings({"device": "cpu"}, environ={"SYMBIO_LAB_DTYPE": "bfloat16"}, cwd=Path("nowhere"))
    >>> resolved.settings.device, resolved.origins["device"]
    ('cpu', 'flag --device')
    >>> resolved.settings.dtype, resolved.origins["dtype"]
    ('bfloat16', 'environment SYMBIO_LAB_DTYPE')
    >>> resolved.origins["log_level"]
    'default'
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from symbio_lab.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")
LOG_LEVELS = ("debug", "info", "warning", "error")
ENVIRONMENT = MappingProxyType(
    {
        "home": "SYMBIO_LAB_HOME",
        "data": "SYMBIO_LAB_DATA",
        "device": "SYMBIO_LAB_DEVICE",
        "dtype": "SYMBIO_LAB_DTYPE",
        "num_threads": "SYMBIO_LAB_NUM_THREADS",
        "log_level": "SYMBIO_LAB_LOG_LEVEL",
        "store": "SYMBIO_LAB_STORE",
    }
)
"""Setting -> environment variable."""
FILE_NAME = "symbio.toml"
_MAX_THREADS = 4096
_IN_HOME = Path()
"""Stands for the store that nobody named."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The address of a Postgres store; shown without its password.

    >>> StoreUrl("postgresql://lab:secret@db.example:5433/symbio?sslmode=require")
    StoreUrl('postgresql://lab@db.example:5433/symbio')
    """

    with_password: str
    """As it was given: ``postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?OPTION=VALUE...]``."""

    def __str__(self) -> str:
        """Return the address without password and options."""
        parts = urlsplit(self.with_password)
        user, at, host = parts.netloc.rpartition("@")
        return f"postgresql://{user.partition(':')[0]}{at}{host}{parts.path}"

    def __repr__(self) -> str:
        """Return what ``__str__`` does: a password must not reach a log."""
        return f"StoreUrl('{self}')"


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs to know; the folders are named here and made by whoever writes to them."""

    home: Path
    """State folder: everything that the lab writes for itself lies below it."""
    data: Path | None = None
    """Folder of failure datasets; None lets the dataset loader look beside the checkout, then on the Hub."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    dtype: str = "float32"
    """``float32``, ``bfloat16`` or ``float16``."""
    num_threads: int = 1
    """Threads for tensor work, at least 1."""
    log_level: str = "warning"
    """``debug``, ``info``, ``warning`` or ``error``."""
    store: Path | StoreUrl = _IN_HOME
    """An SQLite file, ``store.db`` in the state folder unless named, or a Postgres server."""

    def __post_init__(self) -> None:
        """Let the store lie in the state folder unless it was named."""
        if self.store == _IN_HOME:
            object.__setattr__(self, "store", self.home / "store.db")

    @property
    def bases(self) -> Path:
        """Folder of built base models."""
        return self.home / "bases"

    @property
    def pools(self) -> Path:
        """Folder of built patch pools."""
        return self.home / "pools"

    @property
    def patches(self) -> Path:
        """Folder of verified patches, by payload digest."""
        return self.home / "patches"

    @property
    def keys(self) -> Path:
        """Folder of signing keys."""
        return self.home / "keys"

    @property
    def runs(self) -> Path:
        """Folder of run results."""
        return self.home / "runs"


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings and, for each, its origin."""

    settings: Settings
    origins: Mapping[str, str]
    """Setting -> ``flag --x``, ``environment X``, ``file symbio.toml`` or ``default``."""


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Resolved:
    """Resolve every setting: flag, else environment, else ``symbio.toml``, else default.

    Args:
        flags: setting -> value; None values count as not given.
        environ: environment to read; the process's own by default.
        cwd: working folder, where ``symbio.toml`` and relative paths are looked up; the process's own by default.

    Returns:
        The settings and where each came from. Nothing is created.

    Raises:
        ConfigError: any value is bad; ``problems`` lists all of them.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    names = tuple(field.name for field in fields(Settings))
    problems = [f"unknown setting {name!r}; known: {', '.join(names)}" for name in given if name not in names]

    layers: list[tuple[str, Path, dict[str, Any]]] = [
        ("flag --{flag}", cwd, given),
        ("environment {variable}", cwd, {n: environ[v] for n, v in ENVIRONMENT.items() if environ.get(v)}),
    ]
    file = cwd / FILE_NAME
    if not file.is_file():
        file = _first_home(layers, cwd) / FILE_NAME
    if file.is_file():
        layers.append((f"file {FILE_NAME}", file.parent, _read_file(file, names, problems, in_home=file.parent != cwd)))

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in names:
        for origin, folder, layer in layers:
            if name in layer:
                origins[name] = origin.format(flag=name.replace("_", "-"), variable=ENVIRONMENT[name])
                try:
                    values[name] = _CHECKS[name](layer[name], folder)
                except ValueError as error:
                    problems.append(f"{name} ({origins[name]}): {error}")
                break
        else:
            origins[name] = "default"
            values[name] = _DEFAULTS[name]()
    if problems:
        raise ConfigError(problems)
    return Resolved(Settings(**values), MappingProxyType(origins))


def available_threads() -> int:
    """Return how many CPUs this process may use, at least 1 (its affinity, not the machine's size)."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13 and newer
        return int(os.process_cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _default_home() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("symbio-lab"))


def _first_home(layers: list[tuple[str, Path, dict[str, Any]]], cwd: Path) -> Path:
    """Return the state folder as far as flags and environment know it; a bad value is reported later."""
    for _, _, layer in layers:
        if isinstance(layer.get("home"), str | Path):
            return cwd / Path(layer["home"]).expanduser()
    return _default_home()


def _read_file(file: Path, names: tuple[str, ...], problems: list[str], *, in_home: bool) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{FILE_NAME} cannot be read: {error}")
        return {}
    problems.extend(f"{FILE_NAME}: unknown key {key!r}; known: {', '.join(names)}" for key in table if key not in names)
    if in_home and "home" in table:
        # The file was found by way of the state folder; it cannot move that folder elsewhere.
        problems.append(f"{FILE_NAME}: 'home' has no effect inside the state folder; remove it")
        del table["home"]
    return table


def _folder(value: Any, base: Path) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError(f"{value!r} is not a path")
    return base / Path(value).expanduser()


def _check_home(value: Any, base: Path) -> Path:
    path = _folder(value, base)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{value} is a file, not a folder")
    return path


def _check_data(value: Any, base: Path) -> Path:
    path = _folder(value, base)
    if not path.is_dir():
        raise ValueError(f"{value} is not a folder")
    return path


def _one_of(choices: tuple[str, ...]) -> Callable[[Any, Path], str]:
    def check(value: Any, _base: Path) -> str:
        text = value.strip().lower() if isinstance(value, str) else value
        if text not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return str(text)

    return check


def _check_num_threads(value: Any, _base: Path) -> int:
    try:
        # A float or a boolean is a slip of the pen, not a count.
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if not 1 <= number <= _MAX_THREADS:
        raise ValueError(f"{value!r} is not a whole number from 1 to {_MAX_THREADS}")
    return number


def check_store(value: Any, base: Path) -> Path | StoreUrl:
    """Return what names a store: a file, relative to ``base``, or the address of a Postgres server.

    Raises:
        ValueError: neither; the message holds no password.
    """
    text = str(value).strip()
    scheme, is_url, rest = text.partition("://")
    if not is_url or isinstance(value, Path):
        path = _folder(value, base)
        if path.is_dir():
            raise ValueError(f"{value} is a folder, not a file")
        return path
    if scheme not in ("postgresql", "postgres"):
        raise ValueError(f"{scheme}:// is not known; give a file or postgresql://USER@HOST/DATABASE")
    try:
        named = urlsplit(f"postgresql://{rest}")
        _ = named.port
    except ValueError:
        named = urlsplit("")
    if len(named.path) < 2:
        raise ValueError("the address names no database; give postgresql://USER@HOST/DATABASE")
    return StoreUrl(f"postgresql://{rest}")


_CHECKS: Mapping[str, Callable[[Any, Path], Any]] = {
    "home": _check_home,
    "data": _check_data,
    "device": _one_of(DEVICES),
    "dtype": _one_of(DTYPES),
    "num_threads": _check_num_threads,
    "log_level": _one_of(LOG_LEVELS),
    "store": check_store,
}
_DEFAULTS: Mapping[str, Callable[[], Any]] = {
    "home": _default_home,
    "data": lambda: None,
    "device": lambda: "auto",
    "dtype": lambda: "float32",
    "num_threads": available_threads,
    "log_level": lambda: "warning",
    "store": lambda: _IN_HOME,
}
