"""What a repetition may depend on besides model, patch and data: versions, device, precision and threads.

The digest stands in signed evaluations. Two evaluators with one digest must get the same figures to the last answer;
with different digests a borderline answer may flip.
"""

from __future__ import annotations

import platform
from importlib import metadata

from symbio_lab import __version__
from symbio_lab.config import available_threads
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.records import content_id

PACKAGES = ("torch", "transformers", "tokenizers", "numpy")
"""Packages whose version can move an answer."""


def environment_of(model: PatchableModel, num_threads: int | None = None) -> dict[str, str]:
    """Return what the answers of ``model`` are computed with, as plain text.

    Args:
        model: a loaded model.
        num_threads: threads for tensor work; None takes the cores that this process may use.
    """
    found = {"python": platform.python_version(), "symbio-lab": __version__, "machine": platform.machine()}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    threads = str(num_threads or available_threads())
    return {**found, "device": model.device.split(":")[0], "dtype": model.dtype, "threads": threads}


def environment_digest(environment: dict[str, str]) -> str:
    """Return the content digest (64 hex) of what ``environment_of`` returned.

    >>> len(environment_digest({"torch": "2.13.0"}))
    64
    """
    return content_id(environment)
