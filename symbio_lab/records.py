"""The records that flow through the lab: frozen, standard library only, ids are content digests.

Rules:
    1. A record is data: no I/O, no model, no torch.
    2. ``content_id`` of the canonical JSON is the id; equal content, equal id, on every machine.
    3. Times are ISO-8601 UTC strings ending in ``Z``; rates lie in [0, 1]; percentage points end in ``_pp``.
    4. In a notebook a record shows as a card, drawn by ``display/cards.py`` when it is asked for.
    5. ``Patch`` is made only in ``trust/`` (verified) or ``trust/sealing.py`` (our own); it is the only
       thing that ``models/`` applies.

Flow: records.py -> pipeline.py
Next: symbio_lab/pipeline.py
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from symbio_lab.content import canonical_json as canonical_json
from symbio_lab.content import content_id as content_id

TaskType = Literal["text_classification", "text_generation"]
LabelShift = Literal["known", "new"]
TASK_TYPES: tuple[TaskType, ...] = ("text_classification", "text_generation")


class _Shown:
    """What a notebook shows in place of ``repr``."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the record's card; the display layer is above this one, so it is named and not imported."""
        html: str = importlib.import_module("symbio_lab.display.cards").card(self).html
        return html


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled input of a failure dataset."""

    text: str
    """Input text."""
    expected: str
    """Gold label name (classification) or gold output (generation)."""
    group: str
    """Template, product, conversation or near-duplicate cluster: the unit that splits keep together."""
    domain: str = ""
    """Domain, capability or slice name in the source."""
    source: str = ""
    """Where the row came from, e.g. ``train`` or ``test``."""
    facet: str = ""
    """What somebody may know of a slice and somebody else not: a template, a length, a service; empty: the label."""

    @property
    def known_by(self) -> str:
        """The facet, or the gold label where none is named."""
        return self.facet or self.expected

    @property
    def sample_id(self) -> str:
        """Content digest of text, gold and domain."""
        return content_id([self.text, self.expected, self.domain])


@dataclass(frozen=True, slots=True)
class FailureRecord(_Shown):
    """One wrong prediction, as it was reported."""

    model_id: str
    task_type: TaskType
    domain: str
    error_type: str
    input_sample: str
    expected_output: str
    actual_output: str
    severity: str = "medium"
    """``low``, ``medium``, ``high`` or ``critical``."""
    tenant: str = "default"
    model_revision: str = ""
    """Digest of the model that answered."""
    confidence: float | None = None
    """Model's confidence in ``actual_output``, in [0, 1]."""
    observed_at: str = ""
    """UTC, ISO-8601, ends in ``Z``."""

    @property
    def failure_id(self) -> str:
        """Content digest of all fields."""
        return content_id(self)


@dataclass(frozen=True, slots=True)
class PredictionRecord(_Shown):
    """One answer of a model in use, right, wrong or not yet known: the denominators of every rate."""

    model_id: str
    task_type: TaskType
    input_sample: str
    actual_output: str
    expected_output: str | None = None
    """Gold output; None until the ground truth arrives."""
    domain: str = ""
    tenant: str = "default"
    model_revision: str = ""
    """Digest of the model that answered."""
    confidence: float | None = None
    """Model's confidence in ``actual_output``, in [0, 1]."""
    observed_at: str = ""
    """UTC, ISO-8601, ends in ``Z``."""
    event_id: str = ""
    """The caller's own id of this answer, by which a late label finds it; empty: the content digest."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further columns of the caller, such as channel or client version."""

    @property
    def prediction_id(self) -> str:
        """``event_id``, else the content digest of everything that is known when the answer is given."""
        if self.event_id:
            return self.event_id
        return content_id(replace(self, expected_output=None))

    @property
    def failed(self) -> bool | None:
        """Whether the answer was wrong; None until the ground truth arrives."""
        return None if self.expected_output is None else self.actual_output != self.expected_output


