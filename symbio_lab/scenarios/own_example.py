"""A model and tables of the kind that a user brings, written to files: to try the own-data path on a fresh machine."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import write_atomic
from symbio_lab.config import Settings, load_settings
from symbio_lab.events import Listener
from symbio_lab.records import Sample
from symbio_lab.scenarios.world import build_world


@dataclass(frozen=True, slots=True)
class OwnExample:
    """Where the example lies."""

    model: Any
    """A loaded help desk classifier that never learned ``warranty``."""
    data: Path
    """Its traffic, with columns ``text``, ``intent`` and ``topic``."""
    train: Path
    """What it was trained on, with columns ``text`` and ``intent``."""


def write_own_example(
    folder: Path, *, settings: Settings | None = None, listener: Listener | None = None
) -> OwnExample:
    """Write the tables of the example to ``folder`` and return them with the model, built in about a minute.

    Raises:
        ModelUnresolvedError: the embedded encoder is not on this machine.
        StorageError: ``folder`` cannot be written.
    """
    world = build_world("helpdesk", settings=settings or load_settings().settings, listener=listener)
    incident = world.sources.incident
    traffic = (*incident.slice_repair, *incident.slice_judge, *world.sources.contributors, *incident.control)
    _write(folder / "traffic.csv", traffic, topic=True)
    _write(folder / "train.csv", world.sources.base_train, topic=False)
    return OwnExample(world.model, folder / "traffic.csv", folder / "train.csv")


def _write(path: Path, samples: Iterable[Sample], *, topic: bool) -> None:
    columns = ["text", "intent", "topic"] if topic else ["text", "intent"]

    def fill(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(columns)
            writer.writerows([s.text, s.expected, s.domain][: len(columns)] for s in samples)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, fill)
