"""What a contribution is made from: the incident's splits, how the patch was made, and what it was measured to do.

It is plain data, so that whoever healed (command line, service, notebook) can fill it from its own task and outcomes.
Texts are here to be compared with, never to be published; what is published of a split is its size and its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from symbio_lab.records import ClaimedMetric, Sample, TaskType, content_id
from symbio_lab.trust.manifest import as_ppm

TRAINED_ON = ("repair", "replay")
JUDGED_BY = ("selection", "control_selection")
SPLITS = (*TRAINED_ON, *JUDGED_BY)


@dataclass(frozen=True, slots=True)
class Measured:
    """Outcomes of base and patch on the gate's two splits, as counts."""

    num_failures: int
    """Samples of ``selection``."""
    num_fixed: int
    """Of these, wrong before and right after."""
    num_selection_right: int
    """Of these, right before: zero where the split holds failures only."""
    num_selection_broken: int
    """Of those, wrong after."""
    num_controls: int
    """Samples of ``control_selection``."""
    num_control_right: int
    """Of these, right before."""
    num_control_broken: int
    """Of those, wrong after."""
    num_control_mended: int
    """Controls that were wrong before and are right after."""

    @classmethod
    def of(cls, selection: tuple[int, int, int, int], control: tuple[int, int, int, int]) -> Measured:
        """Return the counts of both splits.

        Args:
            selection: (right-right, right-wrong, wrong-right, wrong-wrong) of ``selection``, before and after.
            control: the same of ``control_selection``.

        >>> done = Measured.of((0, 0, 9, 3), (150, 4, 2, 4))
        >>> done.num_right_before, done.num_right_after, done.num_samples
        (154, 161, 172)
        """
        kept, broken, fixed, _ = selection
        control_kept, control_broken, mended, _ = control
        return cls(
            sum(selection), fixed, kept + broken, broken,
            sum(control), control_kept + control_broken, control_broken, mended,
        )  # fmt: skip

    @property
    def num_samples(self) -> int:
        """Samples of both splits."""
        return self.num_failures + self.num_controls

    @property
    def num_right_before(self) -> int:
        """Samples that the base answers rightly."""
        return self.num_selection_right + self.num_control_right

    @property
    def num_right_after(self) -> int:
        """Samples that the patched model answers rightly."""
        gained = self.num_fixed + self.num_control_mended
        return self.num_right_before + gained - self.num_selection_broken - self.num_control_broken

    def claims(self) -> tuple[ClaimedMetric, ...]:
        """Return the figures that the publisher claims, by the names that the gate uses."""
        wrong = self.num_failures - self.num_selection_right
        found = {
            "fix_rate": (self.num_fixed, wrong),
            "negative_flip_rate": (self.num_control_broken, self.num_control_right),
        }
        return tuple(ClaimedMetric(name, as_ppm(count / n), n) for name, (count, n) in found.items() if n)


@dataclass(frozen=True, slots=True)
class Incident:
    """One healed incident."""

    task_type: TaskType
    domain: str
    """Name of the failing slice."""
    description: str
    """The failure pattern in words."""
    labels: tuple[str, ...]
    """Gold labels of the failures that were trained on, sorted; empty for generation."""
    splits: Mapping[str, tuple[Sample, ...]]
    """Samples of ``SPLITS``; ``replay`` may be empty."""
    measured: Measured
    method: str
    """Surgery or composition that made the patch; empty when it was adopted."""
    seed: int
    """Of the healing run."""

    @property
    def adopted(self) -> bool:
        """Whether the patch came from a market as it is."""
        return not self.method

    def private_texts(self) -> tuple[str, ...]:
        """Return every text of a user: inputs, and gold outputs where these are texts and no class names."""
        samples = [sample for split in self.splits.values() for sample in split]
        outputs = [sample.expected for sample in samples] if self.task_type == "text_generation" else []
        return tuple(dict.fromkeys([*(sample.text for sample in samples), *outputs]))

    def digests(self) -> dict[str, str]:
        """Return the digest of every split that has samples."""
        return {name: split_digest(self.splits[name]) for name in SPLITS if self.splits.get(name)}


def split_digest(samples: tuple[Sample, ...]) -> str:
    """Return the content digest of a split, whatever its order.

    It names the samples to whoever has them and says nothing to others, as long as there are several: the digest of
    one short text can be guessed.
    """
    return content_id(sorted(sample.sample_id for sample in samples))
