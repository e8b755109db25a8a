"""Carry a request out once for an idempotency key, and repeat the first answer afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from symbio_lab.records import content_id
from symbio_lab.service.problems import ProblemError
from symbio_lab.service.state import ServiceState


def answer_once(
    state: ServiceState, tenant: str, key: str | None, request: Any, carry_out: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return what a request gave the first time; without a key it is carried out.

    Args:
        state: of the service.
        tenant: whose key it is.
        key: the header's value.
        request: what was asked for; another one under the same key is refused.
        carry_out: does it.

    Raises:
        ProblemError: 422 ``idempotency_key_reused``, 409 ``in_flight``.
    """
    if key is None:
        return carry_out()
    name = content_id(key)
    begun = state.idempotency.begin(tenant, name, content_id(request))
    if begun.verdict == "other_request":
        raise ProblemError(
            422, "idempotency_key_reused", "this key came with another request", hint="make a new key for each request"
        )
    if begun.verdict == "in_flight":
        raise ProblemError(
            409,
            "in_flight",
            "the first request with this key is still being answered",
            hint="ask again in a moment",
            headers={"Retry-After": "1"},
        )
    if begun.verdict == "replay":
        kept: dict[str, Any] = json.loads(begun.response or "{}")
        return kept
    try:
        answer = carry_out()
    except BaseException:
        state.idempotency.forget(tenant, name)
        raise
    state.idempotency.end(tenant, name, 202, json.dumps(answer))
    return answer
