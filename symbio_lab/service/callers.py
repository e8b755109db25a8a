"""Who calls: the tenant comes from the API key, never from the body.

Rules:
    1. Without a valid key: 401, whatever was asked for. A key without the scope: 403.
    2. ``--local``: no key is asked for; there is one tenant, and the process listens on the loopback interface only.
    3. Limits count by tenant: ten keys have no more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from symbio_lab.service.problems import ProblemError
from symbio_lab.service.settings import LOCAL_TENANT
from symbio_lab.service.state import state_of
from symbio_lab.store.api_keys import OPERATOR

_bearer = HTTPBearer(auto_error=False, description="An API key: sl_ID_SECRET", bearerFormat="sl_ID_SECRET")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and for whom."""

    tenant: str
    actor: str
    """Key id, or ``local``."""
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Return whether the caller may do this."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def is_operator(self) -> bool:
        """Whether the key is an operator's."""
        return self.tenant == OPERATOR


def identify(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """Return the caller of a request.

    Raises:
        ProblemError: 401 without a valid key, 429 beyond the tenant's rate.
    """
    state = state_of(request)
    if state.service.local:
        caller = Caller(LOCAL_TENANT, "local", frozenset({"admin"}))
    else:
        key = state.keys.find(credentials.credentials, now=state.now()) if credentials is not None else None
        if key is None:
            raise ProblemError(
                401,
                "unauthenticated",
                "this call needs a valid API key",
                hint="send Authorization: Bearer sl_...; symbio serve keys new makes one",
                headers={"WWW-Authenticate": "Bearer"},
            )
        caller = Caller(key.tenant, key.key_id, frozenset(key.scopes))
    request.state.tenant = caller.tenant
    wait_s = state.rates.hit(caller.tenant)
    if wait_s is not None:
        raise ProblemError(
            429,
            "rate_limited",
            f"more than {state.service.requests_per_minute} requests a minute",
            hint="send batches, or wait",
            headers={"Retry-After": str(wait_s)},
        )
    return caller


def needs(scope: str, *, operator: bool = False) -> Callable[..., Caller]:
    """Return a dependency: a caller of a tenant whose key has a scope.

    Args:
        scope: of ``SCOPES``.
        operator: whether operators' keys, and only they, may call.
    """

    def check(caller: Annotated[Caller, Depends(identify)], request: Request) -> Caller:
        local = state_of(request).service.local
        if caller.is_operator != operator and not local:
            raise ProblemError(
                403,
                "forbidden",
                "this call is for operators" if operator else "an operator's key has no tenant",
                hint="use a key of the other kind",
            )
        if not caller.allows(scope):
            raise ProblemError(
                403, "forbidden", f"the key lacks the scope {scope}", hint="ask for a key with this scope"
            )
        return caller

    return check
