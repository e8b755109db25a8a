"""The catalogue: complete cards, known names in the refusal."""

from __future__ import annotations

import pytest

from symbio_lab.errors import UnknownDatasetError
from symbio_lab.failures import catalogue, get_card
from symbio_lab.failures.clinc_domains import CLINC_DOMAINS, INTENT_DOMAIN
from symbio_lab.records import TASK_TYPES

REAL = {
    *("clinc150", "banking77", "snips", "hint3", "multidogo", "sentence_polarity", "checklist_sentiment"),
    *("advglue_sst2", "product_reviews", "hatemoji", "scan", "sgd_nlg"),
}


def test_every_card_is_complete_and_its_files_are_its_own() -> None:
    names = [card.name for card in catalogue()]
    assert set(names) == REAL | {"helpdesk"}
    assert len(names) == len(set(names))
    for card in catalogue():
        assert card.licence
        assert card.citation
        assert card.task_type in TASK_TYPES
        assert all(file.startswith(f"{card.name}/") and file.endswith(".jsonl.gz") for file in card.files)
        assert bool(card.files) == (card.name != "helpdesk")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownDatasetError) as caught:
        get_card("clinc")
    assert "clinc150" in caught.value.hint
    assert "helpdesk" in caught.value.hint


def test_clinc_has_ten_domains_of_fifteen_intents() -> None:
    assert len(CLINC_DOMAINS) == 10
    assert {len(intents) for intents in CLINC_DOMAINS.values()} == {15}
    assert len(INTENT_DOMAIN) == 150
    assert INTENT_DOMAIN["book_flight"] == "travel"
