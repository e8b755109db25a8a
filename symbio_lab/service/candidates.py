"""Shadows and canaries: a candidate beside the live patch, seeing the same traffic, answering a share of it or none.

Rules:
    1. The newest shadow or canary line after the newest live (or rolled back) one is the candidate; there is one for
       a tenant's model. Promoting, rolling back or withdrawing adds a line that serves, and so ends it.
    2. Which texts it takes part in is settled by a digest of its deployment id and the text (or the caller's id of the
       answer): the same text goes the same way as long as the candidate stands, on every server.
    3. Its answers are computed beside the live ones, in the same batch, and compared. A canary's are the answer; a
       shadow's are not.
    4. A candidate that fails costs the tenant nothing: the live patch answers, and the failure is counted.
    5. A canary whose line states no share answers nothing; a shadow without one sees everything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from symbio_lab.records import Deployment
from symbio_lab.store.ledger import SERVING_STAGES, Ledger

CANDIDATE_STAGES = ("shadow", "canary")
WHOLE_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Standing:
    """What answers for a tenant's model, and what stands beside it."""

    live: Deployment | None
    """None: the base as it was registered."""
    candidate: Deployment | None


def find_standing(ledger: Ledger, tenant: str, model_id: str) -> Standing:
    """Return what the ledger says now.

    Raises:
        StorageError: the ledger cannot be read.
    """
    newest = ledger.current(tenant, model_id, stages=(*SERVING_STAGES, *CANDIDATE_STAGES))
    if newest is None or newest.stage in SERVING_STAGES:
        return Standing(newest, None)
    return Standing(ledger.current(tenant, model_id), newest)


def share_of(candidate: Deployment) -> int:
    """Return the share of the traffic that a candidate takes part in, in parts per million."""
    if candidate.share_ppm is not None:
        return candidate.share_ppm
    return WHOLE_PPM if candidate.stage == "shadow" else 0


def candidate_stage(candidate: Deployment) -> Literal["shadow", "canary"]:
    """Return the stage of a candidate as its own type."""
    return "canary" if candidate.stage == "canary" else "shadow"


def takes_part(candidate: Deployment, unit: str) -> bool:
    """Return whether a candidate takes part in one answer.

    Args:
        candidate: a shadow or canary.
        unit: the caller's id of the answer, else the text.
    """
    return _place(candidate.deployment_id, unit) < share_of(candidate)


def _place(deployment_id: str, unit: str) -> int:
    """Return where an answer lies in the traffic, in [0, 1,000,000)."""
    digest = hashlib.sha256(f"{deployment_id}\0{unit}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") * WHOLE_PPM >> 64
