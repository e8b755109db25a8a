"""``symbio ledger`` and ``symbio rollback``: what runs for whom, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag, Session, session_of, utc_now

if TYPE_CHECKING:
    from symbio_lab.events import Listener


def ledger(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model id.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Recompute the hash chain; exit 4 if it is broken.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List deployments, oldest first."""
    from symbio_lab.store import Ledger, open_store

    book = Ledger(open_store(session_of(context).settings.store))
    head = book.verify_chain() if verify else book.head()
    lines = book.lines(tenant=tenant, model_id=model)
    if as_json:
        plain = [{"deployment_id": line.deployment_id, **_columns(line)} for line in lines]
        chain = {"num_lines": head.num_lines, "digest": head.digest, "verified": verify}
        print_json({"deployments": plain, "chain": chain})
        return
    print_table(
        ["deployment", "created_at", "tenant", "model", "stage", "patch", "digest", "note"],
        [
            [
                line.deployment_id[:12],
                line.created_at,
                line.tenant,
                line.model_id,
                line.stage,
                line.patch_id or "(base)",
                line.patch_digest,
                line.note,
            ]
            for line in lines
        ],
    )
    if verify:
        print(f"chain ok: {head.num_lines} lines, head {head.digest}")


def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Model id.")],
    tenant: Annotated[str, typer.Option(help="Whose deployment.")] = "default",
    as_json: JsonFlag = False,
) -> int:
    """Undo a tenant's live deployment; the predictions must come back bit for bit."""
    with progress() as listener:
        result = _rolled_back(session_of(context), tenant, model, listener)
    digests = result["predictions_digest"]
    if as_json:
        print_json(result)
    else:
        print(f"serves now: {result['patch_id'] or 'the base'}")
        print(f"predictions before the deployment: {digests['before'] or 'not recorded'}")
        print(f"predictions now: {digests['now']}")
        print(f"bit-equal: {'unknown' if result['bit_equal'] is None else str(result['bit_equal']).lower()}")
        print(f"deployment: {result['deployment_id']}")
    return 1 if result["bit_equal"] is False else 0


def _columns(line: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(line)


def _rolled_back(session: Session, tenant: str, model_id: str, listener: Listener) -> dict[str, Any]:
    from symbio_lab.scenarios.world_deployments import roll_back_world

    done = roll_back_world(session.settings, tenant, model_id, now=utc_now(), listener=listener)
    return {
        "tenant": tenant,
        "model_id": model_id,
        "rolled_back": done.undone.deployment_id,
        "deployment_id": done.line.deployment_id,
        "patch_id": done.line.patch_id,
        "patch_digest": done.line.patch_digest,
        "predictions_digest": {"before": done.before, "deployed": done.deployed, "now": done.now},
        "bit_equal": done.is_bit_equal,
    }
