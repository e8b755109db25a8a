"""The words of a card as the full-text tables and their statistics have them.

A card is taken apart by ``lexical.words``, the same as in the in-memory search. The full-text tables get only plain
ASCII tokens, so that no tokenizer can see other words than we do; besides the words they get one mark for the base
and one for the task, by which a search is narrowed before anything is scored.

Example:
    >>> card_words("Transfer_money to the café")
    'transfer money to the café'
    >>> text_key("café"), text_key("money")
    ('xu636166c3a9', 'money')
"""

from __future__ import annotations

from collections.abc import Iterable

from symbio_lab.marketplace.lexical import words

LABEL_SEPARATOR = "\x1f"
"""Between the labels of a row; manifests cannot hold it."""


def card_words(text: str) -> str:
    """Return the words of a card, lower-case, one space between them, each as often as it occurs."""
    return " ".join(words(text))


def text_key(word: str) -> str:
    """Return the token that stands for a word in the full-text tables."""
    return word if word.isascii() else "xu" + word.encode("utf-8").hex()


def base_mark(base_id: int) -> str:
    """Return the token that marks the cards for one base.

    >>> base_mark(17)
    '0base17'
    """
    return f"0base{base_id}"


def task_mark(task_id: int) -> str:
    """Return the token that marks the cards for one task type.

    >>> task_mark(2)
    '0task2'
    """
    return f"0task{task_id}"


def indexed_text(card: str, marks: Iterable[str]) -> str:
    """Return what the full-text tables are given for a card: its marks and the keys of its words.

    >>> indexed_text("pay a bill", ["0base1"])
    '0base1 pay a bill'
    """
    return " ".join([*marks, *map(text_key, card.split())])
