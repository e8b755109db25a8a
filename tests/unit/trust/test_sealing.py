"""Sealing and verifying: deterministic bytes, content-addressed, one way in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import DataError, StorageError, TrustError
from symbio_lab.records import ClaimedMetric
from symbio_lab.trust.adapter_files import (
    CARD_NAME,
    DELTAS_NAME,
    ROWS_NAME,
    HeadRows,
    card_markdown,
    parse_deltas,
    parse_head_rows,
)
from symbio_lab.trust.envelope import ENVELOPE_NAME
from symbio_lab.trust.sealing import process_key, reseal_patch
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import read_verified, reopen, verify_patch
from tests.attacks.market_simulator import (
    ALICE,
    BASE,
    MALLORY,
    MODULE,
    NOW,
    Market,
    deltas,
    head_rows,
    seal,
    standard_policy,
)

FIXTURE = Path(__file__).parent / "fixtures" / "patch-v1"


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_same_input_same_bytes(tmp_path: Path) -> None:
    one, two = seal(tmp_path / "a"), seal(tmp_path / "b")
    assert (one.digest, contents(one.root)) == (two.digest, contents(two.root))
    assert one.root.name == one.digest
    assert seal(tmp_path / "a", deltas=deltas(seed=1)).digest != one.digest


def test_tensors_come_back_exactly(tmp_path: Path) -> None:
    given, rows = deltas(modules=("a.b", "c")), head_rows()
    patch = seal(tmp_path, deltas=given, head_rows=rows)
    found = parse_deltas(read_verified(patch, DELTAS_NAME), patch.manifest.adapter, {"c": (8, 8)})
    for module, (a, b) in given.items():
        np.testing.assert_array_equal(found[module][0], a)
        np.testing.assert_array_equal(found[module][1], b)
    back = parse_head_rows(read_verified(patch, ROWS_NAME), patch.manifest.adapter)
    assert back.labels == rows.labels
    np.testing.assert_array_equal(back.weight, rows.weight)
    with pytest.raises(TrustError, match="shape"):
        parse_deltas(read_verified(patch, DELTAS_NAME), patch.manifest.adapter, {"c": (8, 9)})


def test_head_rows_only(tmp_path: Path) -> None:
    patch = seal(tmp_path, deltas={}, head_rows=head_rows())
    assert patch.manifest.adapter.kind == "HEAD_ROWS"
    assert set(contents(patch.root)) == {CARD_NAME, ROWS_NAME, ENVELOPE_NAME}
    market = Market(tmp_path)
    market.publish(deltas={}, head_rows=head_rows())
    assert market.code() == "accepted"


def test_half_precision(tmp_path: Path) -> None:
    market = Market(tmp_path)
    market.publish(dtype="F16")
    patch, _ = market.fetch()
    assert patch is not None
    a, _ = parse_deltas(read_verified(patch, DELTAS_NAME), patch.manifest.adapter)[MODULE]
    np.testing.assert_array_equal(a, deltas()[MODULE][0].astype(np.float16).astype(np.float32))


def test_without_a_key_the_level_is_self_and_the_key_is_one(tmp_path: Path) -> None:
    one, two = seal(tmp_path, key=None), seal(tmp_path, key=None, patch_id="lab/other")
    assert (one.level, one.manifest.keyid) == ("self", process_key().keyid)
    assert two.manifest.keyid == one.manifest.keyid
    assert process_key().seed not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"deltas": {}}, DataError, "bad_data"),
        ({"rank": 3}, TrustError, "bad_tensors"),
        ({"deltas": {MODULE: (np.full((2, 8), np.nan), np.ones((8, 2)))}}, TrustError, "non_finite"),
        ({"deltas": {MODULE: (np.full((2, 8), 1e30), np.ones((8, 2)))}, "dtype": "F16"}, TrustError, "non_finite"),
        ({"deltas": {MODULE: (np.ones((2, 0)), np.ones((8, 2)))}}, TrustError, "bad_tensors"),
        ({"deltas": {MODULE: (np.array([["x"]]), np.ones((8, 2)))}}, DataError, "bad_data"),
        ({"deltas": {"a.*": (np.ones((2, 8)), np.ones((8, 2)))}}, TrustError, "bad_manifest"),
        ({"patch_id": "../x"}, TrustError, "unsafe_name"),
        ({"alpha": 0}, TrustError, "bad_manifest"),
        ({"expires": "2020-01-01T00:00:00Z"}, TrustError, "bad_manifest"),
        ({"head_rows": HeadRows(("a", "a"), np.ones((2, 8)), np.ones(2))}, TrustError, "bad_manifest"),
        ({"head_rows": HeadRows(("a",), np.ones((2, 8)), np.ones(2))}, TrustError, "bad_tensors"),
    ],
)
def test_nothing_is_sealed_that_a_verifier_would_refuse(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as refused:
        seal(tmp_path, **change)
    assert refused.value.code == code  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def test_claims_are_rounded_and_texts_cleaned(tmp_path: Path) -> None:
    patch = seal(tmp_path, claims=[ClaimedMetric("fix_rate", 2 / 3, 9)], title="a\x00b\u202e e\u0301")
    assert patch.manifest.claims[0].value == 0.666667
    assert patch.manifest.title == "a b  \u00e9"


def test_the_card_is_text_only(tmp_path: Path) -> None:
    patch = seal(
        tmp_path, title="<script>x</script> [l](http://e.x)", scope="| a |\n\n# head\n\n![i](u)", labels=("`a`",)
    )
    card = card_markdown(patch.manifest)
    assert "<script>" not in card
    assert "\n# head" not in card
    assert "](u)" not in card.replace("\\](", "")
    assert card.encode() == read_verified(patch, CARD_NAME)


def test_resealing_keeps_the_tensors_and_changes_the_identity(tmp_path: Path) -> None:
    patch = seal(tmp_path, key=None)
    other = reseal_patch(tmp_path, patch, MALLORY, patch_id="mallory/copy", version=3)
    assert read_verified(other, DELTAS_NAME) == read_verified(patch, DELTAS_NAME)
    assert (other.patch_id, other.manifest.keyid, other.level) == ("mallory/copy", MALLORY.keyid, "signed")
    assert b"mallory/copy" in read_verified(other, CARD_NAME)
    assert other.digest != patch.digest


def test_a_damaged_store_is_repaired_on_the_next_verification(tmp_path: Path) -> None:
    market = Market(tmp_path)
    folder = market.publish()
    patch = market.verify(folder)
    (patch.root / DELTAS_NAME).write_bytes(b"damaged")
    with pytest.raises(TrustError):
        reopen(patch)
    assert market.verify(folder) == patch
    assert set(reopen(patch)) == {entry.name for entry in patch.manifest.files}


def test_reading_what_was_not_signed(tmp_path: Path) -> None:
    patch = seal(tmp_path)
    for name in ("other.json", "../x", ENVELOPE_NAME):
        with pytest.raises(TrustError) as refused:
            read_verified(patch, name)
        assert refused.value.code == "missing_file"


def test_an_unwritable_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError):
        seal(tmp_path / "file")


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Market(tmp_path).verify(tmp_path / "none")


def test_every_rule_counts_for_a_direct_caller(tmp_path: Path) -> None:
    market = Market(tmp_path)
    folder = market.publish()
    patch = market.verify(folder, base_digest=BASE, task_type="text_classification", expect_ref="alice/travel@1")
    state = TrustedState().with_seen(replace(patch.manifest, version=2), "0" * 64)
    assert state.with_seen(patch.manifest, patch.digest) == state
    for wanted, code in (
        ({"state": state}, "rollback"),
        ({"expect_ref": "alice/travel@2"}, "wrong_patch"),
        ({"base_digest": "0" * 64}, "wrong_base"),
        ({"task_type": "text_generation"}, "wrong_task"),
    ):
        with pytest.raises(TrustError) as refused:
            market.verify(folder, **wanted)  # type: ignore[arg-type]
        assert refused.value.code == code


def test_files_written_by_format_1_still_verify(tmp_path: Path) -> None:
    """The fixture was written once and is never written again: format 1 is frozen."""
    patch = verify_patch(FIXTURE, standard_policy(), TrustedState(), now=NOW, store=tmp_path)
    assert patch.digest == "65adb67c85b62c6dbc0f40883f391e7bba35b611000176998f6b22ce9d2aaf6a"
    assert patch.manifest.adapter.target_modules == (MODULE,)
    assert (patch.manifest.adapter.alpha, patch.manifest.claims) == (4.0, (ClaimedMetric("fix_rate", 0.5, 100),))
    assert parse_deltas(read_verified(patch, DELTAS_NAME), patch.manifest.adapter)[MODULE][0].shape == (2, 8)
    assert hashlib.sha256((FIXTURE / CARD_NAME).read_bytes()).hexdigest() == patch.manifest.files[0].sha256
    assert patch.manifest.keyid == ALICE.keyid
