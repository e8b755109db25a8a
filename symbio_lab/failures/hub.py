"""Failure datasets from the Hugging Face Hub, in the layout of the stored files.

Rules:
    1. Only this file asks the Hub for data; it is never asked when stored files serve.
    2. Label numbers become label names here; cuts and columns are those of the stored files, so that the same
       row gives the same sample either way.
    3. No network, or a machine that is told to stay offline, is a ``NetworkUnavailableError``.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from symbio_lab.errors import DataError, MissingExtraError, NetworkUnavailableError
from symbio_lab.failures.catalogue import DatasetCard
from symbio_lab.failures.clinc_domains import INTENT_DOMAIN

Rows = dict[str, list[dict[str, Any]]]
"""Split name -> rows."""

log = logging.getLogger(__name__)


def load_hub_rows(hub_id: str, config: str | None = None) -> Rows:
    """Return all rows of a Hub dataset, split by split, with label names instead of label numbers.

    Args:
        hub_id: ``owner/name``.
        config: configuration of the dataset, if it has several.

    Raises:
        MissingExtraError: the package ``datasets`` is not installed.
        NetworkUnavailableError: the Hub cannot be reached and nothing is cached.
        DataError: the Hub has no such dataset, or it cannot be read.
    """
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        missing = MissingExtraError("datasets", "offline")
        missing.hint = "pip install datasets"
        raise missing from error
    log.info("reading %s%s from the Hub", hub_id, f" ({config})" if config else "")
    unreachable: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *_network_errors())
    try:
        splits = library.load_dataset(hub_id, config)
    except unreachable as error:
        raise NetworkUnavailableError(f"{hub_id} is not on this machine and the Hub cannot be reached") from error
    except (OSError, ValueError, RuntimeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"cannot read {hub_id} from the Hub: {first_line:.120}", hint="check the id and its configuration"
        ) from error
    return {str(name): [_with_names(row, split.features) for row in split] for name, split in splits.items()}


def stored_layout(card: DatasetCard, rows: Rows) -> Rows:
    """Return Hub rows under the split names and columns of the stored files.

    Raises:
        DataError: the Hub copy of this dataset has no known layout.
    """
    if card.name not in _LAYOUTS:
        raise DataError(f"no Hub layout is known for {card.name}", hint="set SYMBIO_LAB_DATA to a local copy")
    return _LAYOUTS[card.name](rows)


def _network_errors() -> tuple[type[Exception], ...]:
    """Return the connection errors of the HTTP libraries that are installed."""
    found: list[type[Exception]] = []
    for module, name in (("httpx", "TransportError"), ("requests", "ConnectionError"), ("requests", "Timeout")):
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)


def _with_names(row: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    named = dict(row)
    for column, value in named.items():
        names = getattr(features.get(column), "names", None)
        if names is not None and isinstance(value, int):
            # -1 is the library's mark for "no label".
            named[column] = names[value] if value >= 0 else None
    return named


def _clinc150(rows: Rows) -> Rows:
    layout: Rows = {}
    for split in ("train", "validation", "test"):
        labelled = [
            {"text": row["text"], "intent": row["intent"], "domain": INTENT_DOMAIN.get(row["intent"])}
            for row in rows.get(split, [])
        ]
        layout[split] = [row for row in labelled if row["intent"] != "oos"]
        layout[f"oos_{split}"] = [row for row in labelled if row["intent"] == "oos"]
    order = ("train", "validation", "test", "oos_train", "oos_validation", "oos_test")
    return {split: layout[split] for split in order}


def _banking77(rows: Rows) -> Rows:
    return {
        split: [{"text": row["text"], "intent": row.get("label_text", row["label"])} for row in rows.get(split, [])]
        for split in ("train", "test")
    }


def _advglue(rows: Rows) -> Rows:
    return {"test": [{"text": row["sentence"], "label": row["label"]} for row in rows.get("validation", [])]}


_LAYOUTS: dict[str, Callable[[Rows], Rows]] = {
    "advglue_sst2": _advglue,
    "banking77": _banking77,
    "clinc150": _clinc150,
}
