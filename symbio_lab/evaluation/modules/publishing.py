"""A module as a folder that ``evaluate.load`` reads, and that can be pushed to the Hub as it is.

Push it with ``huggingface_hub``::

    HfApi().upload_folder(folder_path="fix_rate", repo_id="you/fix_rate", repo_type="space")
"""

from __future__ import annotations

from pathlib import Path

from symbio_lab import __version__
from symbio_lab.codec import write_atomic
from symbio_lab.errors import ConfigError
from symbio_lab.evaluation.modules.catalogue import METRIC_NAMES, METRICS

CARD = """---
title: {name}
emoji: 🩹
colorFrom: blue
colorTo: green
sdk: static
pinned: false
license: apache-2.0
tags: [evaluate, metric]
description: {description}
---

# {name}

{description}

- **Inputs.** {inputs}
- **Source.** {source}

```python
import evaluate

metric = evaluate.load("{name}")  # this folder, or you/{name} on the Hub
```

The figures are computed by the package `symbio-lab` (version {version} or newer).
"""
SCRIPT = '''"""{description}"""

from {module} import {kind} as Metric


class {kind}(Metric):
    """{description}"""
'''


def export_metric(name: str, folder: Path) -> Path:
    """Write a metric's module, card and requirements.

    Args:
        name: one of ``METRIC_NAMES``.
        folder: parent; the module goes to ``folder/<name>``.

    Returns:
        ``folder/<name>``, for ``evaluate.load``.

    Raises:
        ConfigError: there is no such metric.
        StorageError: the folder cannot be written.
    """
    if name not in METRICS:
        raise ConfigError([f"unknown metric {name!r}; use one of {', '.join(METRIC_NAMES)}"])
    kind = METRICS[name]
    info = kind(keep_in_memory=True).info
    target = Path(folder) / name
    given = {"name": name, "description": info.description.strip(), "version": __version__}
    card = CARD.format(**given, inputs=info.inputs_description.strip(), source=info.citation.strip())
    script = SCRIPT.format(**given, module=kind.__module__, kind=kind.__name__)
    for file, text in (
        (f"{name}.py", script),
        ("README.md", card),
        ("requirements.txt", f"symbio-lab>={__version__}\n"),
    ):
        write_atomic(target / file, text.encode())
    return target
