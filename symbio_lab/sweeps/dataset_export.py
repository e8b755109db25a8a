"""A sweep's rows as a Hugging Face data set: one Parquet file and a card, loadable without this package.

Rules:
    1. Figures only. No input, answer or label text of any data set leaves: licences of some forbid it.
    2. The card says what was run, with what, on which data under which licence, and how to load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from symbio_lab import __version__
from symbio_lab.codec import write_atomic
from symbio_lab.errors import DataError, SymbioError
from symbio_lab.scenarios.catalogue import scenario_family
from symbio_lab.sweeps.results import SweepRows, made_with

MOST_TEXT = 200
"""Longest text that a cell of the table may hold: names, digests and short JSON; data are longer."""
UNITS = (
    ("_pp", "percentage points"),
    ("_rate", "share in [0, 1]"),
    ("_accuracy", "share in [0, 1]"),
    ("_wall_s", "seconds of wall time"),
    ("_cpu_s", "seconds of CPU time"),
    ("_forwards_equivalent", "samples through the unpatched base once"),
    ("_flops", "floating-point operations"),
    ("_bytes", "bytes"),
    ("_low", "lower 95 % bound of the figure before it"),
    ("_high", "upper 95 % bound of the figure before it"),
    ("_n", "samples behind the figure before it"),
    ("_digest", "content id"),
)
CARD = """
# {title}

{description}

Rows of the sweep `{name}`, one for an arm of an incident: {num_rows:,} rows, {num_runs:,} runs finished of {asked:,}.
A row holds figures of one way to heal a failing language model, judged on held-out samples, with 95 % intervals and n.
There are no inputs, answers or labels of the data sets below in it.

## Load
```python
from datasets import load_dataset

rows = load_dataset("{repo}", split="train")  # or the path of this folder
```

## What was registered before the first run
{registered}

## Computed on
{data}

## Columns
{columns}

## Made with
{versions}
"""


def export_dataset(rows: SweepRows, folder: Path, *, licence: str = "cc-by-4.0", repo: str = "") -> Path:
    """Write a sweep's rows as a data set.

    Args:
        rows: of the sweep, from ``read_rows``.
        folder: where ``results.parquet`` and ``README.md`` go.
        licence: of the figures, as the Hub spells it.
        repo: ``owner/name`` on the Hub, for the card; empty where there is none.

    Returns:
        The folder.

    Raises:
        DataError: a column holds texts that look like data.
        StorageError: the folder cannot be written.
    """
    frame = rows.frame
    _check_no_texts(frame)
    folder = Path(folder)
    write_atomic(folder / "results.parquet", lambda path: frame.to_parquet(path, index=False, compression="zstd"))
    size = "n<1K" if len(frame) < 1000 else "1K<n<10K" if len(frame) < 10_000 else "10K<n<100K"
    front = {
        "license": licence,
        "pretty_name": rows.spec.name,
        "tags": ["symbio_lab", "model-repair", "lora", "evaluation"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "results.parquet"}]}],
    }
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    write_atomic(folder / "README.md", f"---\n{header}---\n{_card(rows, repo)}".encode())
    return folder


def _check_no_texts(frame: Any) -> None:
    for column in frame.columns:
        lengths = [len(value) for value in frame[column].dropna().unique() if isinstance(value, str)]
        if lengths and max(lengths) > MOST_TEXT and not str(column).startswith(("phase", "refused_codes")):
            raise DataError(
                f"column {column} holds a text of {max(lengths)} characters; data of others must not leave",
                hint="export figures only",
            )


def _card(rows: SweepRows, repo: str) -> str:
    spec = rows.spec
    made = made_with(rows.folder)
    versions = [", ".join(f"{k} {v}" for k, v in sorted(found.items())) for found in made["versions"]]
    return CARD.format(
        title=spec.name,
        name=spec.name,
        description=spec.description.strip() or "A sweep of symbio_lab.",
        num_rows=len(rows.frame),
        num_runs=rows.num_finished,
        asked=rows.num_runs,
        repo=repo or "path/of/this/folder",
        registered=_registered(spec),
        data="\n".join(_data_sets(rows.frame)) or "- unknown",
        columns="\n".join(_columns(rows.frame)),
        versions="\n".join(f"- {v}" for v in versions) or f"- symbio-lab {__version__}",
    )


def _registered(spec: Any) -> str:
    if not spec.contrasts:
        return "Nothing: every comparison of these rows is exploratory."
    pairs = "; ".join(f"`{a}` against `{b}`" for a, b in spec.contrasts)
    where = "; ".join(f"{k} in {', '.join(map(str, v))}" for k, v in spec.contrasts_where.items())
    within = f", one test for each value of {', '.join(spec.contrasts_within)}" if spec.contrasts_within else ""
    return f"{pairs}, on `{spec.primary_metric}`{within}{f', rows with {where}' if where else ''}."


def _data_sets(frame: Any) -> Sequence[str]:
    """Return the data sets behind the worlds, with their licences."""
    if "scenario" not in frame.columns:
        return []
    found: dict[str, str] = {}
    for name in sorted(map(str, frame["scenario"].unique())):
        try:
            family = scenario_family(name)
            recipe = family.recipe(name)
            found[recipe.dataset] = family.load(recipe).licence
        except SymbioError as error:
            found[name] = f"licence not looked up here ({error.code})"
    return [f"- {name}: {licence}" for name, licence in found.items()]


def _columns(frame: Any) -> Sequence[str]:
    lines = []
    for column, kind in _kinds(frame).items():
        unit = next((text for end, text in UNITS if column.endswith(end)), "")
        lines.append(f"- `{column}` ({kind}){f': {unit}' if unit else ''}")
    return lines


def _kinds(frame: Any) -> Mapping[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}
