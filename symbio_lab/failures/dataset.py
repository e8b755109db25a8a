"""A failure dataset in memory: samples by source split, with where they came from.

Example:
    >>> row = Sample("where is my parcel", "track_parcel", group="t1", domain="delivery", source="test")
    >>> data = FailureDataset.of("mine", "text_classification", {"test": [row]}, licence="CC0-1.0", origin="local")
    >>> (data.labels, data.domains)
    (('track_parcel',), ('delivery',))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from symbio_lab.records import Sample, TaskType, content_id

Origin = Literal["local", "hub", "generated"]


@dataclass(frozen=True, slots=True)
class FailureDataset:
    """Labelled inputs on which models fail, and those they are trained on."""

    name: str
    """Catalogue name."""
    task_type: TaskType
    samples: Mapping[str, tuple[Sample, ...]]
    """Source split, e.g. ``train``, -> its samples in source order."""
    licence: str
    """SPDX id, or the name of the licence where it has none."""
    digest: str
    """Content digest of split names, texts, gold and domains, in order; groups are derived and not part of it."""
    origin: Origin
    """``local``: stored files; ``hub``: downloaded; ``generated``: made from a seed or a grammar."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the set: ``domains`` (domain -> its labels, classification only), ``num_dropped``, ``seed`` ..."""

    @classmethod
    def of(
        cls,
        name: str,
        task_type: TaskType,
        samples: Mapping[str, Iterable[Sample]],
        *,
        licence: str,
        origin: Origin,
        extra: Mapping[str, Any] | None = None,
    ) -> FailureDataset:
        """Return the dataset with its digest filled in."""
        frozen = {source: tuple(rows) for source, rows in samples.items()}
        rows = {source: [(s.text, s.expected, s.domain) for s in items] for source, items in frozen.items()}
        facts = dict(extra or {})
        if task_type == "text_classification":
            facts["domains"] = _labels_by_domain(frozen)
        return cls(name, task_type, frozen, licence, content_id([name, rows]), origin, facts)

    def all_samples(self) -> tuple[Sample, ...]:
        """Return the samples of all splits, split by split."""
        return tuple(sample for rows in self.samples.values() for sample in rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Gold labels (or outputs) of all splits, sorted, each once."""
        return tuple(sorted({sample.expected for sample in self.all_samples()}))

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains of all splits, sorted, each once, without the empty one."""
        return tuple(sorted({sample.domain for sample in self.all_samples()} - {""}))


def _labels_by_domain(samples: Mapping[str, tuple[Sample, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for rows in samples.values():
        for sample in rows:
            found.setdefault(sample.domain, set()).add(sample.expected)
    return {domain: tuple(sorted(labels)) for domain, labels in sorted(found.items())}
