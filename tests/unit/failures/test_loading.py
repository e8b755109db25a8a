"""Stored files: digests, refusals, and what each dataset's rows become."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from symbio_lab.errors import DataError, UnknownDatasetError
from symbio_lab.failures import catalogue, load_dataset, load_rows

CLINC = ("train", "validation", "test", "oos_train", "oos_validation", "oos_test")
NUM_SAMPLES = {
    **{"clinc150": 23_950, "banking77": 13_083, "snips": 14_484, "hint3": 3_769, "multidogo": 37_714},
    **{"sentence_polarity": 10_662, "checklist_sentiment": 13_330, "advglue_sst2": 148, "product_reviews": 3_730},
    **{"hatemoji": 9_842, "scan": 103_341, "sgd_nlg": 27_999},
}


def small_clinc(stored, text: str = "book a flight to rome") -> None:
    for split in CLINC:
        domain = {} if split.startswith("oos") else {"domain": "travel"}
        intent = "oos" if split.startswith("oos") else "book_flight"
        stored(f"clinc150/{split}.jsonl.gz", [{"text": f"{text} {split}", "intent": intent, **domain}])


def test_stored_files_become_samples_by_split(stored) -> None:
    small_clinc(stored)
    data = load_dataset("clinc150")
    assert tuple(data.samples) == CLINC
    assert data.origin == "local"
    assert data.licence == "CC-BY-3.0"
    (row,) = data.samples["test"]
    assert (row.text, row.expected, row.domain, row.source) == (
        "book a flight to rome test",
        "book_flight",
        "travel",
        "test",
    )
    assert data.samples["oos_test"][0].domain == "out_of_scope"
    assert data.extra["domains"] == {"out_of_scope": ("oos",), "travel": ("book_flight",)}


def test_groups_are_found_across_splits_and_can_be_left_out(stored) -> None:
    small_clinc(stored, text="please book me a cheap flight to rome tomorrow")
    groups = {sample.group for sample in load_dataset("clinc150").all_samples()}
    assert len(groups) == 1
    assert {sample.group for sample in load_dataset("clinc150", groups=False).all_samples()} == {""}


def test_the_digest_follows_the_content(stored) -> None:
    small_clinc(stored)
    first = load_dataset("clinc150").digest
    assert load_dataset("clinc150", groups=False).digest == first
    small_clinc(stored, text="cancel my hotel")
    assert load_dataset("clinc150").digest != first


def test_an_altered_file_is_refused_by_name(stored) -> None:
    small_clinc(stored)
    path = stored("clinc150/test.jsonl.gz", [{"text": "a", "intent": "b", "domain": "c"}])
    path.write_bytes(gzip.compress(b'{"text": "x", "intent": "b", "domain": "c"}\n'))
    with pytest.raises(DataError, match=r"clinc150/test\.jsonl\.gz is not the file") as caught:
        load_dataset("clinc150")
    assert str(path.parent.parent) not in str(caught.value)


def test_a_missing_file_is_refused_by_name(stored) -> None:
    stored("clinc150/train.jsonl.gz", [{"text": "a", "intent": "b", "domain": "c"}])
    with pytest.raises(DataError, match=r"clinc150/validation\.jsonl\.gz is missing"):
        load_dataset("clinc150")


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b"{broken\n"), gzip.compress(b"[1]\n"), gzip.compress(b"\xff\n")],
    ids=["not gzip", "not JSON", "no object", "not UTF-8"],  # gzip writes the time into what it makes
)
def test_a_damaged_file_without_a_manifest_is_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snips").mkdir()
    (tmp_path / "snips" / "test.jsonl.gz").write_bytes(content)
    monkeypatch.setenv("SYMBIO_LAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"snips/test\.jsonl\.gz"):
        load_rows("snips", "test")


def test_rows_keep_every_column_and_files_cannot_leave_the_dataset(stored) -> None:
    stored("checklist_sentiment/inv.jsonl.gz", [{"test": "race", "texts": ["a", "b"]}])
    assert load_rows("checklist_sentiment", "inv.jsonl.gz") == [{"test": "race", "texts": ["a", "b"]}]
    for outside in ("../snips/test", "/etc/passwd", "", "a.b"):
        with pytest.raises(DataError, match="not a file of"):
            load_rows("checklist_sentiment", outside)


def test_rows_without_one_gold_label_are_dropped_and_counted(stored) -> None:
    cases = [
        {"text": "good", "label": 2, "expect": "label", "capability": "Vocabulary"},
        {"text": "not bad", "label": None, "expect": "not_negative", "capability": "Negation"},
    ]
    stored("checklist_sentiment/mft.jsonl.gz", cases)
    data = load_dataset("checklist_sentiment")
    assert [(s.text, s.expected, s.domain) for s in data.samples["mft"]] == [("good", "positive", "Vocabulary")]
    assert data.extra["num_dropped"] == {"mft": 1}


def test_a_set_without_files_or_hub_copy_says_what_to_do(no_data: None) -> None:
    with pytest.raises(DataError, match="not on this machine") as caught:
        load_dataset("snips")
    assert "SYMBIO_LAB_DATA" in caught.value.hint
    with pytest.raises(DataError, match="not on this machine"):
        load_rows("clinc150", "test")
    with pytest.raises(UnknownDatasetError):
        load_dataset("imagenet")


def test_helpdesk_and_scan_need_no_files(no_data: None) -> None:
    assert load_dataset("helpdesk").origin == "generated"
    scan = load_dataset("scan")
    assert scan.origin == "generated"
    assert len(scan.samples["length_train"]) == 16_990
    assert scan.samples["addprim_jump_test"][0].domain == "addprim_jump"


@pytest.mark.parametrize("name", sorted(NUM_SAMPLES))
def test_every_real_dataset_loads_whole(name: str, real_data: Path) -> None:
    data = load_dataset(name, groups=False)
    card = next(card for card in catalogue() if card.name == name)
    listed = json.loads((real_data / "MANIFEST.json").read_text())
    assert data.origin == "local"
    assert len(data.all_samples()) == NUM_SAMPLES[name]
    assert sum(listed[file]["rows"] for file in card.files) == NUM_SAMPLES[name] + sum(
        data.extra["num_dropped"].values()
    )
    assert all(sample.text.strip() and sample.expected for sample in data.all_samples())


def test_clinc150_is_what_its_paper_describes(real_data: Path) -> None:
    data = load_dataset("clinc150")
    assert len(data.labels) == 151
    assert len(data.extra["domains"]) == 11
    assert len(data.extra["domains"]["travel"]) == 15
    assert all(sample.group.startswith("near-") for sample in data.all_samples())


def test_sources_name_their_own_units(real_data: Path) -> None:
    hatemoji = load_dataset("hatemoji")
    rows = load_rows("hatemoji", "build_train")
    partner = {row["id"]: row["matched_id"] for row in rows}
    groups = {row["id"]: s.group for row, s in zip(rows, hatemoji.samples["build_train"], strict=True)}
    pairs = [(a, b) for a, b in partner.items() if b in groups]
    assert len(pairs) > 1000
    assert all(groups[a] == groups[b] for a, b in pairs)
    sgd = load_dataset("sgd_nlg", groups=False)
    assert {s.group for s in sgd.samples["train"]}.isdisjoint({s.group for s in sgd.samples["test"]})
    assert sgd.samples["train"][0].text.startswith("Restaurants_1 | REQUEST cuisine = Mexican, Italian | user: I would")
