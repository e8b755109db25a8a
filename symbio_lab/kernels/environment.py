"""What a zygote's imports depend on, as one digest.

Rules:
    1. Variables that libraries read at import are part of the key: a fork cannot change them any more.
    2. Two keys differ -> the zygote must not serve the request.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata

from symbio_lab.content import content_id

IDLE_S = 900.0
"""Seconds without a kernel after which a zygote ends."""
READ_AT_IMPORT = (
    "CUBLAS_WORKSPACE_CONFIG",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TOKENIZERS_PARALLELISM",
)
"""Variables whose later change has no effect on a library that is imported already."""


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    return tuple(sorted({f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}))


def zygote_key(preload: Sequence[str], env: Mapping[str, str]) -> str:
    """Return the digest of the interpreter, what is installed, the preload list and ``READ_AT_IMPORT``.

    Args:
        preload: modules that the zygote imports, in order.
        env: the whole environment of the process.
    """
    facts = {
        "python": [sys.executable, sys.version],
        "installed": list(_installed()),
        "preload": list(preload),
        "env": [[name, env.get(name)] for name in READ_AT_IMPORT],
    }
    return content_id(facts)
