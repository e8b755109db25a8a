"""Failure datasets by name: stored files first, then generators, then the Hub.

Rules:
    1. A stored file whose bytes differ from ``MANIFEST.json`` is refused.
    2. Groups are found over all splits at once, so that a near duplicate never sits on both sides.
    3. Same source, same digest; which source served is in ``origin``.

Example:
    >>> data = load_dataset("helpdesk")
    >>> (data.origin, "warranty" in data.domains)
    ('generated', True)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zlib
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json
from symbio_lab.errors import DataError, StorageError
from symbio_lab.failures.catalogue import DatasetCard, get_card
from symbio_lab.failures.dataset import FailureDataset, Origin
from symbio_lab.failures.grouping import with_groups
from symbio_lab.failures.helpdesk import generate_helpdesk
from symbio_lab.failures.hub import Rows, load_hub_rows, stored_layout
from symbio_lab.failures.locating import DATA_VARIABLE, MANIFEST_NAME, data_root
from symbio_lab.failures.reading import to_sample
from symbio_lab.failures.scan import scan_splits
from symbio_lab.failures.tables import load_table
from symbio_lab.records import Sample

__all__ = ["FailureDataset", "load_dataset", "load_rows", "load_table"]

log = logging.getLogger(__name__)
_SUFFIX = ".jsonl.gz"


def load_dataset(name: str, *, groups: bool = True) -> FailureDataset:
    """Return a failure dataset of the catalogue.

    Args:
        name: catalogue name, e.g. ``clinc150`` or ``helpdesk``.
        groups: fill empty groups by near-duplicate clusters (Jaccard 0.8 over all splits); False leaves them
            empty, for callers that only count.

    Returns:
        Samples by source split; ``extra`` has ``domains`` (domain -> labels, classification only) and, but for
        ``helpdesk``, ``num_dropped`` (rows without a single gold label, by split).

    Raises:
        UnknownDatasetError: no dataset has this name.
        ConfigError: ``SYMBIO_LAB_DATA`` names no folder.
        DataError: a stored file is missing, damaged or altered, or the set exists only as stored files.
        MissingExtraError: the Hub is needed and the package ``datasets`` is not installed.
        NetworkUnavailableError: the Hub is needed and cannot be reached.
    """
    card = get_card(name)
    if name == "helpdesk":
        return generate_helpdesk()
    rows, origin = _rows_of(card)
    samples: dict[str, list[Sample]] = {source: [] for source in rows}
    dropped: dict[str, int] = {}
    for source, items in rows.items():
        read = [to_sample(card, source, row) for row in items]
        samples[source] = [sample for sample in read if sample is not None]
        if len(samples[source]) < len(read):
            dropped[source] = len(read) - len(samples[source])
    if groups:
        filled = iter(with_groups(sample for items in samples.values() for sample in items))
        samples = {source: [next(filled) for _ in items] for source, items in samples.items()}
    extra = {"num_dropped": dropped}
    data = FailureDataset.of(name, card.task_type, samples, licence=card.licence, origin=origin, extra=extra)
    log.info("%s: %d samples (%s), digest %s", name, len(data.all_samples()), origin, data.digest[:12])
    return data


def load_rows(name: str, file: str) -> list[dict[str, Any]]:
    """Return the raw rows of one stored file, with every column.

    Args:
        name: catalogue name.
        file: file of that dataset, with or without ``.jsonl.gz``; files that no card lists (such as the
            ``dir`` and ``inv`` tests of ``checklist_sentiment``) can be read too.

    Raises:
        UnknownDatasetError: no dataset has this name.
        ConfigError: ``SYMBIO_LAB_DATA`` names no folder.
        DataError: the file is missing, damaged, altered or not JSON Lines; the message names it.
    """
    card = get_card(name)
    stem = file.removesuffix(_SUFFIX)
    if not stem.replace("_", "").isalnum():
        raise DataError(f"{file!r} is not a file of {name}", hint="give a plain file name such as 'test'")
    root = data_root()
    if root is None:
        raise _not_here(card)
    relative = f"{name}/{stem}{_SUFFIX}"
    return _parsed(_verified_bytes(root, relative), relative)


def _rows_of(card: DatasetCard) -> tuple[Rows, Origin]:
    """Return the rows by source split, and where they came from."""
    root = data_root()
    if root is not None and (root / card.name).is_dir():
        stored: Rows = {}
        for relative in card.files:
            stored[Path(relative).name.removesuffix(_SUFFIX)] = _parsed(_verified_bytes(root, relative), relative)
        return stored, "local"
    if card.name == "scan":
        pairs = scan_splits()
        return {k: [{"command": c, "actions": a} for c, a in rows] for k, rows in pairs.items()}, "generated"
    if card.hub_id is None:
        raise _not_here(card)
    return stored_layout(card, load_hub_rows(card.hub_id, card.hub_config)), "hub"


def _not_here(card: DatasetCard) -> DataError:
    return DataError(
        f"the files of {card.name} are not on this machine",
        hint=f"set {DATA_VARIABLE} to the folder that holds {card.name}/, or use the embedded dataset 'helpdesk'",
    )


def _verified_bytes(root: Path, relative: str) -> bytes:
    """Return the bytes of a stored file after comparing them with the manifest, if the folder has one."""
    try:
        data = (root / relative).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{relative} is missing from the data folder", hint="copy the whole folder again") from error
    except OSError as error:
        raise StorageError(f"cannot read {relative}: {error.strerror}") from error
    manifest = read_json(root / MANIFEST_NAME) if (root / MANIFEST_NAME).is_file() else {}
    entry = manifest.get(relative)
    if entry is not None and hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DataError(f"{relative} is not the file that {MANIFEST_NAME} lists", hint="copy the file again")
    return data


def _parsed(data: bytes, relative: str) -> list[dict[str, Any]]:
    try:
        lines = gzip.decompress(data).decode("utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{relative} is not gzip'd JSON Lines: {error}", hint="copy the file again") from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{relative} holds a line that is no JSON object", hint="copy the file again")
    return rows
