"""What can be said of a model's stored traffic, and what cannot, in words and figures.

Rules:
    1. A failure rate is stated over labelled rows, with an exact interval and its n; without any it is not stated.
    2. Failure reports have no denominator: they are counted, never divided by anything.
    3. What was sampled, redacted, pruned or is still waiting is said, since it changes what a figure means.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbio_lab.records import Interval
from symbio_lab.stats.intervals import to_interval
from symbio_lab.store.prediction_reading import PredictionReader, StreamState


@dataclass(frozen=True, slots=True)
class StreamStatement:
    """One tenant's model, for people."""

    tenant: str
    model_id: str
    num_stored: int
    """Predictions that are there."""
    num_labelled: int
    labelled_share: float | None
    """Share of these with ground truth, in [0, 1]; None without predictions."""
    failure_rate: Interval
    """Over labelled predictions that are there; the value is None without any."""
    num_early_labels: int
    num_failure_reports: int
    num_pruned: int
    num_represented: float
    """Answers that the stored ones stand for, where they were sampled."""
    first_observed_at: str
    last_observed_at: str
    notes: tuple[str, ...]
    """What to know when reading the figures."""
    cannot: tuple[str, ...]
    """What cannot be stated, and why."""


def state_stream(reader: PredictionReader) -> StreamStatement:
    """Return what can be said of one tenant's model.

    Args:
        reader: the tenant's model.

    Raises:
        StorageError: the store cannot be read.
    """
    state = reader.state()
    return StreamStatement(
        tenant=state.tenant,
        model_id=state.model_id,
        num_stored=state.num_stored,
        num_labelled=state.num_labelled,
        labelled_share=state.num_labelled / state.num_stored if state.num_stored else None,
        failure_rate=to_interval(state.num_failed, state.num_labelled)
        if state.num_labelled
        else Interval(None, None, None, 0),
        num_early_labels=state.num_early_labels,
        num_failure_reports=state.num_failure_reports,
        num_pruned=state.num_pruned,
        num_represented=state.num_represented,
        first_observed_at=state.first_observed_at,
        last_observed_at=state.last_observed_at,
        notes=_notes(state),
        cannot=_cannot(state),
    )


def _notes(state: StreamState) -> tuple[str, ...]:
    notes = []
    if 0 < state.num_labelled < state.num_stored:
        notes.append(
            "the failure rate is that of the labelled answers; it is the traffic's only if these were chosen by chance"
        )
    if state.sample_shares and state.sample_shares[0] < 1.0:
        shares = ", ".join(f"{share:g}" for share in state.sample_shares)
        notes.append(f"sampled (share {shares}): the rows stand for about {state.num_represented:,.0f} answers")
    if state.num_early_labels:
        notes.append(f"{state.num_early_labels:,} labels wait for their prediction")
    if state.num_pruned:
        notes.append(f"{state.num_pruned:,} older predictions were removed; their counts by day and domain stay")
    return tuple(notes)


def _cannot(state: StreamState) -> tuple[str, ...]:
    cannot = []
    if state.num_failure_reports:
        cannot.append(
            f"no rate can be stated for the {state.num_failure_reports:,} failure reports: the traffic around them "
            "was not reported"
        )
    if state.num_stored and not state.num_labelled:
        cannot.append("no failure rate can be stated: no answer has ground truth yet (symbio monitor label)")
    if len(state.sample_shares) > 1:
        cannot.append("rows were sampled at several shares: the rate over rows is not the rate over all answers")
    rules = {rule for redaction in state.redactions for rule in redaction.split()}
    if hidden := sorted(rules & {"input_sample:hash", "input_sample:drop"}):
        cannot.append(f"patterns in words cannot be found where texts were removed ({', '.join(hidden)})")
    if "domain:drop" in rules or "domain:hash" in rules:
        cannot.append("domains were removed: rates by domain have no readable names")
    return tuple(cannot)
