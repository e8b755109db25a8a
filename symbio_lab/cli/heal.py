"""``symbio heal``: heal one incident of a scenario, deploy what the gate accepts, contribute accepted surgery."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symbio_lab.cli.passphrases import passphrase_of
from symbio_lab.cli.printing import number_text, print_json, print_table
from symbio_lab.cli.progress import progress
from symbio_lab.cli.session import JsonFlag, Session, expiry_after, session_of, utc_now
from symbio_lab.errors import ConfigError, UnknownDatasetError

if TYPE_CHECKING:
    from symbio_lab.events import Listener
    from symbio_lab.marketplace.overlay import OverlayTransport
    from symbio_lab.pipeline import Healed
    from symbio_lab.scenarios.pool import Pool
    from symbio_lab.trust.keys import SigningKey

STOPPED = ("budget_exceeded", "timeout")
"""Statuses of a run, and codes of its skipped attempts, that say that budget or time were too small."""


def heal(
    context: typer.Context,
    scenario: Annotated[str, typer.Option(help="A world: helpdesk, clinc150/travel, scan/add-jump ...")] = "helpdesk",
    pool: Annotated[str, typer.Option(help="Relevance of the pool: null, low, medium or high.")] = "high",
    strategy: Annotated[str, typer.Option(help="Healing strategy.")] = "marketplace_first",
    n_repair: Annotated[int, typer.Option(help="Labelled failures given, at least 2.")] = 16,
    n_control: Annotated[int, typer.Option(help="Control samples for the gate, at most.")] = 1000,
    seed: Annotated[int, typer.Option(help="Draws the incident and every random choice.")] = 0,
    world_seed: Annotated[int, typer.Option(help="Draws the base and the pool.")] = 0,
    contributor_size: Annotated[int | None, typer.Option(help="32, 128 or 512; default: the world's.")] = None,
    tenant: Annotated[str, typer.Option(help="Who gets the patch.")] = "default",
    model: Annotated[str | None, typer.Option(help="Model id; default: the scenario's name.")] = None,
    gate: Annotated[str, typer.Option(help="lab or strict.")] = "lab",
    budget_forwards: Annotated[float | None, typer.Option(help="Forwards-equivalent, gate included.")] = None,
    wall_limit: Annotated[float | None, typer.Option(help="Abort after this many seconds.")] = None,
    max_patches: Annotated[int, typer.Option(help="Marketplace patches tried, at most.")] = 20,
    contribute: Annotated[bool, typer.Option(help="Publish accepted surgery to the scenario's overlay.")] = True,
    as_json: JsonFlag = False,
) -> int:
    """Heal one incident, deploy what the gate accepts, and note it in the ledger.

    Exit 5 when budget or wall limit ended the run before anything was proposed; refused patches are attempts, no
    errors.
    """
    check_request(scenario, pool, strategy, n_repair, n_control, contributor_size, gate, budget_forwards, max_patches)
    if not tenant.strip() or (model is not None and not model.strip()):
        raise ConfigError(["--tenant and --model must not be empty"])
    from symbio_lab.scenarios.registered_models import default_model_id

    with progress() as listener:
        result = _heal(
            session_of(context),
            listener,
            budget_forwards=budget_forwards,
            wall_limit=wall_limit,
            scenario=scenario,
            pool=pool,
            strategy=strategy,
            n_repair=n_repair,
            n_control=n_control,
            seed=seed,
            world_seed=world_seed,
            contributor_size=contributor_size,
            tenant=tenant,
            model_id=model or default_model_id(scenario, world_seed),
            gate=gate,
            max_patches=max_patches,
            contribute=contribute,
        )
    if as_json:
        print_json(result)
    else:
        _print(result)
    return 5 if _was_stopped(result) else 0


def _was_stopped(result: dict[str, Any]) -> bool:
    skipped = any(attempt.code in STOPPED for attempt in result["attempts"])
    return result["status"] in STOPPED or (result["patch"] is None and skipped)


def check_request(
    scenario: str,
    pool: str,
    strategy: str,
    n_repair: int,
    n_control: int,
    contributor_size: int | None,
    gate: str,
    budget_forwards: float | None,
    max_patches: int,
) -> None:
    """Raise what is wrong with a request, everything at once.

    Raises:
        UnknownDatasetError: only the scenario is unknown.
        ConfigError: anything else.
    """
    from symbio_lab.comparison.plan import ComparisonPlan

    plan = ComparisonPlan(
        scenario,
        pool=pool,
        strategies=(strategy,),
        n_repair=n_repair,
        n_control=n_control,
        contributor_size=contributor_size,
        gate=gate,
        budget_forwards=budget_forwards,
        max_marketplace_patches=max_patches,
    )
    check_plan(plan)


def check_plan(plan: Any, problems: tuple[str, ...] = ()) -> None:
    """Raise what is wrong with a plan and its scenario, everything at once.

    Args:
        plan: a ``ComparisonPlan``.
        problems: found before.

    Raises:
        UnknownDatasetError: only the scenario is unknown.
        ConfigError: anything else.
    """
    from symbio_lab.scenarios.catalogue import scenario_recipe

    found = list(problems)
    try:
        plan.check()
    except ConfigError as error:
        found += error.problems
    try:
        scenario_recipe(plan.scenario)
    except UnknownDatasetError as error:
        if not found:
            raise
        found.append(f"{error} ({error.hint})")
    if found:
        raise ConfigError(found, hint="correct what is listed; symbio COMMAND --help names the options")


def _heal(session: Session, listener: Listener, **asked: Any) -> dict[str, Any]:
    from symbio_lab.budget import Budget
    from symbio_lab.cli.market_contributing import licence_of_base
    from symbio_lab.codec import write_json
    from symbio_lab.deployment.gate import gate_policy
    from symbio_lab.evaluation.suites import SuiteSizes
    from symbio_lab.marketplace.overlay import OverlayTransport
    from symbio_lab.pipeline import Contributing, Deploying
    from symbio_lab.pipeline import heal as heal_incident
    from symbio_lab.scenarios.registered_models import (
        DeploymentRecord,
        ModelRecord,
        deployment_file,
        predictions_digest,
        probe_texts,
        save_model,
        slug,
    )
    from symbio_lab.scenarios.world import build_world
    from symbio_lab.scenarios.world_deployments import serving_now
    from symbio_lab.trust.key_ring import OWN_NAME
    from symbio_lab.trust.keys import load_or_create_key

    settings, now = session.settings, utc_now()
    tenant, model_id = asked["tenant"], asked["model_id"]
    world = build_world(
        asked["scenario"],
        world_seed=asked["world_seed"],
        contributor_size=asked["contributor_size"],
        settings=settings,
        listener=listener,
    )
    suite = world.incident(
        SuiteSizes(n_repair=asked["n_repair"], n_control_selection=asked["n_control"]), asked["seed"]
    )
    built = world.pool(asked["pool"])
    key = load_or_create_key(session.own_key_file, partial(passphrase_of, OWN_NAME))
    named = {name: asked[name] for name in ("model_id", "scenario", "world_seed", "contributor_size", "seed")}
    record = ModelRecord(
        **named, base_digest=world.model.digest, n_repair=asked["n_repair"], num_threads=settings.num_threads
    )
    save_model(settings, record)
    registry, ledger = serving_now(settings, world.model, tenant, model_id)
    texts = probe_texts(suite)
    before = predictions_digest(registry, tenant, model_id, texts)
    overlay = OverlayTransport(built.transport, settings.home / "overlays" / slug(model_id))
    name = f"{slug(model_id)}-{asked['strategy'].replace('_', '-')}"
    healed = heal_incident(
        world.model,
        suite.task,
        store=settings.patches,
        strategy=asked["strategy"],
        market=_client(session, built, overlay, key, now),
        budget=Budget(
            forwards_equivalent=asked["budget_forwards"] or world.recipe.budget_forwards, wall_s=asked["wall_limit"]
        ),
        lora=world.recipe.lora,
        gate=gate_policy(asked["gate"]),
        seed=asked["seed"],
        max_marketplace_patches=asked["max_patches"],
        deploying=Deploying(registry, ledger, tenant, model_id, now),
        contributing=Contributing(overlay, key, f"lab-{key.keyid[:12]}", name, base_licence=licence_of_base(world.name))
        if asked["contribute"]
        else None,
        listener=listener,
        key=key,
        issued=now,
        expires=expiry_after(now),
    )
    after = predictions_digest(registry, tenant, model_id, texts)
    if healed.deployment is not None:
        deployment_id = healed.deployment.deployment_id
        kept = DeploymentRecord(deployment_id, asked["seed"], asked["n_repair"], asked["n_control"], before, after)
        write_json(deployment_file(settings, deployment_id), kept)
    return {
        **_result(healed),
        "tenant": tenant,
        "model_id": model_id,
        "predictions_digest": {"before": before, "after": after},
    }


def _client(session: Session, pool: Pool, overlay: OverlayTransport, key: SigningKey, now: str) -> Any:
    """Return the tenant's view of pool and overlay; our own earlier contributions count as a known publisher's."""
    from symbio_lab.cli.market_access import seen_folder
    from symbio_lab.marketplace.client import MarketplaceClient
    from symbio_lab.models.embedding import SentenceEmbedder
    from symbio_lab.trust.enrolled import with_enrolled

    settings = session.settings
    # Our own key is enrolled with the others: what we contributed before, we may adopt.
    policy = with_enrolled(pool.policy, settings)
    seen = seen_folder(pool.path, settings)
    return MarketplaceClient([overlay], policy, settings.patches, now, SentenceEmbedder(), seen=seen)


def _result(healed: Healed) -> dict[str, Any]:
    outcome, deployment = healed.outcome, healed.deployment
    chosen = outcome.deployed or outcome.proposed
    return {
        "strategy": outcome.strategy,
        "family": outcome.family,
        "status": outcome.status,
        "route": outcome.route,
        "patch": {"id": chosen.patch_id, "digest": chosen.digest, "level": chosen.level} if chosen else None,
        "deployment_id": deployment.deployment_id if deployment else None,
        "stage": deployment.stage if deployment else None,
        "contributed": outcome.contributed,
        "attempts": outcome.attempts,
        "verdict": healed.verdict,
        "num_labels_seen": outcome.num_labels_seen,
        "cost": {
            "forwards_equivalent": outcome.cost.total("forwards_equivalent"),
            "flops": outcome.cost.total("flops"),
            "num_bytes": int(outcome.cost.total("num_bytes")),
            "wall_s": outcome.cost.total("wall_s"),
            "cpu_s": outcome.cost.total("cpu_s"),
        },
    }


def _print(result: dict[str, Any]) -> None:
    print_table(
        ["kind", "ref", "status", "code", "detail"],
        [[a.kind, a.ref, a.status, a.code, a.detail] for a in result["attempts"]],
    )
    patch, digests = result["patch"], result["predictions_digest"]
    print(f"outcome: {result['status']}, route {result['route']}")
    print(f"patch: {patch['id']} {patch['digest']}" if patch else "patch: none")
    print(f"cost: {number_text(result['cost']['forwards_equivalent'])} forwards-equivalent")
    if result["contributed"]:
        print(f"contributed: {result['contributed']}")
    print(f"tenant: {result['tenant']}, model: {result['model_id']}")
    print(f"predictions before: {digests['before']}")
    print(f"predictions after: {digests['after']}")
    print(f"deployment: {result['deployment_id'] or 'none'}")
