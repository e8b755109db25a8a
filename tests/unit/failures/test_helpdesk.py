"""The embedded corpus: shape, separation, seeds."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from symbio_lab.errors import DataError
from symbio_lab.failures import check_disjoint, generate_helpdesk, load_dataset
from symbio_lab.failures.helpdesk import HELD_OUT_DOMAIN, TEMPLATES
from symbio_lab.failures.helpdesk_lexicon import NEW_PRODUCTS, PRODUCTS, SLOTS
from symbio_lab.failures.shifts import new_products


@pytest.fixture(scope="module")
def corpus():
    return generate_helpdesk(seed=0)


def test_six_domains_of_four_intents_with_at_least_fourteen_templates() -> None:
    assert len(TEMPLATES) == 6
    assert {len(intents) for intents in TEMPLATES.values()} == {4}
    assert HELD_OUT_DOMAIN in TEMPLATES
    for intents in TEMPLATES.values():
        for intent, templates in intents.items():
            assert len(templates) >= 14, intent
            assert len(set(templates)) == len(templates), intent
    every = [t for intents in TEMPLATES.values() for templates in intents.values() for t in templates]
    assert len(set(every)) == len(every)


def test_every_slot_has_words_and_every_word_list_is_used() -> None:
    text = " ".join(t for intents in TEMPLATES.values() for templates in intents.values() for t in templates)
    used = set(re.findall(r"\{(\w+)\}", text))
    assert used - set(SLOTS) <= {"order", "number", "day_cap"}
    assert set(SLOTS) - used == set()


def test_train_and_test_share_no_template_and_no_text(corpus) -> None:
    check_disjoint(corpus.samples)
    check_disjoint(corpus.samples, by="text")
    plain = [" ".join(re.findall(r"\w+", s.text.lower())) for s in corpus.all_samples()]
    assert len(set(plain)) == len(plain)


def test_every_intent_is_in_both_sources_and_groups_are_templates(corpus) -> None:
    for rows in corpus.samples.values():
        assert len({s.expected for s in rows}) == 24
    assert all(s.group.startswith(s.expected) for s in corpus.all_samples())
    counts = Counter(s.group for s in corpus.all_samples())
    assert max(counts.values()) == 12
    assert len(corpus.all_samples()) > 7_000
    shares = [len(corpus.samples[source]) / len(corpus.all_samples()) for source in ("train", "test")]
    assert shares == pytest.approx([0.75, 0.25], abs=0.02)


def test_no_markup_is_left_and_articles_fit(corpus) -> None:
    for sample in corpus.all_samples():
        assert not re.search(r"[{}\[\]|]|  ", sample.text), sample.text
        assert not re.search(r"\b[Aa] [aeio]", sample.text), sample.text


def test_the_seed_redraws_texts_and_split_and_nothing_else_does(corpus) -> None:
    again, other = generate_helpdesk(seed=0), generate_helpdesk(seed=1)
    assert again == corpus
    assert other.digest != corpus.digest
    groups = [{s.group for s in data.samples["test"]} for data in (corpus, other)]
    assert groups[0] != groups[1]
    assert len({s.text for s in corpus.all_samples()} & {s.text for s in other.all_samples()}) < 2_500


def test_the_bytes_of_seed_zero_stay(corpus) -> None:
    """A changed digest means changed templates, lexicon or sampling: every stored result would lose its data."""
    assert corpus.digest == "cee7a88536811695aa4a88787610a3ce1a35f682778b4d011c8916342f9c27b4"


def test_it_loads_by_name_like_any_other(corpus) -> None:
    data = load_dataset("helpdesk")
    assert data == corpus
    assert data.extra["domains"]["warranty"] == tuple(sorted(TEMPLATES["warranty"]))


def test_new_products_are_new(corpus) -> None:
    assert not set(NEW_PRODUCTS) & set(PRODUCTS)
    words = set(re.findall(r"\w+", " ".join(s.text.lower() for s in corpus.all_samples())))
    for product in NEW_PRODUCTS:
        assert not set(re.findall(r"\w{3,}", product)) <= words, product
    assert "kettle" not in new_products("a kettle", seed=0)


def test_nothing_to_generate_is_refused() -> None:
    with pytest.raises(DataError, match="per_template"):
        generate_helpdesk(0, per_template=0)