@dataclass(frozen=True, slots=True)
class FailurePattern(_Shown):
    """A slice of failures that a patch could heal."""

    description: str
    """Readable, e.g. ``domain = travel``."""
    members: tuple[str, ...]
    """``failure_id`` (of reports) or ``prediction_id`` (of traffic) of each member."""
    labels: tuple[str, ...]
    """Gold labels seen in the slice, sorted."""
    exemplars: tuple[str, ...]
    """A few input texts."""
    support: int
    """Number of failures in the slice."""
    failure_rate: float | None = None
    """Share of traffic inside the slice that fails, in [0, 1]; None without denominators."""
    failure_rate_low: float | None = None
    failure_rate_high: float | None = None
    centroid: tuple[float, ...] = ()
    """Mean unit embedding of the members, (D,); empty when not embedded."""
    outside_rate: float | None = None
    """Share of the traffic outside the slice that fails, in [0, 1]; None without denominators."""
    outside_rate_low: float | None = None
    outside_rate_high: float | None = None
    traffic_share: float | None = None
    """Share of the traffic that lies inside the slice, in [0, 1]; None without denominators."""
    search_text: str = ""
    """What a marketplace is searched with; empty: the description."""

    @property
    def pattern_id(self) -> str:
        """Content digest of description and members."""
        return content_id([self.description, self.members])


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What a patch must satisfy to be a candidate."""

    task_type: TaskType
    text: str
    """Free text: the pattern's description and exemplars."""
    base_digest: str | None = None
    """Digest of the model to heal; None searches for any base."""
    labels: tuple[str, ...] = ()
    """Labels that should be fixed."""
    domain: str = ""
    max_results: int = 20
    min_score: float = 0.0
    """Cosine floor in [0, 1]."""
    licences: tuple[str, ...] = ()
    """Allowed SPDX ids; empty allows all."""
    max_bytes: int | None = None
    """Largest patch to consider, in bytes."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One signed file."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What the tensors of a patch are, as signed and as checked against the bytes."""

    kind: Literal["LORA", "HEAD_ROWS"]
    """``LORA``: low-rank deltas (and maybe rows); ``HEAD_ROWS``: new head rows only."""
    rank: int = 0
    """LoRA rank r; 0 without deltas."""
    alpha: float = 0.0
    """LoRA alpha; the update is alpha / rank * B A."""
    target_modules: tuple[str, ...] = ()
    """Full literal module names, sorted; never a pattern."""
    head_labels: tuple[str, ...] = ()
    """Names of added head rows, in file order."""
    num_features: int = 0
    """Width of the head rows, D; 0 without rows."""
    dtype: str = "F32"


@dataclass(frozen=True, slots=True)
class ClaimedMetric:
    """A figure that the publisher claims; a claim, never evidence."""

    name: str
    value: float
    n: int


@dataclass(frozen=True, slots=True)
class PatchManifest(_Shown):
    """The signed description of a patch (predicate ``model-patch/v1``)."""

    patch_id: str
    """``namespace/name``."""
    version: int
    base_id: str
    base_digest: str
    """Root digest of the base model, 64 hex."""
    task_type: TaskType
    adapter: AdapterSpec
    files: tuple[FileEntry, ...]
    """Every file but the manifest itself, sorted by name."""
    keyid: str
    """Publisher, 64 hex."""
    title: str
    scope: str
    """What it heals, in words: the searched card text."""
    labels: tuple[str, ...]
    """Labels that it claims to fix."""
    domain: str
    licence: str
    """SPDX id."""
    training_data: str
    """Statement about the training data."""
    claims: tuple[ClaimedMetric, ...]
    lineage: tuple[str, ...]
    """Payload digests of patches that this one was made from."""
    issued: str
    expires: str
    previous: str | None = None
    """Payload digest of the previous version."""
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Candidate(_Shown):
    """A search hit. **Unverified**: nothing of it was opened but the manifest's text."""

    ref: str
    """``namespace/name`` in its market."""
    market: str
    """URI of the market."""
    manifest: PatchManifest | None
    """As offered; None when the manifest could not be read."""
    score: float
    """Cosine of query and card, in [0, 1]."""
    reason: str
    """Why it is ranked here."""
    problem: str | None = None
    """Trust code when the manifest is already known to be bad."""


