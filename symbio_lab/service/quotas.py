"""How much of the store and of the machines a tenant may use: the operator's limits, narrowed by the tenant's own.

Limits:
    ``max_records``            predictions and failure reports stored; beyond: 403 ``quota_exceeded``
    ``max_patch_bytes``        files of the patches that were deployed for the tenant; beyond: 403 ``quota_exceeded``
    ``max_forwards_per_day``   forwards-equivalent that healing spends a day (UTC); beyond: 429 ``budget_spent``

Rules:
    1. Records are counted where they are stored, hence exactly; a request that is answered beside others may exceed the
       limit by what those bring.
    2. A job is refused when what was spent today, what open jobs may still spend and what it may spend itself do not
       fit: the limit holds whatever the jobs do. The check and the job are one transaction.
    3. Retention gives records back (``symbio monitor prune``); the day ends by itself (``Retry-After``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from symbio_lab.service.problems import ProblemError
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.state import ServiceState
from symbio_lab.service.tenant_policy import TenantPolicy
from symbio_lab.store.connection import Connection
from symbio_lab.store.job_rows import count_open
from symbio_lab.store.usage import read_usage


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may use."""

    max_records: int
    max_patch_bytes: int
    max_forwards_per_day: float
    max_forwards_per_job: float


@dataclass(frozen=True, slots=True)
class Used:
    """What one tenant uses."""

    num_records: int
    patch_bytes: int
    forwards_today: float


def limits_of(service: ServiceSettings, policy: TenantPolicy) -> Limits:
    """Return the smaller of each limit; a tenant cannot widen the operator's."""
    own = policy.budgets
    per_day = min(service.max_forwards_per_day, own.max_forwards_per_day or service.max_forwards_per_day)
    return Limits(
        min(service.max_records, own.max_records or service.max_records),
        min(service.max_patch_bytes, own.max_patch_bytes or service.max_patch_bytes),
        per_day,
        min(policy.max_forwards_per_job, per_day),
    )


def used_by(state: ServiceState, tenant: str) -> Used:
    """Return what a tenant uses now.

    Raises:
        StorageError: the store cannot be read.
    """
    with state.database.read() as connection:
        records = read_usage(connection, tenant, "records")
        forwards = read_usage(connection, tenant, "forwards", period=day_of(state.now()))
    return Used(round(records), _patch_bytes(state, tenant), forwards)


def check_records(state: ServiceState, policy: TenantPolicy, tenant: str, num_new: int) -> None:
    """Refuse records that do not fit.

    Raises:
        ProblemError: 403 ``quota_exceeded``.
        StorageError: the store cannot be read.
    """
    most = limits_of(state.service, policy).max_records
    with state.database.read() as connection:
        stored = round(read_usage(connection, tenant, "records"))
    if stored + num_new > most:
        raise ProblemError(
            403,
            "quota_exceeded",
            f"{stored} records are stored, {num_new} more would exceed the limit of {most}",
            hint="let retention remove old ones, or ask the operator for more; GET /quotas shows what is used",
        )


def check_labels(state: ServiceState, policy: TenantPolicy, tenant: str, num_new: int) -> None:
    """Refuse labels while too many wait for predictions that never came: they take room as records do.

    Raises:
        ProblemError: 403 ``quota_exceeded``.
        StorageError: the store cannot be read.
    """
    most = limits_of(state.service, policy).max_records
    with state.database.read() as connection:
        waiting = connection.execute(
            "SELECT count(*) FROM early_labels JOIN streams USING (stream_id) WHERE tenant = ?", (tenant,)
        ).fetchone()[0]
    if waiting + num_new > most:
        raise ProblemError(
            403,
            "quota_exceeded",
            f"{waiting} labels wait for their predictions, {num_new} more would exceed the limit of {most}",
            hint="send the predictions first, or let retention remove what waits",
        )


def check_patches(state: ServiceState, tenant: str) -> None:
    """Refuse a job whose patch would find no room.

    Raises:
        ProblemError: 403 ``quota_exceeded``.
        StorageError: the store cannot be read.
    """
    most = limits_of(state.service, state.policy(tenant)).max_patch_bytes
    stored = _patch_bytes(state, tenant)
    if stored >= most:
        raise ProblemError(
            403,
            "quota_exceeded",
            f"the tenant's patches have {stored} bytes, the limit is {most}",
            hint="ask the operator for more; GET /quotas shows what is used",
        )


def job_condition(state: ServiceState, tenant: str) -> Callable[[Connection], None]:
    """Return what refuses a new job inside the transaction that would store it: too many, or too expensive.

    Raises:
        StorageError: the policy cannot be read.
    """
    limits, most_open, now = limits_of(state.service, state.policy(tenant)), state.service.max_open_jobs, state.now()

    def check(connection: Connection) -> None:
        num_open = count_open(connection, tenant)
        if num_open >= most_open:
            raise ProblemError(
                429,
                "too_many_jobs",
                f"a tenant may have {most_open} open jobs",
                hint="wait for one to end, or cancel one",
                headers={"Retry-After": "30"},
            )
        spent = read_usage(connection, tenant, "forwards", period=day_of(now))
        reserved = num_open * limits.max_forwards_per_job
        if spent + reserved + limits.max_forwards_per_job > limits.max_forwards_per_day:
            raise ProblemError(
                429,
                "budget_spent",
                f"{spent:,.0f} forwards-equivalent were spent today and {num_open} open job(s) may spend"
                f" {reserved:,.0f}; one more may not exceed {limits.max_forwards_per_day:,.0f}",
                hint="wait for tomorrow (UTC), lower max_forwards_per_job, or ask the operator for more",
                headers={"Retry-After": str(seconds_to_midnight(now) if not num_open else 60)},
            )

    return check


def day_of(now: str) -> str:
    """Return the UTC date of a time.

    >>> day_of("2026-01-31T12:00:00Z")
    '2026-01-31'
    """
    return now[:10]


def seconds_to_midnight(now: str) -> int:
    """Return the seconds until the next UTC day, at least 1.

    >>> seconds_to_midnight("2026-01-31T23:59:00Z")
    60
    """
    moment = datetime.fromisoformat(now).astimezone(UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return max(1, round((midnight - moment).total_seconds()))


def _patch_bytes(state: ServiceState, tenant: str) -> int:
    digests = {line.patch_digest for line in state.ledger.lines(tenant=tenant) if line.patch_digest is not None}
    return sum(_folder_bytes(state.settings.patches / digest) for digest in digests)


@lru_cache(maxsize=4096)
def _folder_bytes(folder: Path) -> int:
    # Named by its content: its size does not change.
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
