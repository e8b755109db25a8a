"""The engine that a sweep file names."""

from __future__ import annotations

from symbio_lab.errors import ConfigError
from symbio_lab.sweeps.engines.local import LocalEngine
from symbio_lab.sweeps.engines.protocol import Engine
from symbio_lab.sweeps.spec import EngineChoice


def choose_engine(choice: EngineChoice) -> Engine:
    """Return an engine.

    Raises:
        ConfigError: this release has no such engine, or does not know an option.
    """
    if choice.name == "local":
        if choice.options:
            raise ConfigError([f"engine local has no options, not {', '.join(choice.options)}"])
        return LocalEngine(choice.slots, choice.threads)
    raise ConfigError([f"engine {choice.name} is not part of this release; use local"])
