"""The clock: time is read here, at the top of a use case, and passed down as an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)


def now() -> datetime:
    """The current time, timezone-aware, in UTC."""
    return datetime.now(UTC)


def elapsed_ms(start: datetime | None, end: datetime | None) -> float | None:
    """The time from a start to an end, or to now, in milliseconds, 0 or more; None before the start."""
    if start is None:
        return None
    # Divided as a timedelta, which rounds once: by way of seconds, 9 µs would be 0.009000000000000001 ms.
    return max(0.0, ((end or now()) - start) / _MILLISECOND)