@dataclass(frozen=True, slots=True)
class Patch(_Shown):
    """Verified files on disk. Only ``trust/`` makes one; only ``models/`` applies it."""

    manifest: PatchManifest
    root: Path
    """Folder that holds the signed files and their manifest's envelope (content-addressed copy)."""
    digest: str
    """SHA-256 of the signed payload bytes: the patch's identity."""
    level: str
    """``self``, ``signed``, ``known_publisher``, ``evaluated`` or ``trusted``."""

    @property
    def patch_id(self) -> str:
        """``namespace/name``."""
        return self.manifest.patch_id

    @property
    def size_bytes(self) -> int:
        """Sum of the signed file sizes."""
        return sum(entry.size_bytes for entry in self.manifest.files)


@dataclass(frozen=True, slots=True)
class Interval(_Shown):
    """A figure with its interval and its n."""

    value: float | None
    """None when n is 0 or the figure is not defined."""
    low: float | None
    high: float | None
    n: int
    method: str = "clopper_pearson"


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """What one phase of healing cost."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    forwards_equivalent: float = 0.0
    """Deterministic; 1.0 is one sample through the unpatched base once."""
    flops: float = 0.0
    """Estimated floating-point operations (2 * parameters * tokens a forward)."""
    num_bytes: int = 0
    """Bytes read from or written to a market."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost by phase, in the order the phases were entered."""

    phases: tuple[tuple[str, PhaseCost], ...] = ()

    def total(self, name: str) -> float:
        """Return the sum of one field (``wall_s``, ``flops`` ...) over all phases."""
        return float(sum(getattr(cost, name) for _, cost in self.phases))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that a healer tried, refusals included."""

    kind: Literal["marketplace", "surgery", "control"]
    ref: str
    """Patch id or method name."""
    status: Literal["refused", "skipped", "screened", "proposed", "accepted", "rejected", "undecided"]
    code: str = ""
    """Stable code of a refusal or verdict."""
    detail: str = ""
    keyid: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealingOutcome(_Shown):
    """What one healing run did."""

    strategy: str
    family: str
    """``marketplace``, ``surgery``, ``hybrid`` or ``control``."""
    status: str
    """``healed``, ``rejected``, ``undecided``, ``no_patch_found``, ``no_op``, ``budget_exceeded``, ``timeout``."""
    proposed: Patch | None
    """The ungated candidate."""
    deployed: Patch | None
    """The accepted patch, or None: the base stays."""
    route: str
    """Where the deployed patch came from: ``marketplace``, ``surgery`` or ``none``."""
    attempts: tuple[Attempt, ...]
    cost: Cost
    num_labels_seen: Mapping[str, int] = field(default_factory=dict)
    """Labels read by split name."""
    contributed: str | None = None
    """Payload digest of the patch that was published back."""


@dataclass(frozen=True, slots=True)
class Deployment(_Shown):
    """One line of the deployment ledger."""

    tenant: str
    model_id: str
    base_digest: str
    patch_digest: str | None
    """None is the unpatched base."""
    patch_id: str | None
    stage: Literal["shadow", "canary", "live", "rolled_back"]
    previous: str | None
    """``deployment_id`` that this one replaced."""
    created_at: str
    note: str = ""
    share_ppm: int | None = None
    """Parts per million of the tenant's traffic that a shadow or canary takes part in; None: a shadow sees all of it,
    a canary none."""

    def plain(self) -> dict[str, Any]:
        """Return the fields as the ledger writes them: without a share that is not stated, as lines were before."""
        fields = asdict(self)
        return fields if self.share_ppm is not None else {k: v for k, v in fields.items() if k != "share_ppm"}

    @property
    def deployment_id(self) -> str:
        """Content digest of all fields that are written."""
        return content_id(self.plain())
