"""The marketplace stage that several strategies share: search, fetch and verify, screen."""

from __future__ import annotations

from symbio_lab.errors import BudgetExceededError, ModelError
from symbio_lab.evaluation.screening import Screened, screen
from symbio_lab.events import CandidateRefused, SearchFinished, emit
from symbio_lab.healing.context import HealingContext
from symbio_lab.records import Attempt, Patch, SearchQuery


def build_query(context: HealingContext) -> SearchQuery:
    """Return the query of this incident: base, task, labels and the pattern's words."""
    task = context.task
    exemplars = " | ".join(s.text for s in task.repair[:8])
    return SearchQuery(
        task_type=task.task_type,
        text=f"{task.description} | {exemplars}",
        labels=task.repair_labels,
        domain=task.domain,
        max_results=max(4 * context.max_marketplace_patches, 50),
    )


def find_patches(context: HealingContext) -> tuple[list[Patch], list[Attempt]]:
    """Return verified candidates in search order, and an attempt for each that was refused.

    The query names no base on purpose: a patch for another base is refused by the trust rules, with its code,
    instead of silently missing.
    """
    if context.market is None:
        return [], [context.note(Attempt("marketplace", "-", "skipped", "no_market", "no marketplace was given"))]
    with context.meter.phase("search"):
        candidates = context.market.search(build_query(context))
        refused_early = sum(c.problem is not None for c in candidates)
        emit(context.listener, SearchFinished(len(candidates), refused_early))
    patches: list[Patch] = []
    attempts: list[Attempt] = []
    with context.meter.phase("verify"):
        for candidate in candidates:
            if len(patches) >= context.max_marketplace_patches:
                over = Attempt("marketplace", candidate.ref, "skipped", "over_limit", "max_marketplace_patches reached")
                attempts.append(context.note(over))
                continue
            before = context.market.bytes_read
            patch, attempt = context.market.fetch(
                candidate, base_digest=context.model.digest, task_type=context.task.task_type
            )
            context.meter.charge_bytes(context.market.bytes_read - before)
            if patch is None:
                attempts.append(context.note(attempt))
                emit(context.listener, CandidateRefused(candidate.ref, attempt.code))
            else:
                patches.append(patch)
    return patches, attempts


def fitting_patches(context: HealingContext, patches: list[Patch]) -> tuple[list[Patch], list[Attempt]]:
    """Return the patches that can be applied to the model, and an attempt for each that cannot; costs no forward."""
    fitting: list[Patch] = []
    refused: list[Attempt] = []
    for patch in patches:
        try:
            with context.model.applied(patch):
                fitting.append(patch)
        except ModelError as error:
            found = Attempt("marketplace", patch.patch_id, "refused", error.code, str(error), patch.manifest.keyid)
            refused.append(context.note(found))
    return fitting, refused


def screen_patches(context: HealingContext, patches: list[Patch]) -> tuple[list[Screened], list[Attempt]]:
    """Return the candidates' figures on ``repair`` and replay, and an attempt for each.

    When the budget ends in the middle, the candidates screened so far stand and the rest is marked as skipped.
    """
    results: list[Screened] = []
    attempts: list[Attempt] = []
    with context.meter.phase("screen"):
        context.saw("repair", len(context.task.repair))
        context.saw("replay", len(context.task.replay))
        for patch in patches:
            try:
                (result,) = screen(
                    context.model,
                    [patch],
                    context.task.repair,
                    context.task.replay,
                    context.base,
                    context.meter,
                    context.listener,
                )
            except BudgetExceededError as error:
                skipped = Attempt("marketplace", patch.patch_id, "skipped", error.code, str(error))
                attempts.append(context.note(skipped))
                continue
            attempts.append(context.note(_as_attempt(result)))
            results.append(result)
    return results, attempts


def _as_attempt(result: Screened) -> Attempt:
    patch = result.patch
    if result.problem is not None:
        code, detail = result.problem.code, str(result.problem)
        return Attempt("marketplace", patch.patch_id, "refused", code, detail, patch.manifest.keyid)
    figures = {
        "score_pp": result.score,
        "fix_rate": result.fix_rate,
        "flip_rate": result.flip_rate,
        "num_failures": float(result.num_failures),
        "num_guard": float(result.num_guard),
    }
    return Attempt("marketplace", patch.patch_id, "screened", "", "", patch.manifest.keyid, figures)
