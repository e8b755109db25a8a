"""From a pattern to an incident: samples that are fit for healing and for judging it, and how many are still missing.

Rules:
    1. Near duplicates are one group. A group that touches the slice belongs to the slice; groups never straddle what
       the healer is given and what it is judged on, nor slice and control.
    2. The gate's failures (``selection``) and everything that judges are drawn at random, by groups; only what is
       trained on (``repair``) is chosen, as few failures that stand for all of them. Drawn at random is not unbiased:
       the rows come from the traffic in which the slice was found, those that chose it among them, so the failure rate
       inside is somewhat too high in the judge's samples. Where a size is reached, groups that do not fit are passed
       over, so the gate's samples lean to small groups.
    3. Controls are unfiltered traffic outside the slice. ``matched`` are those of the judge's controls that lie
       closest to the failures: where a repair that reaches too far shows first. They are reported beside the others.
    4. Too few samples are no error: ``Shortfall`` says how many more labelled ones the gate would need to accept a
       patch of the assumed quality with the assumed power. The gate gets more than the stated sizes where it must.

Flow of the samples::

    labelled traffic -> slice    -> healer: repair (chosen), selection (random)      judge: slice_holdout, holdout
                     -> outside  -> healer: replay, control_selection                judge: control_holdout (matched)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.evaluation.judging import JudgeSet
from symbio_lab.evaluation.repair_task import RepairTask
from symbio_lab.evaluation.suites import FailureSuite
from symbio_lab.failures.grouping import near_duplicate_groups
from symbio_lab.failures.splitting import check_disjoint, split_groups
from symbio_lab.monitor.clusters import Vectors
from symbio_lab.monitor.representative import Rule, representatives
from symbio_lab.monitor.traffic import Traffic
from symbio_lab.records import LabelShift, Sample, TaskType
from symbio_lab.seeding import shuffled
from symbio_lab.stats.power import num_samples_for_power

FLIP_SHARE = 0.4
"""Share of the allowed negative flip rate that a patch which should be accepted is assumed to reach."""
MARGIN = 1.1
"""Controls drawn for each one that is needed: how many of them the base answers rightly is known only roughly."""


@dataclass(frozen=True, slots=True)
class GateNeeds:
    """What the gate asks for, and the patch that it should be able to accept."""

    min_fix_rate: float = 0.10
    max_negative_flip_rate: float = 0.05
    alpha: float = 0.05
    looks: int = 2
    """Looks at the gate that the strategy declares."""
    min_controls: int = 400
    """Controls without which the gate accepts nothing, however the base answers them."""
    assumed_fix_rate: float = 0.5
    """Fix rate of a patch that should be accepted, in [0, 1]."""
    assumed_flip_rate: float | None = None
    """Negative flip rate of a patch that should be accepted, in [0, 1]; None: ``FLIP_SHARE`` of what is allowed."""
    power: float = 0.8
    """Probability with which it should be."""

    @property
    def num_failures(self) -> int | None:
        """Failures for the gate; None where the assumed fix rate can never clear the limit."""
        return num_samples_for_power(
            self.assumed_fix_rate, self.min_fix_rate, self.alpha / self.looks, power=self.power
        )

    @property
    def num_controls(self) -> int | None:
        """Controls that the base answers rightly; None where the assumed flip rate can never clear the limit."""
        assumed = self.assumed_flip_rate
        if assumed is None:
            assumed = FLIP_SHARE * self.max_negative_flip_rate
        level = self.alpha / self.looks
        return num_samples_for_power(assumed, self.max_negative_flip_rate, level, side="upper", power=self.power)


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """How many samples an incident gets, at most, and how they are chosen."""

    n_repair: int = 64
    """Failures to train and screen on."""
    n_selection: int = 64
    """Failures for the gate; more where it needs more."""
    n_replay: int = 512
    n_control_selection: int = 1000
    """Controls for the gate; more where it needs more."""
    n_control_holdout: int = 2000
    n_slice_holdout: int = 400
    judge_share: float = 0.3
    """Share of the slice, and of the controls, that only judges."""
    rule: Rule = "facility_location"
    needs: GateNeeds = GateNeeds()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How many more labelled samples the gate needs to be able to decide."""

    num_failures: int
    """Failures of the slice, those to repair on included."""
    num_controls: int
    possible: bool
    """False where no number of samples would do at the assumed rates."""

    @property
    def enough(self) -> bool:
        """Whether the gate can decide with what there is."""
        return self.possible and self.num_failures == 0 and self.num_controls == 0

    def describe(self) -> str:
        """Return the shortfall in words."""
        if not self.possible:
            return "the assumed rates cannot pass the gate, whatever the number of samples"
        missing = [
            f"{count} more labelled {what}"
            for count, what in ((self.num_failures, "failures of the slice"), (self.num_controls, "controls"))
            if count
        ]
        return " and ".join(missing) + " are needed" if missing else "there are enough samples for the gate to decide"


