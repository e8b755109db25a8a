"""``symbio market contribute``: give a deployed patch to a market, with what was measured and nothing that is private.

The incident is drawn again from the deployment's record, so that every text of it can be compared with what would be
published; a deployment whose incident cannot be drawn again is not contributed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.passphrases import passphrase_of
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag, Session, expiry_after, session_of, utc_now
from symbio_lab.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from symbio_lab.events import Listener
    from symbio_lab.marketplace.contribution import Contribution, HouseRules, Incident
    from symbio_lab.records import Deployment, Patch
    from symbio_lab.scenarios.world import World
    from symbio_lab.store import Ledger

LAB_LICENCE = "Apache-2.0"
"""Of the bases that the lab's own worlds build: their encoder's, and the lab's."""
LOCAL = "local/"
"""Namespace of patches that healing made here."""


def add_contributing_commands(app: typer.Typer) -> None:
    """Register ``contribute`` on ``symbio market``."""
    app.command("contribute")(contribute)


def contribute(
    context: typer.Context,
    deployment: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT_OR_DIGEST", help="Deployment id, or digest of a deployed patch.")
    ],
    market: Annotated[str, typer.Option("--market", help="Folder, file:// URI or hf://OWNER; made if it is new.")],
    name: Annotated[str, typer.Option("--as", help="namespace/name to publish as.")],
    licence: Annotated[str | None, typer.Option(help="SPDX id; default: the rules', else the patch's own.")] = None,
    policy: Annotated[Path | None, typer.Option(help="House rules for contributions (YAML).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show all that would leave; publish nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Publish a deployed patch with its signed evaluation; nothing leaves if a check fails.

    Licences, private data and the name are checked first; exit 3 names the rule. Running it again after a kill
    publishes what is missing.
    """
    from symbio_lab.marketplace.contribution import HouseRules, load_house_rules

    session = session_of(context)
    rules = HouseRules() if policy is None else load_house_rules(policy)
    rules = replace(rules, licence=licence or rules.licence)
    with progress() as listener:
        done = contribute_deployed(
            session, deployment, market, name, rules=rules, dry_run=dry_run, now=utc_now(), listener=listener
        )
    result = {
        **done.leaving(),
        "dry_run": dry_run,
        "published_patch": done.published_patch,
        "published_evaluation": done.published_evaluation,
        "pull_request": done.pull_request or None,
    }
    if as_json:
        print_json(result)
    else:
        _print(done, dry_run)


def contribute_deployed(
    session: Session,
    deployment: str,
    uri: str,
    patch_id: str,
    *,
    rules: HouseRules,
    dry_run: bool,
    now: str,
    listener: Listener | None = None,
) -> Contribution:
    """Return what was contributed of a deployment, or what would be.

    Args:
        session: of the program.
        deployment: deployment id, or payload digest of a deployed patch; its first 8 characters do.
        uri: market.
        patch_id: ``namespace/name`` to publish as.
        rules: what the house lets out.
        dry_run: True publishes nothing.
        now: UTC time.
        listener: told about progress.

    Raises:
        NotFoundError: no such deployment, or its incident was not recorded.
        DataError: it does not serve now, or did not help.
        TrustError, ConfigError, StorageError: as ``marketplace.contribution.contribute``.
    """
    from symbio_lab.cli.market_access import open_market
    from symbio_lab.evaluation.suites import SuiteSizes
    from symbio_lab.marketplace.contribution import contribute as contribute_patch
    from symbio_lab.scenarios.registered_models import load_model, rebuild, record_of
    from symbio_lab.store import Ledger, open_store
    from symbio_lab.trust.key_ring import OWN_NAME
    from symbio_lab.trust.keys import load_or_create_key
    from symbio_lab.trust.naming import check_patch_id
    from symbio_lab.trust.stored import open_stored

    check_patch_id(patch_id)
    settings = session.settings
    market = open_market(uri, settings, must_exist=False)
    book = Ledger(open_store(settings.store))
    line = find_serving(book, deployment)
    kept = record_of(settings, line, book.history(line.tenant, line.model_id))
    if kept is None:
        raise NotFoundError(
            f"the incident of deployment {line.deployment_id[:12]} was not recorded",
            hint="its texts cannot be compared with what would be published: heal again, then contribute that",
        )
    patch = open_stored(settings.patches, line.patch_digest or "")
    key = load_or_create_key(session.own_key_file, partial(passphrase_of, OWN_NAME))
    world = rebuild(settings, load_model(settings, line.model_id), listener)
    sizes = SuiteSizes(n_repair=kept.n_repair, n_control_selection=kept.n_control)
    # A patch that healing signed before our key was rotated is still our own.
    predecessors = market.policy.predecessors_of(key.keyid)
    made_here = patch.patch_id.startswith(LOCAL) and patch.manifest.keyid in {key.keyid, *predecessors}
    incident = _incident(world, sizes, kept.seed, patch, made_here)
    if rules.base_licence is None:
        rules = replace(rules, base_licence=licence_of_base(world.name))
    return contribute_patch(
        patch,
        incident,
        market.transport,
        key,
        store=settings.patches,
        patch_id=patch_id,
        issued=now,
        expires=expiry_after(now),
        rules=rules,
        dry_run=dry_run,
        predecessors=predecessors,
    )


def find_serving(book: Ledger, wanted: str) -> Deployment:
    """Return the ledger's line that ``wanted`` names, if its patch is what serves its tenant now.

    Raises:
        NotFoundError: no line has this id or digest.
        DataError: several do, it never went live, or something else serves now.
    """
    lines = [line for line in book.lines() if line.patch_digest is not None]
    found = [line for line in lines if _names(line.deployment_id, wanted)]
    found = found or [line for line in lines if _names(line.patch_digest or "", wanted)]
    if not found:
        raise NotFoundError(f"no deployment or deployed patch {wanted!r:.80}", hint="list them: symbio ledger")
    if len({line.patch_digest for line in found}) > 1:
        raise DataError(f"{wanted!r:.80} names several patches", hint="give more of the id: symbio ledger --json")
    serving = [line for line in found if line.stage == "live" and _serves(book, line)]
    if not serving:
        line = found[-1]
        raise DataError(
            f"deployment {line.deployment_id[:12]} ({line.stage}) is not what serves {line.tenant!r} now",
            hint="only what serves is contributed, nothing that was rolled back or replaced; see: symbio ledger",
        )
    return serving[-1]


def _names(identifier: str, wanted: str) -> bool:
    return len(wanted) >= 8 and identifier.startswith(wanted)


def _serves(book: Ledger, line: Deployment) -> bool:
    current = book.current(line.tenant, line.model_id)
    return current is not None and current.patch_digest == line.patch_digest


def licence_of_base(world: str) -> str | None:
    """Return the licence of a world's base: the lab's own worlds state it, those of plugins do not."""
    from symbio_lab.scenarios import catalogue

    return LAB_LICENCE if any(world in family.recipes for family in catalogue.BUILT_IN) else None


def _incident(world: World, sizes: Any, seed: int, patch: Patch, made_here: bool) -> Incident:
    """Return the incident as it was healed, with base and patch measured again on the gate's splits."""
    from symbio_lab.evaluation.evaluate import BasePredictions, run_outcomes
    from symbio_lab.marketplace.contribution import Incident, Measured

    task = world.incident(sizes, seed).task
    base = BasePredictions(world.model)
    parts = [run_outcomes(world.model, patch, split, base) for split in (task.selection, task.control_selection)]
    return Incident(
        task_type=task.task_type,
        domain=task.domain,
        description=task.description,
        labels=task.repair_labels,
        splits={
            "repair": task.repair,
            "replay": task.replay,
            "selection": task.selection,
            "control_selection": task.control_selection,
        },
        measured=Measured.of(parts[0].counts(), parts[1].counts()),
        method=patch.patch_id.removeprefix(LOCAL).replace("-", "_") if made_here else "",
        seed=seed,
    )


def _print(done: Contribution, dry_run: bool) -> None:
    said, measured = done.manifest, done.evaluation
    rows = [
        ("title", said.title),
        ("scope", said.scope),
        ("domain", said.domain),
        ("labels", ", ".join(said.labels)),
        ("licence", said.licence),
        ("training data", said.training_data),
        ("claims", ", ".join(f"{claim.name} {claim.value:.3f} (n = {claim.n})" for claim in said.claims)),
        ("lineage", ", ".join(said.lineage) or "none"),
        ("files", ", ".join(f"{entry.name} ({entry.size_bytes} bytes)" for entry in said.files)),
        ("evaluation", f"{measured.before_ppm / 1e4:.2f} % -> {measured.after_ppm / 1e4:.2f} % (n = {measured.n})"),
        ("splits read", ", ".join(f"{name} {digest[:16]}" for name, digest in sorted(measured.splits.items()))),
    ]
    print_table(["leaves the house", "as"], rows)
    if dry_run:
        print(f"dry run: nothing was published to {done.market}")
    elif done.pull_request:
        print(f"proposed {done.ref} to {done.market}: {done.pull_request}; run it again after the merge")
    else:
        what = {(True, True): "patch and evaluation", (False, True): "the evaluation that was missing"}
        told = what.get((done.published_patch, done.published_evaluation), "patch")
        stood = not (done.published_patch or done.published_evaluation)
        print(f"{done.ref} stands already, with its evaluation" if stood else f"published {told}: {done.ref}")
    print(done.digest)
