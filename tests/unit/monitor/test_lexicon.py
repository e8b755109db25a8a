"""Rare words and typing errors, by what the traffic itself says."""

from __future__ import annotations

import pytest

from symbio_lab.monitor.lexicon import COMMON, RARE, Lexicon, words_in

TRAFFIC = ["where is my delivery"] * COMMON + ["cancel the order"] * RARE


@pytest.mark.parametrize("word", ["delivry", "deliveryy", "delievry", "dolivery", "delviery"])
def test_one_slip_away_from_a_common_word_is_a_misspelling(word: str) -> None:
    assert Lexicon.of(TRAFFIC).is_misspelling(word)


@pytest.mark.parametrize("word", ["delivery", "deliverys", "zeppelin", "wher's", "is", "del", "4711"])
def test_what_is_no_misspelling(word: str) -> None:
    lexicon = Lexicon.of(TRAFFIC)
    assert not lexicon.is_misspelling(word)


def test_rare_is_below_the_threshold_and_numbers_never_are() -> None:
    lexicon = Lexicon.of([*TRAFFIC, *["zeppelin"] * (RARE - 1)])
    assert not lexicon.is_rare("cancel")
    assert lexicon.is_rare("zeppelin")
    assert not lexicon.is_rare("4711")


def test_somebody_may_vouch_for_a_word() -> None:
    assert not Lexicon.of(TRAFFIC, known=["zeppelin"]).is_rare("zeppelin")
    assert not Lexicon.of(TRAFFIC, known=["delivry"]).is_misspelling("delivry")


def test_a_word_counts_once_in_a_text() -> None:
    assert Lexicon.of(["so so so so so so"]).is_rare("so")


def test_words_of_other_scripts_and_quotes() -> None:
    assert words_in("Où est l’envoi? 注文") == ["où", "est", "l'envoi", "注文"]
    assert words_in("") == []
