"""The signed description of a patch: ``PatchManifest`` to payload bytes and back, exactly.

Rules:
    1. Subjects are the files of the patch; their sizes stand in the predicate under the same names.
    2. Claims are integers in parts per million, alpha is an integer or an exact rational ("3/2"): no floats.
    3. ``payload_to_manifest(manifest_to_payload(m)) == m``, and every other payload is refused.
    4. Schema 1 is frozen. A new field needs schema 2 and a reader for both.

Predicate type: ``https://symbio-lab.dev/attestations/model-patch/v1``.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any, cast

from symbio_lab.errors import TrustError
from symbio_lab.records import TASK_TYPES, AdapterSpec, ClaimedMetric, FileEntry, PatchManifest, TaskType
from symbio_lab.trust.naming import check_file_name, check_module_names, check_patch_id
from symbio_lab.trust.statement import read_statement, write_statement
from symbio_lab.trust.strict_fields import (
    array,
    digest_set,
    hex_digest,
    instant,
    integer,
    refuse,
    take,
    text,
    unique_texts,
    utc_time,
)

PREDICATE_TYPE = "https://symbio-lab.dev/attestations/model-patch/v1"
MANIFEST_SCHEMA = 1
DTYPES = ("F32", "F16", "BF16")
PPM = 1_000_000
MAX_CLAIM = 1_000_000
"""Largest claimed value; parts per million stay exact in a float below it."""
_RATIONAL = re.compile(r"-?[0-9]{1,400}/[0-9]{1,400}")
_LONG_TEXT = 8_000


def manifest_to_payload(manifest: PatchManifest) -> bytes:
    """Return the payload bytes that are signed for ``manifest``.

    Raises:
        TrustError: ``bad_manifest`` or ``unsafe_name``: the manifest does not follow the schema, or a claim is not
            a whole number of parts per million (round it first with ``as_ppm``).
    """
    payload = _compose(manifest)
    if _decompose(payload) != manifest:
        raise TrustError("bad_manifest", "the manifest does not survive its own schema; check the types of its fields")
    return payload


def payload_to_manifest(payload: bytes) -> PatchManifest:
    """Return the manifest in ``payload``, read strictly.

    Raises:
        TrustError: ``bad_manifest``, ``duplicate_key`` or ``unsafe_name``.
    """
    manifest = _decompose(payload)
    if _compose(manifest) != payload:
        raise TrustError("bad_manifest", "the payload is not the canonical form of its manifest")
    return manifest


def as_ppm(value: float) -> float:
    """Return ``value`` rounded to whole parts per million, as claims must be.

    >>> as_ppm(1 / 3)
    0.333333
    """
    return round(value * PPM) / PPM


def _compose(manifest: PatchManifest) -> bytes:
    spec = manifest.adapter
    patch: dict[str, Any] = {"id": manifest.patch_id, "version": manifest.version}
    if manifest.previous is not None:
        patch["previous"] = {"sha256": manifest.previous}
    predicate: dict[str, Any] = {
        "schema": manifest.schema,
        "patch": patch,
        "publisher": {"keyid": manifest.keyid},
        "base": {"id": manifest.base_id, "digest": {"sha256": manifest.base_digest}},
        "taskType": manifest.task_type,
        "adapter": {
            "kind": spec.kind,
            "rank": spec.rank,
            "alpha": _exact(spec.alpha),
            "targetModules": list(spec.target_modules),
            "headLabels": list(spec.head_labels),
            "numFeatures": spec.num_features,
            "dtype": spec.dtype,
        },
        "sizes": {entry.name: entry.size_bytes for entry in manifest.files},
        "card": {
            "title": manifest.title,
            "scope": manifest.scope,
            "labels": list(manifest.labels),
            "domain": manifest.domain,
            "trainingData": manifest.training_data,
        },
        "claims": [{"name": c.name, "ppm": _ppm(c.value), "n": c.n} for c in manifest.claims],
        "lineage": [{"sha256": digest} for digest in manifest.lineage],
        "policy": {"licence": manifest.licence},
        "issued": manifest.issued,
        "expires": manifest.expires,
    }
    return write_statement({entry.name: entry.sha256 for entry in manifest.files}, PREDICATE_TYPE, predicate)


def _decompose(payload: bytes) -> PatchManifest:
    subjects, predicate = read_statement(payload, PREDICATE_TYPE)
    schema, patch, publisher, base, task, adapter, sizes, card, claims, lineage, policy, issued, expires = take(
        predicate, "predicate", "schema", "patch", "publisher", "base", "taskType", "adapter", "sizes", "card",
        "claims", "lineage", "policy", "issued", "expires",
    )  # fmt: skip
    integer(schema, "schema", MANIFEST_SCHEMA, MANIFEST_SCHEMA)
    patch_id, version, previous = take(patch, "patch", "id", "version", optional=("previous",))
    (keyid,) = take(publisher, "publisher", "keyid")
    base_id, base_digest = take(base, "base", "id", "digest")
    title, scope, labels, domain, training = take(card, "card", "title", "scope", "labels", "domain", "trainingData")
    (licence,) = take(policy, "policy", "licence")
    if task not in TASK_TYPES:
        raise refuse("taskType", f"not one of {', '.join(TASK_TYPES)}")
    if instant(utc_time(issued, "issued")) >= instant(utc_time(expires, "expires")):
        raise refuse("expires", "not after issued")
    return PatchManifest(
        patch_id=check_patch_id(patch_id),
        version=integer(version, "version", 1, 999_999_999),
        base_id=text(base_id, "base.id", 400),
        base_digest=digest_set(base_digest, "base.digest"),
        task_type=cast(TaskType, task),
        adapter=_adapter(adapter),
        files=_files(subjects, sizes),
        keyid=hex_digest(keyid, "publisher.keyid"),
        title=text(title, "card.title", 300),
        scope=text(scope, "card.scope", _LONG_TEXT),
        labels=unique_texts(labels, "card.labels"),
        domain=text(domain, "card.domain"),
        licence=text(licence, "policy.licence", 100),
        training_data=text(training, "card.trainingData", _LONG_TEXT),
        claims=tuple(_claim(item, f"claims[{i}]") for i, item in enumerate(array(claims, "claims", 256))),
        lineage=tuple(digest_set(item, f"lineage[{i}]") for i, item in enumerate(array(lineage, "lineage", 1024))),
        issued=issued,
        expires=expires,
        previous=None if "previous" not in patch else digest_set(previous, "patch.previous"),
        schema=schema,
    )


def _files(subjects: dict[str, str], sizes: Any) -> tuple[FileEntry, ...]:
    if not isinstance(sizes, dict) or set(sizes) != set(subjects):
        raise refuse("sizes", "does not name exactly the subjects")
    # Case-insensitive file systems would let one file stand for two names.
    if len({name.lower() for name in subjects}) != len(subjects):
        raise TrustError("unsafe_name", "two file names differ only in case")
    return tuple(
        FileEntry(check_file_name(name), digest, integer(sizes[name], f"sizes.{name}", 0, 1 << 50))
        for name, digest in subjects.items()
    )


def _adapter(value: Any) -> AdapterSpec:
    kind, rank, alpha, modules, labels, num_features, dtype = take(
        value, "adapter", "kind", "rank", "alpha", "targetModules", "headLabels", "numFeatures", "dtype"
    )
    if kind not in ("LORA", "HEAD_ROWS") or dtype not in DTYPES:
        raise refuse("adapter", "unknown kind or dtype")
    spec = AdapterSpec(
        kind=kind,
        rank=integer(rank, "adapter.rank", 0, 1 << 31),
        alpha=_from_exact(alpha),
        target_modules=check_module_names(array(modules, "adapter.targetModules", 2048)),
        head_labels=unique_texts(labels, "adapter.headLabels"),
        num_features=integer(num_features, "adapter.numFeatures", 0, 1 << 31),
        dtype=dtype,
    )
    has_deltas = spec.rank > 0 and spec.alpha > 0 and bool(spec.target_modules)
    no_deltas = spec.rank == 0 and spec.alpha == 0 and not spec.target_modules
    if not (has_deltas if kind == "LORA" else no_deltas and spec.head_labels):
        raise refuse("adapter", f"rank, alpha and modules do not make a patch of kind {kind}")
    if bool(spec.head_labels) != (spec.num_features > 0):
        raise refuse("adapter", "head labels and num_features must come together")
    return spec


def _claim(value: Any, where: str) -> ClaimedMetric:
    name, ppm, n = take(value, where, "name", "ppm", "n")
    limit = MAX_CLAIM * PPM
    return ClaimedMetric(
        text(name, where, 100), integer(ppm, where, -limit, limit) / PPM, integer(n, where, 0, 1 << 50)
    )


def _ppm(value: float) -> int:
    if not math.isfinite(value) or abs(value) > MAX_CLAIM or as_ppm(value) != value:
        raise refuse("claims", f"{value!r} is not a whole number of parts per million")
    return round(value * PPM)


def _exact(value: float) -> int | str:
    if not math.isfinite(value):
        raise refuse("adapter.alpha", "not finite")
    fraction = Fraction(value)
    return fraction.numerator if fraction.denominator == 1 else f"{fraction.numerator}/{fraction.denominator}"


def _from_exact(value: Any) -> float:
    if isinstance(value, str) and _RATIONAL.fullmatch(value) and not value.endswith("/0"):
        try:
            return float(Fraction(value))
        except (OverflowError, ZeroDivisionError) as error:
            raise refuse("adapter.alpha", "not a finite rational") from error
    return float(integer(value, "adapter.alpha", 0, 1 << 53))
