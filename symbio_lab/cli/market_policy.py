"""``symbio market policy``: what a trust policy file means, and what it says about one patch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, session_of, utc_now
from symbio_lab.config import Settings
from symbio_lab.errors import NotFoundError, TrustError

TenantOption = Annotated[str | None, typer.Option(help="Tenant whose rules are meant; default: the file's default.")]


def add_policy_commands(app: typer.Typer) -> None:
    """Register ``policy`` and its commands on ``symbio market``."""
    policy = typer.Typer(
        help="What a trust policy file means and decides.", no_args_is_help=True, rich_markup_mode=None
    )
    policy.command("check")(check)
    policy.command("explain")(explain)
    app.add_typer(policy, name="policy")


def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Trust policy file (YAML).")],
    tenant: TenantOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say in words what a policy file means, or everything that is wrong with it (exit 2).

    What may be meant otherwise, such as a level that nobody can reach, goes to stderr.
    """
    from symbio_lab.trust.policy_file import load_policy_file
    from symbio_lab.trust.policy_words import describe_policy, doubts_about, loosened

    read = load_policy_file(file)
    policy = read.for_tenant(tenant)
    said, doubts = list(describe_policy(policy)), list(doubts_about(policy))
    if tenant is not None and tenant not in read.tenants:
        doubts.insert(0, f"the file does not name the tenant {tenant!r}: it has the default")
    elif tenant is not None:
        doubts += [f"looser than the default: {name}" for name in loosened(read.default, policy)]
    if as_json:
        print_json(
            {"file": str(file), "tenant": tenant, "tenants": list(read.tenants), "rules": said, "doubts": doubts}
        )
        return
    for line in said:
        typer.echo(line)
    if tenant is None and read.tenants:
        typer.echo(f"tenants with rules of their own: {', '.join(read.tenants)}")
    for doubt in doubts:
        typer.echo(f"note: {doubt}", err=True)


def explain(
    context: typer.Context,
    patch: Annotated[str, typer.Argument(metavar="FOLDER_OR_PATCH", help="Patch folder, or digest of a stored one.")],
    policy: Annotated[Path, typer.Option("--policy", help="Trust policy file (YAML).")],
    tenant: TenantOption = None,
    base: Annotated[str | None, typer.Option("--base", help="Digest of the base that it must fit (64 hex).")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Show every rule that keeps or refuses a patch, in the order in which they are judged; exit 3 if one refuses.

    Keys are those of the file. Evaluations are read when the folder lies in a market; versions seen before are not
    looked at.
    """
    from symbio_lab.trust.explaining import explain_folder
    from symbio_lab.trust.policy_file import load_policy_file
    from symbio_lab.trust.trusted_set import TrustedState

    rules = load_policy_file(policy).for_tenant(tenant)
    folder = _folder_of(patch, session_of(context).settings)
    told = explain_folder(
        folder, rules, TrustedState(), now=utc_now(), base_digest=base, evaluations=_evaluations_beside(folder)
    )
    name = f"{told.manifest.patch_id}@{told.manifest.version}" if told.manifest else folder.name
    if as_json:
        print_json({"id": name, "level": told.level, "code": told.code, "rules": told.rulings})
        return 3 if told.code else 0
    print_table(
        ["rule", "ruling", "asks", "because"],
        [[r.rule, r.code or ("ok" if r.judged else "not judged"), r.asks, r.detail] for r in told.rulings],
    )
    typer.echo(f"refused {told.code}: {name}" if told.code else f"accepted, level {told.level}: {name}")
    return 3 if told.code else 0


def _folder_of(patch: str, settings: Settings) -> Path:
    folder = Path(patch)
    if folder.is_dir():
        return folder
    if re.fullmatch(r"[0-9a-f]{64}", patch) and (settings.patches / patch).is_dir():
        return settings.patches / patch
    raise NotFoundError(
        f"{patch!r:.120} is neither a patch folder nor the digest of a stored patch",
        hint="give a folder, or a digest that symbio market install or symbio ledger printed",
    )


def _evaluations_beside(folder: Path) -> list[bytes]:
    """Return the unverified evaluations that a market holds of the patch in ``folder``, where it lies in one."""
    import hashlib

    from symbio_lab.marketplace.directory import DirectoryTransport
    from symbio_lab.trust.envelope import peek_payload
    from symbio_lab.trust.verifying import read_envelope

    parents: list[Any] = list(folder.resolve().parents)
    if len(parents) < 4 or parents[2].name != "patches":
        return []
    try:
        payload = peek_payload(read_envelope(folder))
    except TrustError:
        return []
    return DirectoryTransport(parents[3]).read_evaluations(hashlib.sha256(payload).hexdigest())
