"""Manifests: exact round trip, and no second reading of any payload."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.records import AdapterSpec, ClaimedMetric, FileEntry, PatchManifest, canonical_json
from symbio_lab.trust.manifest import PREDICATE_TYPE, as_ppm, manifest_to_payload, payload_to_manifest
from symbio_lab.trust.statement import read_statement, write_statement
from symbio_lab.trust.strict_fields import clean_text, text
from tests.attacks.market_simulator import attempt, seal

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
texts = st.text(max_size=40).map(clean_text)
labels = st.lists(texts.filter(bool), max_size=4, unique=True).map(tuple)
names = st.from_regex(r"[a-z]{1,9}\.(json|md)", fullmatch=True)
modules = st.lists(
    st.from_regex(r"[a-z_]{1,8}(\.[a-z0-9]{1,5}){0,3}", fullmatch=True), min_size=1, max_size=4, unique=True
)
lora = st.builds(
    AdapterSpec,
    kind=st.just("LORA"),
    rank=st.integers(1, 512),
    alpha=st.floats(2.0**-20, 1e6),
    target_modules=modules.map(lambda m: tuple(sorted(m))),
    head_labels=st.just(()),
    num_features=st.just(0),
    dtype=st.sampled_from(["F32", "F16", "BF16"]),
)
rows = st.builds(
    AdapterSpec,
    kind=st.just("HEAD_ROWS"),
    head_labels=labels.filter(bool),
    num_features=st.integers(1, 4096),
)
manifests = st.builds(
    PatchManifest,
    patch_id=st.from_regex(r"[a-z0-9]{1,9}/[A-Za-z0-9][a-z0-9-]{0,9}", fullmatch=True).filter(
        lambda p: not {p.split("/")[0], p.split("/")[1].lower()} & {"con", "prn", "aux", "nul"}
    ),
    version=st.integers(1, 10**6),
    base_id=texts,
    base_digest=hexes,
    task_type=st.sampled_from(["text_classification", "text_generation"]),
    adapter=lora | rows,
    files=st.lists(
        st.builds(FileEntry, names, hexes, st.integers(0, 10**9)), min_size=1, max_size=4, unique_by=lambda f: f.name
    ).map(lambda f: tuple(sorted(f, key=lambda e: e.name))),
    keyid=hexes,
    title=texts,
    scope=texts,
    labels=labels,
    domain=texts,
    licence=texts,
    training_data=texts,
    claims=st.lists(
        st.builds(ClaimedMetric, texts, st.floats(-100, 100).map(as_ppm), st.integers(0, 10**6)), max_size=3
    ).map(tuple),
    lineage=st.lists(hexes, max_size=3).map(tuple),
    issued=st.just("2026-01-01T00:00:00Z"),
    expires=st.just("2026-01-01T00:00:01Z"),
    previous=st.none() | hexes,
)


@given(manifests.filter(lambda m: not {f.name.split(".")[0] for f in m.files} & {"con", "prn", "aux", "nul"}))
def test_round_trip_is_exact(manifest: PatchManifest) -> None:
    payload = manifest_to_payload(manifest)
    assert payload_to_manifest(payload) == manifest
    assert payload == canonical_json(json.loads(payload))


@given(
    manifests.filter(lambda m: not {f.name.split(".")[0] for f in m.files} & {"con", "prn", "aux", "nul"}), st.data()
)
def test_any_changed_field_changes_the_payload_or_is_refused(manifest: PatchManifest, data: st.DataObject) -> None:
    payload = bytearray(manifest_to_payload(manifest))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= 1 << data.draw(st.integers(0, 7))
    other, code = attempt(lambda: payload_to_manifest(bytes(payload)))
    assert code in ("", "bad_manifest", "duplicate_key", "unsafe_name")
    assert other != manifest


@pytest.fixture
def honest(tmp_path: Path) -> PatchManifest:
    return seal(tmp_path).manifest


def test_no_floats_are_signed(honest: PatchManifest) -> None:
    def walk(value: Any) -> None:
        assert not isinstance(value, float)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(json.loads(manifest_to_payload(replace(honest, adapter=replace(honest.adapter, alpha=0.1)))))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": True},
        {"base_digest": "abc"},
        {"keyid": "A" * 64},
        {"task_type": "text_translation"},
        {"title": "a\x00b"},
        {"title": "e\u0301"},  # not NFC
        {"labels": ("a", "a")},
        {"issued": "2026-01-01"},
        {"expires": "2026-13-01T00:00:00Z"},
        {"expires": "2025-01-01T00:00:00Z"},
        {"claims": (ClaimedMetric("x", 1 / 3, 1),)},
        {"claims": (ClaimedMetric("x", float("nan"), 1),)},
        {"schema": 2},
        {"files": ()},
        {"title": 5},
        {"scope": "\ud800"},
    ],
)
def test_a_manifest_that_breaks_the_schema_is_not_written(honest: PatchManifest, change: dict[str, Any]) -> None:
    with pytest.raises(TrustError) as refused:
        manifest_to_payload(replace(honest, **change))
    assert refused.value.code == "bad_manifest"


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0},
        {"alpha": 0.0},
        {"alpha": -1.0},
        {"alpha": float("inf")},
        {"target_modules": ()},
        {"target_modules": ("b", "a")},
        {"target_modules": ("a.*",)},
        {"head_labels": ("x",)},
        {"num_features": 3},
        {"dtype": "I8"},
        {"kind": "HEAD_ROWS"},
    ],
)
def test_an_adapter_that_makes_no_sense_is_not_written(honest: PatchManifest, change: dict[str, Any]) -> None:
    with pytest.raises(TrustError) as refused:
        manifest_to_payload(replace(honest, adapter=replace(honest.adapter, **change)))
    assert refused.value.code == "bad_manifest"


def test_spaces_or_another_key_order_are_another_document(honest: PatchManifest) -> None:
    value = json.loads(manifest_to_payload(honest))
    for other in (json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
        with pytest.raises(TrustError, match="canonical"):
            payload_to_manifest(other)


def test_alpha_has_one_spelling(honest: PatchManifest) -> None:
    payload = manifest_to_payload(replace(honest, adapter=replace(honest.adapter, alpha=1.5)))
    assert b'"alpha":"3/2"' in payload
    with pytest.raises(TrustError, match="canonical"):
        payload_to_manifest(payload.replace(b'"3/2"', b'"6/4"'))


def test_file_names_that_differ_only_in_case_are_refused(honest: PatchManifest) -> None:
    files = (FileEntry("A.json", "0" * 64, 1), FileEntry("a.json", "0" * 64, 1))
    with pytest.raises(TrustError) as refused:
        manifest_to_payload(replace(honest, files=files))
    assert refused.value.code == "unsafe_name"


def test_statements_refuse_floats_and_other_types() -> None:
    with pytest.raises(TrustError, match="floats"):
        write_statement({"a": "0" * 64}, PREDICATE_TYPE, {"x": [0.5]})
    payload = write_statement({"a": "0" * 64}, "https://example.com/other", {"x": 1})
    with pytest.raises(TrustError, match="type"):
        read_statement(payload, PREDICATE_TYPE)
    assert read_statement(payload, "https://example.com/other") == ({"a": "0" * 64}, {"x": 1})
    with pytest.raises(TrustError, match="canonical"):
        read_statement(payload + b" ", "https://example.com/other")


@given(st.text())
def test_clean_text_is_accepted_text(value: str) -> None:
    assert text(clean_text(value), "x", limit=10_000) == clean_text(value)
