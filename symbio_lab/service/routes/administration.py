"""Tenants (operators), and each tenant's own keys, policy, audit log and figures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.state import ServiceState, state_of
from symbio_lab.service.tenant_policy import TenantPolicy
from symbio_lab.store.api_keys import OPERATOR, SCOPES, ApiKey
from symbio_lab.store.streams import model_ids

router = APIRouter(tags=["administration"], responses=problem_responses(401, 403, 404, 409, 422, 429, 503))
Operator = Annotated[Caller, Depends(needs("admin", operator=True))]
Admin = Annotated[Caller, Depends(needs("admin"))]
Reader = Annotated[Caller, Depends(needs("read"))]
TenantName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC, e.g. 2027-01-31T12:00:00Z.")]


class TenantIn(BaseModel):
    """A tenant to make."""

    model_config = ConfigDict(extra="forbid")

    tenant: TenantName


class TenantOut(BaseModel):
    """A tenant; ``token`` is its first admin key, shown this once."""

    tenant: str
    created_at: str
    token: str | None = None


class TenantsOut(BaseModel):
    """All tenants."""

    tenants: list[TenantOut]


class KeyIn(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=200)
    scopes: list[str] = Field(min_length=1, max_length=len(SCOPES), description="Of: " + ", ".join(SCOPES))
    expires_at: Utc | None = None


class KeyOut(BaseModel):
    """A key; ``token`` is shown when it is made, and never again."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    token: str | None = None


class KeysOut(BaseModel):
    """The tenant's keys."""

    keys: list[KeyOut]


class PolicyOut(BaseModel):
    """The tenant's policy."""

    policy: TenantPolicy


class AuditOut(BaseModel):
    """Lines of the audit log."""

    lines: list[dict[str, Any]]


class StatsOut(BaseModel):
    """Figures of one tenant."""

    num_models: int
    num_predictions: int
    num_labelled: int
    num_failed: int
    num_failure_reports: int
    num_deployments: int
    num_open_jobs: int


@router.get("/tenants")
def list_tenants(caller: Operator, request: Request) -> TenantsOut:
    """List the tenants."""
    found = state_of(request).tenants.list()
    return TenantsOut(tenants=[TenantOut(tenant=one.tenant, created_at=one.created_at) for one in found])


@router.post("/tenants", status_code=201)
def create_tenant(body: TenantIn, caller: Operator, request: Request) -> TenantOut:
    """Make a tenant and its first admin key."""
    state = state_of(request)
    if state.tenants.find(body.tenant) is not None:
        raise ProblemError(409, "exists", "there is a tenant of this name", hint="choose another name")
    tenant = state.tenants.create(body.tenant, now=state.now())
    token, key = state.keys.create(body.tenant, ["admin"], now=state.now(), name="first")
    state.audit.append(OPERATOR, at=state.now(), actor=caller.actor, action="tenant.create", subject=body.tenant)
    state.audit.append(body.tenant, at=state.now(), actor="operator", action="key.create", subject=key.key_id)
    return TenantOut(tenant=tenant.tenant, created_at=tenant.created_at, token=token)


@router.get("/keys")
def list_keys(caller: Admin, request: Request) -> KeysOut:
    """List the tenant's keys, without their secrets."""
    return KeysOut(keys=[_key(key) for key in state_of(request).keys.list(caller.tenant)])


@router.post("/keys", status_code=201)
def create_key(body: KeyIn, caller: Admin, request: Request) -> KeyOut:
    """Make a key; its token is shown this once."""
    state = state_of(request)
    token, key = state.keys.create(
        caller.tenant, body.scopes, now=state.now(), expires_at=body.expires_at, name=body.name
    )
    _audit(state, caller, "key.create", key.key_id, {"scopes": list(key.scopes)})
    return _key(key, token)


@router.delete("/keys/{key_id}")
def revoke_key(key_id: Annotated[str, Path(pattern="^[0-9a-f]{16}$")], caller: Admin, request: Request) -> KeyOut:
    """Let a key end now."""
    state = state_of(request)
    key = state.keys.revoke(caller.tenant, key_id, at=state.now())
    _audit(state, caller, "key.revoke", key_id, {})
    return _key(key)


@router.get("/policies")
def show_policy(caller: Reader, request: Request) -> PolicyOut:
    """Show what the tenant lets the service do."""
    return PolicyOut(policy=state_of(request).policy(caller.tenant))


@router.put("/policies")
def set_policy(body: TenantPolicy, caller: Admin, request: Request) -> PolicyOut:
    """Replace the tenant's policy; it can only narrow the operator's."""
    state = state_of(request)
    state.tenants.set_policy(caller.tenant, body.model_dump(mode="json"))
    _audit(state, caller, "policy.set", caller.tenant, body.model_dump(mode="json"))
    return PolicyOut(policy=body)


@router.get("/audit")
def read_audit(
    caller: Admin,
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditOut:
    """Read the tenant's lines of the audit log."""
    from symbio_lab.codec import to_plain

    return AuditOut(
        lines=[to_plain(line) for line in state_of(request).audit.lines(caller.tenant, after=after, limit=limit)]
    )


@router.get("/stats")
def show_stats(caller: Reader, request: Request) -> StatsOut:
    """Show the tenant's figures."""
    from symbio_lab.store.prediction_reading import PredictionReader

    state = state_of(request)
    names = model_ids(state.database, caller.tenant)
    streams = [PredictionReader(state.database, caller.tenant, name).state() for name in names]
    return StatsOut(
        num_models=len(names),
        num_predictions=sum(one.num_stored + one.num_pruned for one in streams),
        num_labelled=sum(one.num_labelled for one in streams),
        num_failed=sum(one.num_failed for one in streams),
        num_failure_reports=sum(one.num_failure_reports for one in streams),
        num_deployments=len(state.ledger.lines(tenant=caller.tenant)),
        num_open_jobs=state.jobs.num_open(caller.tenant),
    )


def _audit(state: ServiceState, caller: Caller, action: str, subject: str, detail: dict[str, Any]) -> None:
    state.audit.append(caller.tenant, at=state.now(), actor=caller.actor, action=action, subject=subject, detail=detail)


def _key(key: ApiKey, token: str | None = None) -> KeyOut:
    return KeyOut(
        key_id=key.key_id,
        name=key.name,
        scopes=list(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        token=token,
    )
