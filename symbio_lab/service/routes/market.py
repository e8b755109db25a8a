"""Search: which patches exist for a base and a failure, verified ones first, each with its reason."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.records import Candidate, SearchQuery
from symbio_lab.service.callers import Caller, needs
from symbio_lab.service.problems import ProblemError, problem_responses
from symbio_lab.service.schemas.market import HitOut, SearchIn, SearchOut
from symbio_lab.service.state import state_of

router = APIRouter(prefix="/marketplace", tags=["marketplace"], responses=problem_responses(401, 403, 422, 429, 503))
Reader = Annotated[Caller, Depends(needs("market:read"))]


@router.post("/search")
def search(body: SearchIn, caller: Reader, request: Request) -> SearchOut:
    """Search by words, for the base that the model id names; an id that nobody registered finds nothing."""
    state = state_of(request)
    try:
        registered = state.models.find(caller.tenant, body.model_id)
    except ModelUnresolvedError as error:
        reason = f"{error}: patches fit one base exactly, so none can be offered for a base that is not known"
        return SearchOut(results=[], num_refused=0, reason=reason, base_digest=None)
    query = SearchQuery(
        body.task_type,
        f"{body.domain}: {body.query}" if body.domain else body.query,
        base_digest=registered.digest,
        domain=body.domain,
        max_results=body.max_results,
        min_score=body.min_score,
    )
    lock, client = request.app.state.markets.view(caller.tenant)
    with lock:
        found = client.search(query)
        client.require_one()
        usable = [hit for hit in found if hit.problem is None]
        reason = "" if usable else _why(client, query, found)
        reason = " ".join([reason, *(f"{uri} cannot be reached now." for uri in client.unreachable)]).strip()
        entries = {(entry.market, entry.ref): entry for index in client.indices for entry in index.entries}
    hits = [_hit(hit, entries[hit.market, hit.ref], client) for hit in found[: body.max_results]]
    return SearchOut(results=hits, num_refused=len(found) - len(usable), reason=reason, base_digest=registered.digest)


@router.get("/patches")
def list_patches(caller: Reader, request: Request) -> dict[str, Any]:
    """List everything that the tenant's markets offer, refused patches with their code."""
    lock, client = request.app.state.markets.view(caller.tenant)
    with lock:
        indices = client.indices
        client.require_one()
    return {
        "unreachable": sorted(client.unreachable),
        "patches": [
            {
                "id": entry.ref,
                "market": entry.market,
                "digest": entry.digest or None,
                "problem": entry.problem,
                "detail": entry.detail,
                "title": entry.manifest.title if entry.manifest else None,
                "version": entry.manifest.version if entry.manifest else None,
                "base_digest": entry.manifest.base_digest if entry.manifest else None,
                "licence": entry.manifest.licence if entry.manifest else None,
            }
            for index in indices
            for entry in index.entries
        ],
    }


@router.get("/patches/{namespace}/{name}", responses=problem_responses(404))
def show_patch(namespace: str, name: str, caller: Reader, request: Request) -> dict[str, Any]:
    """Show one patch: its manifest as offered, and what known evaluators measured."""
    ref = f"{namespace}/{name}"
    lock, client = request.app.state.markets.view(caller.tenant)
    with lock:
        entry = next((e for index in client.indices for e in index.entries if e.ref == ref), None)
        if entry is None and client.unreachable:
            client.refuse("no market that can be reached offers this patch")
        if entry is None or entry.manifest is None:
            raise ProblemError(404, "not_found", "no market offers this patch", hint="GET /marketplace/patches")
        measured = client.evaluations(Candidate(ref, entry.market, entry.manifest, 0.0, "", entry.problem))
    from symbio_lab.codec import to_plain

    return {
        "id": ref,
        "market": entry.market,
        "digest": entry.digest,
        "problem": entry.problem,
        "detail": entry.detail,
        "manifest": to_plain(entry.manifest),
        "evaluations": [to_plain(one) for one in measured],
    }


def _why(client: MarketplaceClient, query: SearchQuery, found: list[Candidate]) -> str:
    if found:
        codes = ", ".join(sorted({hit.problem or "" for hit in found}))
        return f"no patch passes the policy: all {len(found)} are refused ({codes})"
    return client.explain_empty(query)


def _hit(hit: Candidate, entry: IndexEntry, client: MarketplaceClient) -> HitOut:
    manifest = hit.manifest
    publisher = client.policy.keys.get(manifest.keyid) if manifest else None
    return HitOut(
        id=hit.ref,
        version=manifest.version if manifest else None,
        digest=entry.digest or None,
        score=min(max(hit.score, 0.0), 1.0),
        verified=hit.problem is None,
        problem=hit.problem,
        reason=hit.reason if hit.problem is None else f"{entry.detail} ({hit.reason})",
        title=manifest.title if manifest else None,
        domain=manifest.domain if manifest else None,
        labels=list(manifest.labels) if manifest else [],
        licence=manifest.licence if manifest else None,
        publisher=publisher.name if publisher else None,
        keyid=(manifest.keyid if manifest else entry.keyid) or None,
        market=hit.market,
    )
