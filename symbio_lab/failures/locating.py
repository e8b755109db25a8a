"""Where the stored failure datasets are, if they are on this machine at all.

Rules:
    1. ``SYMBIO_LAB_DATA`` wins; naming something that is no folder is an error, never a silent fallback.
    2. Else ``../shared/datasets`` beside the checkout or the working folder, when it holds a ``MANIFEST.json``.
    3. Else None: real datasets come from the Hub, generated ones need nothing.
    4. Messages never show where on the machine the data are.
"""

from __future__ import annotations

import os
from pathlib import Path

from symbio_lab.errors import ConfigError

DATA_VARIABLE = "SYMBIO_LAB_DATA"
MANIFEST_NAME = "MANIFEST.json"


def data_root() -> Path | None:
    """Return the folder of the stored datasets, or None when there is none.

    Raises:
        ConfigError: ``SYMBIO_LAB_DATA`` is set and names no folder.
    """
    named = os.environ.get(DATA_VARIABLE, "").strip()
    if named:
        root = Path(named).expanduser()
        if not root.is_dir():
            raise ConfigError(
                [f"{DATA_VARIABLE} does not name a folder"],
                hint=f"point {DATA_VARIABLE} at the folder that holds the datasets, or unset it",
            )
        return root
    checkout = Path(__file__).resolve().parents[2]
    for start in (checkout, Path.cwd()):
        root = start.parent / "shared" / "datasets"
        if (root / MANIFEST_NAME).is_file():
            return root
    return None
