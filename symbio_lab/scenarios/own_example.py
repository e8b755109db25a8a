"""A model and tables of the kind that a user brings, written to files: to try the own-data path on a fresh machine."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symbio_lab.codec import write_atomic
from symbio_lab.config import Settings, load_settings
from symbio_lab.events import Listener
from symbio_lab.records import Sample
from symbio_lab.scenarios.world import World, build_world


@dataclass(frozen=True, slots=True)
class OwnExample:
    """Where the example lies."""

    model: Any
    """A loaded base that fails on one slice."""
    data: Path
    """Its traffic: columns ``text``, ``topic`` and the gold, ``intent`` or ``answer``; commands also ``group``."""
    train: Path
    """What it was trained on: the same columns without ``topic``."""


def write_own_example(
    folder: Path, *, settings: Settings | None = None, listener: Listener | None = None
) -> OwnExample:
    """Write the tables of a help desk classifier that never learned ``warranty``, and return them with the model.

    Takes about a minute.

    Raises:
        ModelUnresolvedError: the embedded encoder is not on this machine.
        StorageError: ``folder`` cannot be written.
    """
    world = build_world("helpdesk", settings=settings or load_settings().settings, listener=listener)
    incident = world.sources.incident
    traffic = (*incident.slice_repair, *incident.slice_judge, *world.sources.contributors, *incident.control)
    return _written(world, folder, traffic, "intent")


def write_own_language_example(
    folder: Path, *, settings: Settings | None = None, listener: Listener | None = None
) -> OwnExample:
    """Write the tables of a small language model that never saw ``jump`` combined, and return them with the model.

    Commands differ in few words, so that nearly all are near duplicates of others: column ``group`` tells them apart.

    The model ships with the package; it turns commands into actions (SCAN: Lake and Baroni 2018, arXiv 1711.00350).

    Raises:
        DataError: SCAN is neither on this machine nor to be had from the Hub.
        StorageError: ``folder`` cannot be written.
    """
    world = build_world("scan/add-jump", settings=settings or load_settings().settings, listener=listener)
    incident = world.sources.incident
    traffic = (*incident.slice_repair, *incident.slice_judge, *incident.control)
    return _written(world, folder, traffic, "answer", "group")


def _written(world: World, folder: Path, traffic: Iterable[Sample], gold: str, *more: str) -> OwnExample:
    _write(folder / "traffic.csv", traffic, ["text", gold, "topic", *more])
    _write(folder / "train.csv", world.sources.base_train, ["text", gold])
    return OwnExample(world.model, folder / "traffic.csv", folder / "train.csv")


def _write(path: Path, samples: Iterable[Sample], columns: Sequence[str]) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(columns)
            writer.writerows([s.text, s.expected, s.domain, s.group][: len(columns)] for s in samples)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, fill)
