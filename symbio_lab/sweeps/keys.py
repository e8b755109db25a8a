"""What a run is: the key under which its results are kept and found again.

Rules:
    1. The key covers the parameters, the notebook's cells, the versions that decide figures, and the content of what
       the parameters name: worlds, files, folders of models and markets.
    2. It does not cover where results go, how many run at once, or which engine runs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from symbio_lab import __version__
from symbio_lab.errors import ConfigError
from symbio_lab.models.digests import MINILM_SHA256
from symbio_lab.records import content_id
from symbio_lab.scenarios.catalogue import scenario_family

FORMAT = 1
FIGURES_DEPEND_ON = (
    "datasets",
    "numpy",
    "pandas",
    "peft",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages whose version is part of a run's key."""
_CHUNK = 1 << 20


def run_key(parameters: Mapping[str, Any], notebook_digest: str) -> str:
    """Return the content key of one run, 20 hex characters.

    Args:
        parameters: all of the run's, but for what the runner sets.
        notebook_digest: of the notebook.

    Raises:
        UnknownDatasetError: a parameter ``scenario`` names no world.
        DataError: the data of a world cannot be read.
    """
    return content_id([FORMAT, notebook_digest, dict(parameters), dict(versions()), revisions(parameters)])[:20]


@lru_cache(maxsize=1)
def versions() -> Mapping[str, str]:
    """Return the versions that decide figures; build tags such as ``+cpu`` do not count."""
    found = {"symbio-lab": __version__}
    for name in FIGURES_DEPEND_ON:
        try:
            found[name] = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def notebook_digest(path: Path) -> str:
    """Return the digest of a notebook's cells; outputs and other metadata do not count.

    Raises:
        ConfigError: the file is no notebook.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path.name} is no readable notebook: {error}"]) from error
    return content_id([[c.cell_type, c.source, list(c.metadata.get("tags", ()))] for c in notebook.cells])


def revisions(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the content digest of everything that parameters name: a world, files, folders."""
    found = {}
    for name, value in parameters.items():
        if name == "scenario" and isinstance(value, str):
            found[name] = world_revision(value)
        elif isinstance(value, str) and value and _is_input(Path(value)):
            found[name] = path_digest(Path(value))
    return found


def _is_input(path: Path) -> bool:
    """Whether a path is something to read: a file, a model or a market. Other folders are where a run writes."""
    return path.is_file() or any((path / name).exists() for name in ("config.json", "base.json", "patches"))


@lru_cache(maxsize=256)
def world_revision(name: str) -> str:
    """Return a digest of a world's settings, data and encoder, without building it.

    Raises:
        UnknownDatasetError: there is no such world.
        DataError: its data cannot be read.
    """
    family = scenario_family(name)
    recipe = family.recipe(name)
    return content_id([recipe, family.load(recipe).digest, MINILM_SHA256])


def path_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's file names and contents."""
    if path.is_file():
        digest = hashlib.sha256()
        with path.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return content_id([[p.relative_to(path).as_posix(), path_digest(p)] for p in files])
