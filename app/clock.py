"""The clock: time is read here, at the top of a use case, and passed down; and how a point in time is written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MILLISECOND = timedelta(milliseconds=1)


def now() -> datetime:
    """The current time, timezone-aware, in UTC."""
    return datetime.now(UTC)


def text_of(moment: datetime) -> str:
    """A point in time as RFC 3339 text in UTC, with microseconds, as in ``2026-03-01T09:30:00.000000Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def is_written(text: str) -> bool:
    """Whether a text is written as RFC 3339 has it, with an offset; there may be no such time all the same."""
    return _RFC_3339.fullmatch(text) is not None


def parse(text: str) -> datetime | None:
    """The point in time that RFC 3339 text with an offset names; None for any other text."""
    if not is_written(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def elapsed_ms(start: datetime | None, end: datetime | None) -> float | None:
    """The time from a start to an end, or to now, in milliseconds, 0 or more; None before the start."""
    if start is None:
        return None
    # Divided as a timedelta, which rounds once: by way of seconds, 9 µs would be 0.009000000000000001 ms.
    return max(0.0, ((end or now()) - start) / _MILLISECOND)
