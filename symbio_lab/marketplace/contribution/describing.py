"""What a contribution says: its manifest, its evaluation, and the list of all their texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from symbio_lab.marketplace.contribution.card_words import scope_of, title_of, training_statement
from symbio_lab.marketplace.contribution.house_rules import HouseRules
from symbio_lab.marketplace.contribution.incident import JUDGED_BY, Incident
from symbio_lab.records import Patch, PatchManifest, content_id
from symbio_lab.trust.adapter_files import CARD_NAME, CONFIG_NAME, adapter_config_bytes
from symbio_lab.trust.evaluation_statement import PPM, EvaluationStatement
from symbio_lab.trust.strict_fields import clean_text
from symbio_lab.trust.verifying import reopen


def describe(
    patch: Patch, incident: Incident, rules: HouseRules, *, licence: str, notices: tuple[str, ...]
) -> PatchManifest:
    """Return the manifest of a contribution as version 1 of the patch's own name.

    What another publisher wrote of an adopted patch stays; of our own, every word is written anew.

    Args:
        patch: healed with.
        incident: what it healed.
        rules: what the house lets out.
        licence: SPDX id to publish under.
        notices: of the base and of the lineage.
    """
    words: dict[str, Any] = {}
    if not incident.adopted:
        words = {
            "title": clean_text(title_of(incident)),
            "scope": clean_text(scope_of(incident, rules.min_texts_behind_word)),
            "labels": incident.labels,
            "domain": clean_text(incident.domain),
        }
    return replace(
        patch.manifest,
        **words,
        version=1,
        previous=None,
        base_id=rules.base_name or patch.manifest.base_id,
        licence=licence,
        training_data=clean_text(training_statement(incident, patch, notices)),
        claims=incident.measured.claims(),
        lineage=lineage_of(patch, incident),
    )


def lineage_of(patch: Patch, incident: Incident) -> tuple[str, ...]:
    """Return the payload digests that the contribution is made from; an adopted patch is the last of them."""
    return (*patch.manifest.lineage, *([patch.digest] if incident.adopted else []))


def evaluation_of(
    manifest: PatchManifest, digest: str, incident: Incident, *, keyid: str, issued: str
) -> EvaluationStatement:
    """Return what was measured on the gate's splits: harm on the controls is in the same figure as the repair.

    Args:
        manifest: of the patch.
        digest: its payload digest.
        incident: what was measured.
        keyid: who measured.
        issued: UTC time.
    """
    measured, digests = incident.measured, incident.digests()
    splits = {name: digests[name] for name in JUDGED_BY if name in digests}
    return EvaluationStatement(
        patch_id=manifest.patch_id,
        patch_digest=digest,
        keyid=keyid,
        base_digest=manifest.base_digest,
        suite_digest=content_id(sorted(splits.items())),
        n=measured.num_samples,
        before_ppm=round(PPM * measured.num_right_before / measured.num_samples),
        after_ppm=round(PPM * measured.num_right_after / measured.num_samples),
        issued=issued,
        splits=splits,
    )


def signed_files(patch: Patch, manifest: PatchManifest) -> dict[str, bytes]:
    """Return the files of a contribution without its card: the patch's tensors, and the config of its manifest.

    Raises:
        TrustError: ``digest_mismatch``: the patch changed on disk.
    """
    files = {name: data for name, data in reopen(patch).items() if name != CARD_NAME}
    if CONFIG_NAME in files:  # it names the base
        files[CONFIG_NAME] = adapter_config_bytes(manifest.adapter, manifest.base_id, manifest.task_type)
    return files


def published_texts(manifest: PatchManifest, statement: EvaluationStatement) -> dict[str, str]:
    """Return every text of manifest and evaluation that is no digest and no time, by the names that findings use."""
    single = {
        "patch_id": manifest.patch_id,
        "title": manifest.title,
        "scope": manifest.scope,
        "domain": manifest.domain,
        "training_data": manifest.training_data,
        "licence": manifest.licence,
        "base_id": manifest.base_id,
    }
    many = {
        "labels": manifest.labels,
        "target_modules": manifest.adapter.target_modules,
        "head_labels": manifest.adapter.head_labels,
        "claims": tuple(claim.name for claim in manifest.claims),
        "evaluation": (statement.patch_id, *statement.splits),
    }
    return single | {f"{name}[{i}]": text for name, texts in many.items() for i, text in enumerate(texts)}


def own_facts(patch: Patch, manifest: PatchManifest, incident: Incident) -> frozenset[str]:
    """Return strings that are no private data whatever they look like: digests, times, counts, public words."""
    source = patch.manifest
    facts = {
        *(manifest.base_digest, manifest.keyid, manifest.keyid[:12], manifest.keyid[:16], source.keyid, patch.digest),
        *(manifest.issued, manifest.expires, str(incident.seed)),
        *manifest.lineage,
        *incident.digests().values(),
        *(str(len(samples)) for samples in incident.splits.values()),
    }
    if incident.adopted:  # its publisher published these words before us
        facts |= {source.title, source.scope, source.domain, source.training_data, *source.labels}
    return frozenset(facts)