@dataclass(frozen=True, slots=True)
class Extraction:
    """An incident drawn from traffic."""

    suite: FailureSuite
    matched: tuple[Sample, ...]
    """The judge's controls that lie closest to the failures."""
    shortfall: Shortfall
    num_failures: int
    """Failures of the slice that the healer's side had to choose from."""


def extract_suite(
    traffic: Traffic,
    inside: NDArray[np.bool_],
    embeddings: Vectors,
    *,
    task_type: TaskType,
    labels: Sequence[str],
    domain: str,
    description: str,
    paraphrase: Sequence[Sample] = (),
    settings: ExtractionSettings = ExtractionSettings(),
) -> Extraction:
    """Return the incident of one slice of the traffic.

    Args:
        traffic: N answers of the model to heal; rows without ground truth are left out.
        inside: which rows lie in the slice, (N,).
        embeddings: unit vectors of the rows, (N, D).
        task_type: of the model.
        labels: labels that the model has; samples for the healer that carry others make the shift ``new``.
        domain: name of the slice.
        description: the failure in words: what a marketplace is searched with.
        paraphrase: rewordings of failures that the judge may use, of other groups than what the healer is given.
        settings: sizes, shares and the gate's needs.

    Raises:
        DataError: shapes differ.
        EmptySliceError: fewer than four failures, or no control traffic.
        LeakageError: a paraphrase shares a group with what the healer is given.
    """
    if not len(traffic) == len(inside) == len(embeddings):
        raise DataError(f"{len(traffic)} rows, {len(inside)} memberships and {len(embeddings)} embeddings")
    rows = _Rows.of(traffic, inside, domain)
    failures = int((rows.inside & rows.failed).sum())
    if failures < 4 or rows.inside.all():
        raise EmptySliceError(f"{failures} labelled failures in {domain!r}, {int((~rows.inside).sum())} rows outside")
    seed, judge = settings.seed, settings.judge_share
    given, judged = rows.divided(rows.inside, judge, seed)
    outside_given, outside_judged = rows.divided(~rows.inside, judge, seed)
    broken = [i for i in given if rows.failed[i]]
    settings = _with_gate_sizes(settings, 1.0 - float(rows.failed[outside_given].mean()) if outside_given else 1.0)
    selection, repair = _gate_and_repair(broken, rows, np.asarray(embeddings)[rows.places], settings)
    half = _half(outside_given, rows, settings)
    slice_holdout = judged[: settings.n_slice_holdout]
    holdout = [i for i in slice_holdout if rows.failed[i]]
    control_holdout = outside_judged[: settings.n_control_holdout]
    parts = {
        "repair": rows.take(repair),
        "selection": rows.take(selection),
        "replay": rows.take(half[1][: settings.n_replay]),
        "control_selection": rows.take(half[0][: settings.n_control_selection]),
        "slice_holdout": rows.take(slice_holdout),
        "control_holdout": rows.take(control_holdout),
    }
    check_disjoint(parts)
    healer = [s for name in ("repair", "selection", "replay", "control_selection") for s in parts[name]]
    check_disjoint({"what the healer is given": healer, "paraphrase": paraphrase})
    new = task_type == "text_classification" and bool({s.expected for s in healer} - set(labels))
    shift: LabelShift = "new" if new else "known"
    task = RepairTask(
        task_type=task_type,
        label_shift=shift,
        domain=domain,
        description=description,
        repair=parts["repair"],
        selection=parts["selection"],
        replay=parts["replay"],
        control_selection=parts["control_selection"],
    )
    judge_set = JudgeSet(
        holdout=rows.take(holdout),
        slice_holdout=parts["slice_holdout"],
        control_holdout=parts["control_holdout"],
        paraphrase=tuple(paraphrase),
    )
    matched = _closest(control_holdout, holdout or broken, np.asarray(embeddings)[rows.places])
    gate_controls = half[0][: settings.n_control_selection]
    num_right = len(gate_controls) - int(rows.failed[gate_controls].sum())
    short = _shortfall(settings.needs, len(selection), len(gate_controls), num_right)
    return Extraction(FailureSuite(task, judge_set, "group"), rows.take(matched), short, len(broken))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Labelled rows, each text once, as samples with groups."""

    places: NDArray[np.intp]
    """Rows of the traffic."""
    samples: tuple[Sample, ...]
    failed: NDArray[np.bool_]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, traffic: Traffic, inside: NDArray[np.bool_], domain: str) -> _Rows:
        first: dict[str, int] = {}
        reached: set[str] = set()
        for i in np.flatnonzero(traffic.labelled):
            first.setdefault(traffic.texts[i], int(i))
            if inside[i]:
                reached.add(traffic.texts[i])
        places = np.array(sorted(first.values()), dtype=np.intp)
        groups = near_duplicate_groups([traffic.texts[i] for i in places])
        # A text may lie inside once and outside another time (another day, another channel): it belongs to the slice.
        within = np.array([traffic.texts[i] in reached for i in places], dtype=np.bool_)
        touched = {group for group, w in zip(groups, within.tolist(), strict=True) if w}
        # A near duplicate of the slice that the rule does not reach is neither slice nor control.
        kept = np.array([g not in touched or w for g, w in zip(groups, within.tolist(), strict=True)], dtype=np.bool_)
        samples = tuple(
            Sample(traffic.texts[i], str(traffic.expected[i]), group, traffic.domains[i] or domain, "traffic")
            for group, i, keep in zip(groups, places, kept, strict=True)
            if keep
        )
        return cls(places[kept], samples, traffic.failed[places[kept]], within[kept])

    def divided(self, part: NDArray[np.bool_], judge_share: float, seed: int) -> tuple[list[int], list[int]]:
        """Return what the healer is given and what judges, both in random order."""
        rows = [int(i) for i in np.flatnonzero(part)]
        by_sample = {self.samples[i].sample_id: i for i in rows}
        sides = split_groups([self.samples[i] for i in rows], {"given": 1 - judge_share, "judge": judge_share}, seed)
        given, judged = ([by_sample[s.sample_id] for s in sides[name]] for name in ("given", "judge"))
        return shuffled(given, seed, "extract", "given"), shuffled(judged, seed, "extract", "judge")

    def take(self, rows: Sequence[int]) -> tuple[Sample, ...]:
        return tuple(self.samples[i] for i in rows)


def _gate_and_repair(
    broken: Sequence[int], rows: _Rows, vectors: Vectors, settings: ExtractionSettings
) -> tuple[list[int], list[int]]:
    """Give random groups of failures to the gate, half of them at most, and choose among the others."""
    wanted = min(settings.n_selection, len(broken) // 2)
    groups: dict[str, list[int]] = {}
    for i in broken:
        groups.setdefault(rows.samples[i].group, []).append(i)
    selection: list[int] = []
    for members in groups.values():
        if len(selection) + len(members) <= wanted:
            selection += members
    gone = set(selection)
    others = [i for i in broken if i not in gone]
    chosen = representatives(vectors[others], settings.n_repair, rule=settings.rule)
    return selection, [others[i] for i in chosen]


def _half(outside: Sequence[int], rows: _Rows, settings: ExtractionSettings) -> tuple[list[int], list[int]]:
    """Divide outside rows between the gate, which comes first, and replay; groups stay whole."""
    wanted = min(settings.n_control_selection, max(math.ceil(len(outside) / 2), len(outside) - settings.n_replay))
    groups: dict[str, list[int]] = {}
    for i in outside:
        groups.setdefault(rows.samples[i].group, []).append(i)
    gate: list[int] = []
    replay: list[int] = []
    for members in groups.values():
        (gate if len(gate) + len(members) <= wanted else replay).extend(members)
    return gate, replay


def _closest(controls: Sequence[int], failures: Sequence[int], vectors: Vectors) -> list[int]:
    """Return, for each failure, the control closest to it that none has taken yet."""
    left = list(controls)
    chosen: list[int] = []
    for failure in failures:
        if not left:
            break
        best = int((vectors[left] @ vectors[failure]).argmax())
        chosen.append(left.pop(best))
    return chosen


def _with_gate_sizes(settings: ExtractionSettings, right_share: float) -> ExtractionSettings:
    """Return the settings with sizes that do for the gate's needs, where so many samples exist."""
    needs = settings.needs
    controls = math.ceil(MARGIN * (needs.num_controls or 0) / max(right_share, 0.1))
    return replace(
        settings,
        n_selection=max(settings.n_selection, needs.num_failures or 0),
        n_control_selection=max(settings.n_control_selection, needs.min_controls, controls),
    )


def _shortfall(needs: GateNeeds, num_selection: int, num_controls: int, num_right: int) -> Shortfall:
    failures, controls = needs.num_failures, needs.num_controls
    if failures is None or controls is None:
        return Shortfall(0, 0, possible=False)
    # The flip bound reads only controls that the base answers rightly; the least number counts all of them.
    right_share = (num_right + 1) / (num_controls + 2)
    lacking = max(needs.min_controls - num_controls, math.ceil((controls - num_right) / right_share), 0)
    # Half of the failures go to the gate, so each one that it lacks costs two.
    return Shortfall(2 * max(failures - num_selection, 0), lacking, possible=True)
