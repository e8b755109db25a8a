"""``symbio tenants``: tenants of the service and their keys, made on the machine that holds the store."""

from __future__ import annotations

from typing import Annotated

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, StoreOption, settings_with_store, utc_now

tenants_app = typer.Typer(help="Tenants of the service and their keys.", no_args_is_help=True, rich_markup_mode=None)


@tenants_app.command("new")
def new(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="NAME")],
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a tenant and its first admin key; the key is shown this once."""
    from symbio_lab.store.api_keys import ApiKeys
    from symbio_lab.store.audit import AuditLog
    from symbio_lab.store.opening import open_store
    from symbio_lab.store.tenants import Tenants

    database, now = open_store(settings_with_store(context, store).store), utc_now()
    Tenants(database).create(tenant, now=now)
    token, key = ApiKeys(database).create(tenant, ["admin"], now=now, name="first")
    AuditLog(database).append(tenant, at=now, actor="operator", action="key.create", subject=key.key_id)
    if as_json:
        print_json({"tenant": tenant, "key_id": key.key_id, "token": token})
        return
    typer.echo(f"made {tenant}; its admin key, shown this once:", err=True)
    typer.echo(token)


@tenants_app.command("key")
def key(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="NAME", help="The tenant; * for an operator's key.")],
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; repeated. Default: admin.")] = None,
    expires: Annotated[str | None, typer.Option(help="UTC, e.g. 2027-01-31T12:00:00Z.")] = None,
    name: Annotated[str, typer.Option(help="For people.")] = "",
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make another key; it is shown this once."""
    from symbio_lab.errors import NotFoundError
    from symbio_lab.store.api_keys import OPERATOR, ApiKeys
    from symbio_lab.store.audit import AuditLog
    from symbio_lab.store.opening import open_store
    from symbio_lab.store.tenants import Tenants

    database, now = open_store(settings_with_store(context, store).store), utc_now()
    if tenant != OPERATOR and Tenants(database).find(tenant) is None:
        raise NotFoundError(f"there is no tenant {tenant!r:.80}", hint="symbio tenants new NAME")
    token, made = ApiKeys(database).create(tenant, scope or ["admin"], now=now, expires_at=expires, name=name)
    AuditLog(database).append(tenant, at=now, actor="operator", action="key.create", subject=made.key_id)
    if as_json:
        print_json({"tenant": tenant, "key_id": made.key_id, "token": token})
        return
    typer.echo(token)


@tenants_app.command("list")
def list_tenants(context: typer.Context, store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """List the tenants."""
    from symbio_lab.store.opening import open_store
    from symbio_lab.store.tenants import Tenants

    rows = Tenants(open_store(settings_with_store(context, store).store)).list()
    if as_json:
        print_json(rows)
        return
    print_table(["tenant", "made"], [[row.tenant, row.created_at] for row in rows])
