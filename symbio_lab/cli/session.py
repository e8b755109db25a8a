"""What every command starts from: the resolved settings, and whether its result is wanted as JSON."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.config import ENVIRONMENT, Resolved, Settings, StoreUrl, check_store
from symbio_lab.errors import ConfigError
from symbio_lab.store.observed_time import expiry_after as expiry_after
from symbio_lab.store.observed_time import utc_now as utc_now

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout and nothing else there.")]
"""The option that every command has."""
StoreOption = Annotated[
    str | None,
    typer.Option(help="SQLite file, or postgresql://USER@HOST/DATABASE; passwords: ~/.pgpass or SYMBIO_LAB_STORE."),
]
"""The option of the root command and of those that serve."""


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line."""

    resolved: Resolved

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.resolved.settings

    @property
    def own_key_file(self) -> Path:
        """File of the key that signs what this installation publishes."""
        return self.settings.keys / "own.json"


def session_of(context: typer.Context) -> Session:
    """Return the session that the root command prepared."""
    session: Session = context.obj
    return session


def settings_with_store(context: typer.Context, store: str | None) -> Settings:
    """Return the settings with the store that a command names itself; processes that it starts see it too.

    Raises:
        ConfigError: it is neither a file nor an address.
    """
    settings = session_of(context).settings
    if store is None:
        return settings
    try:
        place = check_store(store, Path.cwd())
    except ValueError as error:
        raise ConfigError([f"store (flag --store): {error}"]) from error
    # Never on a command line of ours: everybody on the machine can read those.
    os.environ[ENVIRONMENT["store"]] = _text(place)
    return replace(settings, store=place)


def _text(value: Any) -> str:
    return value.with_password if isinstance(value, StoreUrl) else str(value)


@contextmanager
def own_environment() -> Iterator[None]:
    """Undo every change to the environment at the end: a program that calls ``main`` keeps its own."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def export_settings(resolved: Resolved) -> None:
    """Put settings that are not defaults into the environment, so that notebook kernels run under the same ones."""
    # Read when torch is first imported: waiting threads sleep, so that shared cores are not burnt by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name, variable in ENVIRONMENT.items():
        value = getattr(resolved.settings, name)
        if resolved.origins[name] != "default" and value is not None:
            os.environ[variable] = _text(value)


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is now: progress bars replace it while they run."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Send log records to stderr, warnings only until ``set_log_level`` says otherwise."""
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("symbio_lab")
    level = ours.level
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(level)


def set_log_level(level: str) -> None:
    """Let records of the lab through from ``level`` on; other libraries keep their own levels."""
    logging.getLogger("symbio_lab").setLevel(level.upper())


def given_flags(**flags: Any) -> Mapping[str, Any]:
    """Return the flags that were given, by setting name."""
    return {name: value for name, value in flags.items() if value is not None}
