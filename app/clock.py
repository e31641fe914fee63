"""The clock: time is read here, at the top of a use case, and passed down as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, timezone-aware, in UTC."""
    return datetime.now(UTC)
