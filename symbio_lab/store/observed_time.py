"""Times as the store keeps them: whole microseconds since 1970, UTC, which sort and divide into days.

>>> to_us("1970-01-02T00:00:00.5Z"), from_us(86_400_500_000), day_text(1)
(86400500000, '1970-01-02T00:00:00.500000Z', '1970-01-02')
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from symbio_lab.errors import DataError

DAY_US = 86_400_000_000
"""Microseconds of a day."""
PUBLISHED_FOR_DAYS = 365
"""How long what we publish stays valid."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_US = timedelta(microseconds=1)
_ZERO = timedelta(0)


def to_us(text: str) -> int:
    """Return a UTC time as microseconds since 1970.

    Args:
        text: ISO-8601, UTC, ending in ``Z`` or ``+00:00``.

    Raises:
        DataError: not ISO-8601, without a zone, of another zone than UTC, or before 1970.

    >>> to_us("2026-01-01T00:00:00")
    Traceback (most recent call last):
    ...
    symbio_lab.errors.DataError: '2026-01-01T00:00:00' is not in UTC
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r:.60} is not an ISO-8601 time", hint="write 2026-01-31T12:00:00Z") from error
    if moment.utcoffset() != _ZERO:
        raise DataError(f"{text!r:.60} is not in UTC", hint="convert it to UTC and write 2026-01-31T12:00:00Z")
    if moment < _EPOCH:
        raise DataError(f"{text!r:.60} is before 1970", hint="check the clock of the machine that wrote it")
    return (moment - _EPOCH) // _ONE_US


def from_us(us: int) -> str:
    """Return microseconds since 1970 as ISO-8601, UTC, ending in ``Z``."""
    return (_EPOCH + us * _ONE_US).isoformat().removesuffix("+00:00") + "Z"


def now_us() -> int:
    """Return the time now."""
    return (datetime.now(UTC) - _EPOCH) // _ONE_US


def utc_now() -> str:
    """Return the time now, UTC, in whole seconds: ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expiry_after(now: str, days: int = PUBLISHED_FOR_DAYS) -> str:
    """Return the UTC time ``days`` after ``now``.

    >>> expiry_after("2026-01-31T12:00:00Z", 1)
    '2026-02-01T12:00:00Z'
    """
    then = datetime.strptime(now, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) + timedelta(days=days)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def day_text(day: int) -> str:
    """Return the date of a day, counted from 1970-01-01 as 0."""
    return (_EPOCH + timedelta(days=day)).date().isoformat()
