"""Shifts: pure, seeded, label-keeping, and each does what its name says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import DataError
from symbio_lab.failures import SHIFTS, apply_shift, generate_helpdesk
from symbio_lab.failures.helpdesk_lexicon import DISTRACTORS, NEW_PRODUCTS
from symbio_lab.failures.shifts import negation, new_products, typos, voice_transcript
from symbio_lab.failures.spoken import spell_number, spoken

SAMPLES = generate_helpdesk(seed=3, per_template=2).all_samples()


@pytest.mark.parametrize("name", sorted(SHIFTS))
def test_a_shift_is_a_function_of_text_and_seed(name: str) -> None:
    first, again, other = (apply_shift(SAMPLES, name, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len(first) > len(SAMPLES) / 5
    originals = {(s.group, s.expected, s.domain) for s in SAMPLES}
    assert {(s.group, s.expected, s.domain) for s in first} <= originals
    assert {s.source for s in first} == {name}
    assert not {s.text for s in first} & {s.text for s in SAMPLES}


@pytest.mark.parametrize("name", sorted(SHIFTS))
@given(text=st.text(max_size=60), seed=st.integers(0, 5))
def test_any_text_survives_a_shift(name: str, text: str, seed: int) -> None:
    assert isinstance(SHIFTS[name](text, seed), str)


def test_typos_change_letters_but_not_the_number_of_words() -> None:
    for sample in SAMPLES[:200]:
        shifted = typos(sample.text, 0)
        assert len(shifted.split(" ")) == len(sample.text.split(" "))
        assert abs(len(shifted) - len(sample.text)) <= len(sample.text.split(" "))
    assert typos("a to me", 0) == "a to me"


def test_negation_denies_a_topic_that_the_text_does_not_name() -> None:
    for sample in SAMPLES:
        shifted = negation(sample.text, 0)
        (denied,) = [sentence for sentence in DISTRACTORS if sentence in shifted]
        assert sample.text in shifted
        assert not any(stem in sample.text.lower() for stem in DISTRACTORS[denied])


def test_new_products_replace_old_ones_with_the_right_number_and_article() -> None:
    shifted = [new_products("A kettle and two kettles", seed) for seed in range(40)]
    assert all("kettle" not in text for text in shifted)
    for text in shifted:
        article, single, plural = re.fullmatch(r"(An?) (.+) and two (.+)", text).groups()
        assert NEW_PRODUCTS[single] == plural
        assert article == ("An" if single[0] in "aeio" else "A")
    assert len(set(shifted)) > 10


def test_a_transcript_has_no_case_no_punctuation_and_no_digit() -> None:
    for sample in SAMPLES:
        assert re.fullmatch(r"[a-z' ]+", voice_transcript(sample.text, 0)), sample.text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("$7.50", "seven dollars fifty"),
        ("$230.", "two hundred thirty dollars"),
        ("the 21st of May", "the twenty first of may"),
        ("6:00 pm", "six o'clock pm"),
        ("5:05", "five five"),
        ("#10450", "number one zero four five zero"),
        ("it's 12", "it's twelve"),
        ("me@home", "me at home"),
    ],
)
def test_figures_are_spoken(written: str, said: str) -> None:
    assert spoken(written) == said


def test_numbers_out_of_range_and_unknown_shifts_are_refused() -> None:
    assert spell_number(999_999).startswith("nine hundred ninety nine thousand")
    with pytest.raises(DataError):
        spell_number(1_000_000)
    with pytest.raises(DataError, match="unknown shift") as caught:
        apply_shift(SAMPLES, "sarcasm", 0)
    assert "typos" in caught.value.hint
