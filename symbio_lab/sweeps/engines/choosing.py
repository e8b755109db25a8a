"""The engine that a sweep file names."""

from __future__ import annotations

from symbio_lab.errors import ConfigError
from symbio_lab.sweeps.engines.local import LocalEngine
from symbio_lab.sweeps.engines.protocol import Engine
from symbio_lab.sweeps.spec import EngineChoice


def choose_engine(choice: EngineChoice) -> Engine:
    """Return an engine.

    Raises:
        ConfigError: the engine does not know an option.
        MissingExtraError: the package that the engine needs is not installed.
    """
    if choice.name == "ray":
        from symbio_lab.sweeps.engines.ray import ray_engine

        return ray_engine(choice.slots, choice.threads, choice.options)
    if choice.name == "slurm":
        from symbio_lab.sweeps.engines.slurm import slurm_engine

        return slurm_engine(choice.slots, choice.threads, choice.options)
    if choice.options:
        raise ConfigError([f"engine local has no options, not {', '.join(choice.options)}"])
    return LocalEngine(choice.slots, choice.threads)
