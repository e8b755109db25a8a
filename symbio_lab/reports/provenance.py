"""Where the figures come from: digests, seeds, device, dtype, versions, lock."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from pathlib import Path

from symbio_lab import __version__
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import fold
from symbio_lab.display.table import Column, TableRow, name, table
from symbio_lab.reports.collecting import Results

PACKAGES = ("torch", "transformers", "peft", "numpy", "scipy", "pyarrow")
DIGESTS = ("base_digest", "pool_digest", "dataset_digest")


def provenance(results: Results) -> Bundle:
    """Return everything needed to run the comparison again, folded."""
    first = results.rows[0]
    entries = [(key.replace("_", " "), str(first[key])) for key in DIGESTS]
    judges = dict.fromkeys(f"seed {r['seed']}: {r['judge_digest']}" for r in results.rows)
    entries.append(("judge digests", "; ".join(judges)))
    entries += [(key.replace("_", " "), _show(value)) for key, value in sorted(results.plan.items())]
    entries.append(("dataset", f"{results.world['dataset']} ({results.world['dataset_origin']})"))
    entries.append(("samples disjoint by", str(first["disjoint_by"])))
    entries.append(("device, dtype", f"{first['device']}, {first['dtype']}"))
    unchanged = all(r.get("base_unchanged", True) for r in results.rows)
    entries.append(("base weights unchanged after every arm", "yes" if unchanged else "NO"))
    made_with = results.world.get("versions", {})
    if made_with:
        entries.append(("versions that made the figures", ", ".join(f"{k} {v}" for k, v in made_with.items())))
    entries.append(("versions that made this report", versions()))
    entries.append(("lock (constraints.txt)", lock_digest()))
    rows: list[TableRow] = [[label, name(value)] for label, value in entries]
    return fold("Provenance: digests, seeds, settings, versions", [table([Column("what"), Column("value")], rows)])


def _show(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "default" if value is None else str(value)


def versions() -> str:
    """Return the installed versions; a package that is not installed is left out."""
    found = [f"symbio-lab {__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def lock_digest() -> str:
    """Return the digest of the checkout's lock; an installed package has none."""
    lock = Path(__file__).resolve().parents[2] / "constraints.txt"
    if not lock.is_file():
        return "not part of an installed package"
    return f"sha256 {hashlib.sha256(lock.read_bytes()).hexdigest()}"
