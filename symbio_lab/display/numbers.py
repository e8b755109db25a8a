"""Numbers as people read them, the same everywhere: percent with one digit, percentage points with two.

Example:
    >>> percent(0.67803), percent_range(0.618, 0.734), pp(4.93), pp(-0.5)
    ('67.8 %', '[61.8, 73.4]', '+4.93 pp', '−0.50 pp')
    >>> count(73850.56), seconds(14.54), num_bytes(3471594)
    ('73,851', '14.5 s', '3.5 MB')
"""

from __future__ import annotations

NONE = "–"
"""Shown where there is no figure."""
_MINUS = "−"


def _signed(value: float, digits: int, sign: str) -> str:
    text = f"{value:{sign}.{digits}f}"
    # A rounded nothing has no sign.
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def percent(rate: float | None) -> str:
    """Return a rate in [0, 1] as percent."""
    return NONE if rate is None else f"{_signed(100 * rate, 1, '')} %"


def percent_range(low: float | None, high: float | None) -> str:
    """Return the bounds of a rate, in percent."""
    return "" if low is None or high is None else f"[{_signed(100 * low, 1, '')}, {_signed(100 * high, 1, '')}]"


def pp(value: float | None) -> str:
    """Return percentage points with their sign."""
    return NONE if value is None else f"{_signed(value, 2, '+')} pp"


def pp_range(low: float | None, high: float | None) -> str:
    """Return the bounds of a figure in percentage points."""
    return "" if low is None or high is None else f"[{_signed(low, 2, '+')}, {_signed(high, 2, '+')}]"


def count(value: float | None) -> str:
    """Return a whole number with thousands separated."""
    return NONE if value is None else f"{value:,.0f}".replace("-", _MINUS)


def seconds(value: float | None) -> str:
    """Return a time."""
    return NONE if value is None else f"{value:,.1f} s"


def num_bytes(value: float | None) -> str:
    """Return a size in decimal units."""
    if value is None:
        return NONE
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def plural(number: int, word: str, many: str = "") -> str:
    """Return a number with its noun.

    >>> plural(1, "incident"), plural(2, "incident"), plural(4, "patch", "patches")
    ('1 incident', '2 incidents', '4 patches')
    """
    return f"{number:,} {word if number == 1 else many or word + 's'}"
