"""What users wrote is found again in what would be published, however it is dressed up; our own facts are not."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.contribution.privacy_screen import KINDS, find_private, refuse_private

PRIVATE = "Please move my visit with Doctor Ngugi from Monday to Friday"


def kinds(text: str, *private: str, facts: tuple[str, ...] = ()) -> set[str]:
    return {finding.kind for finding in find_private({"scope": text}, private or (PRIVATE,), facts=facts)}


@pytest.mark.parametrize(
    "text",
    [
        "my visit with Doctor Ngugi",
        "MY   VISIT, with\nDoctor_Ngugi!",
        "heals 'visit with doctor ngugi from' and others",
        "\uff4d\uff59 visit with doctor ngugi",  # full-width letters
        "my vi\u200bsit with doc\u00adtor ngugi",  # invisible characters
    ],
)
def test_five_words_in_a_row_are_found(text: str) -> None:
    assert "shared_words" in kinds(text)


@pytest.mark.parametrize(
    "text", ["visit with Doctor Ngugi", "Requests about visits are answered wrongly (doctor, monday, friday)", ""]
)
def test_four_words_and_scattered_words_are_not(text: str) -> None:
    assert kinds(text) == set()


def test_a_short_text_is_found_as_a_whole() -> None:
    assert kinds("asks: fire the janitor", "fire the janitor") == {"whole_text"}
    assert kinds("asks: fire the old janitor", "fire the janitor") == set()
    assert kinds("krankenversicherungsnummer?", "Krankenversicherungsnummer") == {"whole_text", "shared_characters"}
    assert kinds("book flight", "book flight") == set()  # two short words name many things


def test_characters_are_found_where_words_are_cut_otherwise() -> None:
    assert kinds("visitwithdoctorngugifrommonday") == {"shared_characters"}
    assert kinds("我想取消昨天在你们网站上订的机票", "你好，我想取消昨天在你们网站上订的机票，谢谢") == {
        "shared_characters"
    }
    assert kinds("我想取消机票", "你好，我想取消昨天在你们网站上订的机票，谢谢") == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to ada.lovelace@example.org", "email"),
        ("account 1234 5678", "number"),
        ("call +49 (0)30 901820", "number"),
        ("iban DE89 3704 0044 0532 0130 00", "number"),
        ("\uff11\uff12\uff13\uff14\uff15\uff16", "number"),
        ("hf_abcdefghijKLMNOP", "token"),
        ("sk-proj-0123456789abcdef", "token"),
        ("AKIAIOSFODNN7EXAMPLE", "token"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "token"),
        ("https://bot:hunter2@example.org", "token"),
        ("8f14e45f-ceea-4672-91aa-b6e2f7d4c0de", "token"),
        ("digest " + "ab12" * 16, "token"),
        ("base in /srv/models/tiny", "path"),
        ("C:\\Users\\ada", "path"),
        ("file:///srv", "path"),
        ("~/models", "path"),
    ],
)
def test_patterns(text: str, kind: str) -> None:
    assert kind in kinds(text)
    assert kind in KINDS


@pytest.mark.parametrize(
    "text",
    [
        "sentence-transformers/all-MiniLM-L6-v2",
        "bert.encoder.layer.10.attention.self.query",
        "card_payment_wrong_exchange_rate",
        "fixes 12 of 16, 3 of 400",
        "Apache-2.0",
        "and/or",
        "version 10.2",
    ],
)
def test_names_of_things_are_no_patterns(text: str) -> None:
    assert kinds(text) == set()


def test_facts_are_taken_out_whole_and_only_whole() -> None:
    digest = "ab12" * 16
    assert kinds(f"split repair, sha256 {digest}", facts=(digest,)) == set()
    assert kinds(f"split repair, sha256 {digest}", facts=(digest[:40],)) == {"token"}
    assert kinds("from 100000 samples", facts=("100000",)) == set()
    assert kinds("account 9100000", facts=("100000",)) == {"number"}


def test_a_refusal_names_field_and_kind_and_repeats_nothing() -> None:
    published = {"title": "visits", "scope": f"such as: {PRIVATE}", "labels[3]": "ada@example.org"}
    with pytest.raises(TrustError) as refused:
        refuse_private(published, [PRIVATE])
    assert refused.value.code == "private_data"
    assert str(refused.value) == (
        "private data would be published in scope (shared_words), scope (shared_characters), labels[3] (email)"
    )
    told = f"{refused.value} {refused.value.hint} {refused.value!r}".lower()
    assert not {"ngugi", "ada", "example", "visit"} & set(told.replace("@", " ").split())


def test_a_house_may_accept_a_kind_in_a_field() -> None:
    published = {"scope": PRIVATE, "labels[0]": PRIVATE}
    both = ["shared_words", "shared_characters"]
    with pytest.raises(TrustError, match=r"labels\[0\]") as refused:
        refuse_private(published, [PRIVATE], may_hold={"scope": both})
    assert "scope" not in str(refused.value)
    refuse_private(published, [PRIVATE], may_hold={"scope": both, "labels": both})


WORDS = st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True), min_size=5, max_size=30)


@settings(max_examples=60, deadline=None)
@given(words=WORDS, start=st.integers(0, 25), noise=st.randoms(use_true_random=False))
def test_any_five_words_of_a_text_are_found_however_they_are_written(
    words: list[str], start: int, noise: random.Random
) -> None:
    begin = start % (len(words) - 4)
    dressed = [noise.choice([word, word.upper(), word.title()]) for word in words[begin : begin + 5]]
    text = "".join(word + noise.choice([" ", ", ", "_", " \u200b- "]) for word in dressed)
    assert "shared_words" in kinds(f"QQ {text} QQ", " ".join(words))


@settings(max_examples=60, deadline=None)
@given(private=WORDS, published=WORDS)
def test_texts_without_a_common_word_never_match(private: list[str], published: list[str]) -> None:
    ours = " ".join(f"q{word}" for word in published)
    theirs = " ".join("".join(c for c in word if c != "q") or "x" for word in private)
    assert kinds(ours, theirs) == set()


def test_a_thousand_texts_and_a_long_one_take_little_time_and_memory() -> None:
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(500)]
    texts = [" ".join(rng.choices(vocabulary, k=40)) for _ in range(1000)]
    published = {f"labels[{i}]": " ".join(rng.choices(vocabulary, k=4)) for i in range(200)} | {"scope": texts[500]}
    started = time.process_time()
    found = find_private(published, [*texts, "x" * 500_000, "1 " * 250_000, "a@" * 250_000])
    spent = time.process_time() - started
    assert {finding.field for finding in found} == {"scope"}
    assert spent < 5
    tracemalloc.start()
    find_private(published, texts[:100])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "1" * 50_000, "a@" * 25_000, "a.b@c" * 10_000, "/a" * 25_000, "://a:" * 9_000]
)
def test_patterns_take_linear_time(text: str) -> None:
    started = time.process_time()
    kinds(text)
    assert time.process_time() - started < 2
