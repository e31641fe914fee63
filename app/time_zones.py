"""IANA time zones by their names."""

from __future__ import annotations

import difflib
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from app.errors import InvalidArgument


def time_zone_named(name: str, *, path: tuple[str, ...] = ("timeZone",)) -> ZoneInfo:
    """The time zone of a name. Raises ``InvalidArgument``, with the nearest name that there is, for any other."""
    if name in _names():
        return ZoneInfo(name)
    close = difflib.get_close_matches(name[:100], _names(), n=1, cutoff=0.6)
    advice = f"Did you mean '{close[0]}'?" if close else "Take an IANA name, as in 'Europe/Berlin', or 'UTC'."
    raise InvalidArgument(f"There is no time zone '{name[:100]}'. {advice}", path=path)


@cache
def _names() -> frozenset[str]:
    # Which is another one on every machine.
    return frozenset(available_timezones() - {"localtime"})
