"""What every route works with: the store's parts, the loaded bases, the limits. Made once for an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import HTTPConnection

from symbio_lab.config import Settings
from symbio_lab.service.rates import Rates
from symbio_lab.service.residents import Residents
from symbio_lab.service.settings import ServiceSettings
from symbio_lab.service.tenant_policy import TenantPolicy
from symbio_lab.store.api_keys import ApiKeys
from symbio_lab.store.audit import AuditLog
from symbio_lab.store.candidate_traffic import CandidateTraffic
from symbio_lab.store.connection import Store
from symbio_lab.store.failure_reports import FailureReports
from symbio_lab.store.idempotency import IdempotencyKeys
from symbio_lab.store.jobs import Jobs
from symbio_lab.store.labels import LabelStore
from symbio_lab.store.ledger import Ledger
from symbio_lab.store.observed_time import utc_now
from symbio_lab.store.opening import open_store
from symbio_lab.store.predictions import PredictionStore
from symbio_lab.store.registered_models import RegisteredModels
from symbio_lab.store.tenants import Tenants


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service process."""

    settings: Settings
    service: ServiceSettings
    database: Store
    tenants: Tenants
    keys: ApiKeys
    models: RegisteredModels
    predictions: PredictionStore
    labels: LabelStore
    reports: FailureReports
    jobs: Jobs
    ledger: Ledger
    candidates: CandidateTraffic
    audit: AuditLog
    idempotency: IdempotencyKeys
    residents: Residents
    rates: Rates
    now: Callable[[], str]

    def policy(self, tenant: str) -> TenantPolicy:
        """Return a tenant's policy; one that set nothing has the defaults.

        Raises:
            StorageError: the store cannot be read.
        """
        found = self.tenants.find(tenant)
        return TenantPolicy.model_validate({} if found is None else dict(found.policy))

    @property
    def market_folder(self) -> Path:
        """The service's own market: what tenants contributed here, under the service's key, for all of them."""
        return self.settings.home / "market"


def open_state(settings: Settings, service: ServiceSettings, *, now: Callable[[], str] = utc_now) -> ServiceState:
    """Return the state of a service on the store of these settings; nothing is read yet."""
    database = open_store(settings.store)
    return ServiceState(
        settings=settings,
        service=service,
        database=database,
        tenants=Tenants(database),
        keys=ApiKeys(database),
        models=RegisteredModels(database),
        predictions=PredictionStore(database),
        labels=LabelStore(database),
        reports=FailureReports(database),
        jobs=Jobs(database),
        ledger=Ledger(database),
        candidates=CandidateTraffic(database),
        audit=AuditLog(database),
        idempotency=IdempotencyKeys(database),
        residents=Residents(settings, service),
        rates=Rates(service.requests_per_minute),
        now=now,
    )


def state_of(connection: HTTPConnection) -> ServiceState:
    """Return the state of the app that answers a request."""
    state: ServiceState = connection.app.state.service
    return state
