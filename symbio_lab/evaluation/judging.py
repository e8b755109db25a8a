"""The splits that only the judge reads. Healers, surgery and the marketplace may not import this module."""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.records import Sample, content_id


@dataclass(frozen=True, slots=True)
class JudgeSet:
    """Held-out samples of one incident."""

    holdout: tuple[Sample, ...]
    """Failures of the base in the slice."""
    slice_holdout: tuple[Sample, ...]
    """The slice, unfiltered (failures and successes of the base)."""
    control_holdout: tuple[Sample, ...]
    """Labelled traffic outside the slice, unfiltered."""
    out_of_scope: tuple[Sample, ...] = ()
    """Inputs that no label fits; for locality only."""
    paraphrase: tuple[Sample, ...] = ()
    """Rewordings of holdout failures; generalization is None without them."""
    portability: tuple[Sample, ...] = ()

    def digest(self) -> str:
        """Return the content id of all judged samples: names what an evaluation must never have touched."""
        parts = (self.slice_holdout, self.control_holdout, self.out_of_scope, self.paraphrase, self.portability)
        return content_id([[s.sample_id for s in part] for part in parts])
