"""``symbio market policy``: what a trust policy file means, and what it says about one patch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, session_of, utc_now
from symbio_lab.config import Settings
from symbio_lab.errors import NotFoundError, TrustError

if TYPE_CHECKING:
    from symbio_lab.trust.policy import TrustPolicy

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


def describe_policy(policy: TrustPolicy) -> Iterator[str]:
    """Yield what a policy asks, one sentence a line."""
    yield f"accepts patches from level {policy.min_level!r} on"
    for licence, level in sorted(policy.licence_levels.items()):
        yield f"under licence {licence} from level {policy.level_asked(licence)!r} on (rule: {level})"
    allowed = ", ".join(sorted(policy.licences))
    yield f"allows the licences {allowed}" if allowed else "allows every licence"
    if policy.min_signatures > 1:
        yield f"asks for signatures of {policy.min_signatures} distinct publishers on each patch"
    yield f"calls a patch evaluated when {policy.min_evaluators} known evaluator(s), not its publisher, saw it improve"
    for keyid, key in sorted(policy.keys.items(), key=lambda item: (item[1].name, item[0])):
        rights = "trusted" if keyid in policy.trusted else "known" if key.known else "enrolled"
        where = f"in {', '.join(key.namespaces)} only" if key.namespaces else "in any namespace that is nobody's"
        state = ", REVOKED" if keyid in policy.revoked else ""
        heir = policy.successors.get(keyid)
        state += f", succeeded by {heir[:16]}" if heir else ""
        yield f"publisher {key.name} ({keyid[:16]}): {rights}, publishes {where}{state}"
    yield from (f"revoked: {keyid}, whose key is not listed" for keyid in sorted(policy.revoked - set(policy.keys)))
    yield "refuses patches that have expired" if policy.check_expiry else "accepts patches that have EXPIRED"
    if policy.max_age_days is not None:
        yield f"refuses patches issued more than {policy.max_age_days} days ago"
    if policy.refuse_disputed:
        yield "refuses patches whose claims more evaluators dispute than bear out"
    if policy.check_lookalikes:
        yield "refuses names that can be taken for one that another key published before"
    if policy.protected_names:
        yield f"lets nobody imitate {', '.join(policy.protected_names)}"
    yield (
        f"refuses files above {policy.max_file_bytes:,} bytes, patches above {policy.max_total_bytes:,} bytes, "
        f"ranks above {policy.max_rank}"
    )
    if policy.require_registry is not None:
        yield f"asks that the registry at {policy.require_registry.uri} lists the patch"


def doubts_about(policy: TrustPolicy) -> Iterator[str]:
    """Yield what makes a policy accept less than its author may think."""
    counted = policy.num_holders(policy.keys)
    if counted == 0:
        yield "no key is listed that counts: only keys enrolled in the installation do"
    elif counted < policy.min_signatures:
        yield f"{counted} publisher(s) count and {policy.min_signatures} signatures are asked for: nothing is accepted"
    levels = {policy.min_level, *policy.licence_levels.values()}
    trusted = policy.trusted - policy.revoked
    if "trusted" in levels and not trusted:
        yield "level 'trusted' is asked for and no key is trusted"
    if "evaluated" in levels and not trusted and len(policy.evaluators) < policy.min_evaluators:
        yield (
            f"level 'evaluated' is asked for, and {len(policy.evaluators)} of {policy.min_evaluators} "
            "evaluators needed are known"
        )
    if policy.min_level == "unverified":
        yield "level 'unverified' accepts no more than 'signed': without a valid signature nothing becomes a patch"
    if policy.max_file_bytes > policy.max_total_bytes:
        yield "max_file_bytes is above max_total_bytes, which bounds every file too"


def loosened(default: TrustPolicy, policy: TrustPolicy) -> Iterator[str]:
    """Yield the settings in which ``policy`` accepts what ``default`` refuses."""
    from symbio_lab.trust.policy import reaches

    if not reaches(policy.min_level, default.min_level):
        yield "min_level"
    for name in ("min_signatures", "min_evaluators"):
        if getattr(policy, name) < getattr(default, name):
            yield name
    for name in ("max_file_bytes", "max_total_bytes", "max_rank"):
        if getattr(policy, name) > getattr(default, name):
            yield name
    for name in ("check_expiry", "check_lookalikes", "refuse_disputed"):
        if getattr(default, name) and not getattr(policy, name):
            yield name
    if default.max_age_days is not None and (policy.max_age_days or 10**9) > default.max_age_days:
        yield "max_age_days"
    if default.licences and not (policy.licences and policy.licences <= default.licences):
        yield "licences"
    if any(not reaches(policy.level_asked(licence), level) for licence, level in default.licence_levels.items()):
        yield "licence_rules"
    if default.require_registry is not None and policy.require_registry != default.require_registry:
        yield "require_registry"


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
