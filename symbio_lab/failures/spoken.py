"""Written text as it is spoken: numbers, prices, times and order numbers in words, no punctuation.

Example:
    >>> spoken("Order #41902 cost $29.99, call at 5:30 pm!")
    'order number four one nine zero two cost twenty nine dollars ninety nine call at five thirty pm'
"""

from __future__ import annotations

import re

from symbio_lab.errors import DataError

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ORDINALS |= {"twelve": "twelfth"}


def spell_number(number: int) -> str:
    """Return a number in words.

    Args:
        number: 0 to 999,999.

    Raises:
        DataError: the number is outside this range.

    >>> spell_number(230)
    'two hundred thirty'
    >>> spell_number(1042)
    'one thousand forty two'
    """
    if not 0 <= number < 1_000_000:
        raise DataError(f"cannot spell {number}", hint="give a number from 0 to 999,999")
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f" {_SMALL[ones]}" if ones else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    high, low = divmod(number, size)
    return f"{spell_number(high)} {name}" + (f" {spell_number(low)}" if low else "")


def spell_ordinal(number: int) -> str:
    """Return an ordinal in words.

    Args:
        number: 0 to 999,999.

    Raises:
        DataError: the number is outside this range.

    >>> [spell_ordinal(n) for n in (3, 12, 20, 21)]
    ['third', 'twelfth', 'twentieth', 'twenty first']
    """
    *head, last = spell_number(number).split()
    regular = (last[:-1] + "ie" if last.endswith("y") else last) + "th"
    return " ".join([*head, _ORDINALS.get(last, regular)])


def spoken(text: str) -> str:
    """Return the text lower-cased, with numbers in words and without punctuation except apostrophes."""
    text = text.lower()
    text = re.sub(r"\$(\d{1,6})(?:\.(\d{2}))?\b", _price, text)
    text = re.sub(r"#(\d+)", lambda m: "number " + _digits(m[1]), text)
    text = re.sub(r"\b(\d{1,2}):(\d{2})\b", _clock, text)
    text = re.sub(r"\b(\d{1,6})(?:st|nd|rd|th)\b", lambda m: spell_ordinal(int(m[1])), text)
    # Long numbers are codes; people read those digit by digit.
    text = re.sub(r"\d+", lambda m: spell_number(int(m[0])) if len(m[0]) <= 3 else _digits(m[0]), text)
    text = text.replace("@", " at ").replace("%", " percent ").replace("&", " and ")
    return " ".join(re.sub(r"[^\w']+", " ", text).split())


def _digits(number: str) -> str:
    return " ".join(_SMALL[int(digit)] for digit in number)


def _price(match: re.Match[str]) -> str:
    cents = f" {spell_number(int(match[2]))}" if match[2] and int(match[2]) else ""
    return f"{spell_number(int(match[1]))} dollars{cents}"


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    return f"{spell_number(hour)} {spell_number(minute)}" if minute else f"{spell_number(hour)} o'clock"
