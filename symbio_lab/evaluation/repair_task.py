"""What a healer is given: never anything that it is judged on.

``n_repair`` counts every labelled failure given, ``selection`` included. Screening and training read ``repair`` and
``replay``; the gate reads ``selection`` and ``control_selection``, once for each declared look.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.records import LabelShift, Sample, TaskType


@dataclass(frozen=True, slots=True)
class RepairTask:
    """One incident, as the healer sees it."""

    task_type: TaskType
    label_shift: LabelShift
    domain: str
    """Name of the failing slice."""
    description: str
    """The failure pattern in words: what the marketplace is searched with."""
    repair: tuple[Sample, ...]
    """Failures to train and screen on."""
    selection: tuple[Sample, ...]
    """Failures for the gate only."""
    replay: tuple[Sample, ...]
    """Labelled traffic outside the slice; may be trained on."""
    control_selection: tuple[Sample, ...]
    """Labelled traffic outside the slice, unfiltered; for the gate only."""

    @property
    def num_failures(self) -> int:
        """``n_repair``: labelled failures given in all."""
        return len(self.repair) + len(self.selection)

    @property
    def repair_labels(self) -> tuple[str, ...]:
        """Gold labels of ``repair``, sorted: all that may be known before the gate; empty for generation."""
        if self.task_type != "text_classification":
            return ()
        return tuple(sorted({s.expected for s in self.repair}))

    @property
    def labels(self) -> tuple[str, ...]:
        """Gold labels of the failures given, sorted; empty for generation."""
        if self.task_type != "text_classification":
            return ()
        return tuple(sorted({s.expected for s in (*self.repair, *self.selection)}))


def split_failures(
    failures: tuple[Sample, ...], *, most_selection: int = 64
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Divide labelled failures into ``repair`` and ``selection``: half each, at most ``most_selection`` for the gate.

    Whole groups go to one side: a group that falls on the border stays in ``repair``.

    >>> one = [Sample(str(i), "a", group=str(i)) for i in range(4)]
    >>> [len(part) for part in split_failures(tuple(one))]
    [2, 2]
    """
    wanted = min(len(failures) // 2, most_selection)
    by_group: dict[str, list[Sample]] = {}
    for sample in failures:
        by_group.setdefault(sample.group, []).append(sample)
    selection: list[Sample] = []
    for members in reversed(by_group.values()):
        if len(selection) + len(members) <= wanted:
            selection += members
    chosen = {s.group for s in selection}
    return (
        tuple(s for s in failures if s.group not in chosen),
        tuple(s for s in failures if s.group in chosen),
    )
