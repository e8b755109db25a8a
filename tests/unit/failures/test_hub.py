"""The Hub path, against a stand-in for the ``datasets`` package and against the real one offline."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from symbio_lab.errors import DataError, MissingExtraError, NetworkUnavailableError
from symbio_lab.failures import load_dataset, load_table
from symbio_lab.failures.clinc_domains import INTENT_DOMAIN

NAMES = [*INTENT_DOMAIN, "oos"]


class FakeSplit(list):
    """Rows with the features that name their labels."""

    def __init__(self, rows: list[dict[str, Any]], **features: Any) -> None:
        super().__init__(rows)
        self.features = features


def fake_datasets(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[Any, ...]]:
    """Install a ``datasets`` package that returns or raises ``answer``; return the list of calls."""
    calls: list[tuple[Any, ...]] = []

    def load(*args: Any) -> Any:
        calls.append(args)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_clinc150_from_the_hub_has_the_stored_layout(
    no_data: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    label = SimpleNamespace(names=NAMES)
    rows = [
        {"text": "book a flight", "intent": NAMES.index("book_flight")},
        {"text": "how are the stocks", "intent": NAMES.index("oos")},
    ]
    calls = fake_datasets(
        monkeypatch, {split: FakeSplit(rows, intent=label) for split in ("train", "validation", "test")}
    )
    with caplog.at_level(logging.INFO, logger="symbio_lab.failures"):
        data = load_dataset("clinc150")
    assert calls == [("clinc/clinc_oos", "plus")]
    assert "clinc/clinc_oos" in caplog.text
    assert data.origin == "hub"
    assert tuple(data.samples) == ("train", "validation", "test", "oos_train", "oos_validation", "oos_test")
    assert [(s.text, s.expected, s.domain) for s in data.samples["test"]] == [
        ("book a flight", "book_flight", "travel")
    ]
    assert [(s.expected, s.domain) for s in data.samples["oos_test"]] == [("oos", "out_of_scope")]


def test_the_same_rows_have_the_same_digest_from_either_source(stored, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {split: [{"text": f"card {split}", "intent": "card_arrival"}] for split in ("train", "test")}
    for split, items in rows.items():
        stored(f"banking77/{split}.jsonl.gz", items)
    local = load_dataset("banking77")
    fake_datasets(
        monkeypatch,
        {s: FakeSplit([{"text": r["text"], "label": 11, "label_text": r["intent"]} for r in rows[s]]) for s in rows},
    )
    monkeypatch.setattr("symbio_lab.failures.loading.data_root", lambda: None)
    hub = load_dataset("banking77")
    assert (local.origin, hub.origin) == ("local", "hub")
    assert hub.digest == local.digest


def test_adversarial_sentences_keep_their_label_names(no_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    split = FakeSplit(
        [{"sentence": "awful fun", "label": 1, "idx": 0}], label=SimpleNamespace(names=["negative", "positive"])
    )
    fake_datasets(monkeypatch, {"validation": split})
    (sample,) = load_dataset("advglue_sst2").samples["test"]
    assert (sample.text, sample.expected) == ("awful fun", "positive")


def test_without_the_package_the_error_names_it(no_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError) as caught:
        load_dataset("clinc150")
    assert "pip install datasets" in caught.value.hint


@pytest.mark.parametrize("kind", [ConnectionError, TimeoutError, "httpx.ConnectError", "httpx.ReadTimeout"])
def test_connection_errors_are_ours(no_data: None, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    if isinstance(kind, str):
        kind = getattr(pytest.importorskip("httpx"), kind.split(".")[1])
    fake_datasets(monkeypatch, kind("no route"))
    with pytest.raises(NetworkUnavailableError) as caught:
        load_dataset("clinc150")
    assert "SYMBIO_LAB_DATA" in caught.value.hint
    assert caught.value.exit_code == 4


def test_a_dataset_that_the_hub_lacks_is_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_datasets(monkeypatch, FileNotFoundError("Dataset 'me/none' doesn't exist on the Hub"))
    with pytest.raises(DataError, match="me/none"):
        load_table("me/none", "text", "label")


def test_the_real_package_offline_is_a_network_error(
    no_data: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(NetworkUnavailableError):
        load_dataset("clinc150")
