"""How long and how much a market on a Hub may take, in one place.

Every figure is a bound that a server cannot move: a slow, endless or insistent answer ends in a typed error.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds of one market on a Hub."""

    timeout_s: float = 10.0
    """Seconds without a byte, to connect or to read."""
    deadline_s: float = 60.0
    """Seconds for one operation (a listing, one patch), retries and waits included; files add time by their size."""
    min_bytes_per_s: int = 64_000
    """A download may take its size divided by this, beyond ``deadline_s``."""
    max_tries: int = 4
    """Tries of a read that failed for a passing reason (429, 5xx, no connection)."""
    first_wait_s: float = 0.5
    """Seconds before the second try; doubled each time."""
    max_wait_s: float = 20.0
    """A server that asks for a longer wait is not waited for."""
    max_patches: int = 1_000
    """Patches that a listing returns."""
    max_listed_files: int = 10_000
    """Files of a repository that are looked at."""
    max_answer_bytes: int = 32 << 20
    """Size of one answer that is not a file."""
    max_pull_requests: int = 32
    """Open pull requests of a patch that are read for evaluations."""
    max_commits: int = 1_000
    """Commits of a patch that are searched for a version without a tag."""
    num_threads: int = 8
    """Manifests that are read at once."""
