"""A trust policy in words: what it asks, what in it may be meant otherwise, and where it is looser than another."""

from __future__ import annotations

from collections.abc import Iterator

from symbio_lab.trust.policy import TrustPolicy, reaches


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
