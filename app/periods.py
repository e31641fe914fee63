"""The buckets of statistics: quarters of an hour, hours, days, weeks and months of a time zone. Pure.

Every boundary is a multiple of a quarter of an hour (UTC), as the offset of every time zone of this century is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.errors import InvalidArgument

MAX_BUCKETS = 1000
YEARS = (2000, 2199)
QUARTER = timedelta(minutes=15)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class StatisticsInterval(StrEnum):
    """How long a bucket is; days, weeks (from Monday) and months are those of the time zone."""

    QUARTER_HOUR = "QUARTER_HOUR"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


def floor(moment: datetime, minutes: int) -> datetime:
    """The last multiple of so many minutes (UTC) at or before a moment."""
    return moment - (moment - _BEGINNING) % timedelta(minutes=minutes)


def ceiling(moment: datetime, minutes: int) -> datetime:
    """The first multiple of so many minutes (UTC) at or after a moment."""
    return moment + (_BEGINNING - moment) % timedelta(minutes=minutes)


def boundaries(since: datetime, until: datetime, interval: StatisticsInterval, zone: ZoneInfo) -> list[datetime]:
    """Where the buckets begin that a range touches, and where the last one ends, in UTC.

    Raises ``InvalidArgument`` for more than ``MAX_BUCKETS``.
    """
    found = [_start(since, interval, zone)]
    while found[-1] < until:
        if len(found) > MAX_BUCKETS:
            raise InvalidArgument(
                f"From 'since' to 'until' there are more than {MAX_BUCKETS} buckets of one {interval}. "
                "Ask for a shorter time, or a longer interval.",
                path=("interval",),
            )
        found.append(_next(found[-1], interval, zone))
    return found


def earlier(boundary: datetime, number: int, interval: StatisticsInterval, zone: ZoneInfo) -> datetime:
    """The boundary so many buckets before another."""
    if interval in (StatisticsInterval.QUARTER_HOUR, StatisticsInterval.HOUR):
        length = QUARTER if interval is StatisticsInterval.QUARTER_HOUR else timedelta(hours=1)
        return _start(boundary - number * length, interval, zone)
    day, found = boundary.astimezone(zone).date(), boundary
    for _ in range(number):
        # A day that the zone has left out is none, as in ``_next``.
        while (before := _midnight(day := _moved(day, -1, interval), zone)) >= found:
            pass
        found = before
    return found


def _start(moment: datetime, interval: StatisticsInterval, zone: ZoneInfo) -> datetime:
    """The boundary at or before a moment."""
    if interval in (StatisticsInterval.QUARTER_HOUR, StatisticsInterval.HOUR):
        found = floor(moment.astimezone(UTC), 15)
        while not _is_boundary(found, interval, zone):
            found -= QUARTER
        return found
    day = moment.astimezone(zone).date()
    if interval is StatisticsInterval.WEEK:
        day -= timedelta(days=day.weekday())
    return _midnight(day.replace(day=1) if interval is StatisticsInterval.MONTH else day, zone)


def _next(boundary: datetime, interval: StatisticsInterval, zone: ZoneInfo) -> datetime:
    found = boundary + QUARTER
    if interval in (StatisticsInterval.QUARTER_HOUR, StatisticsInterval.HOUR):
        while not _is_boundary(found, interval, zone):
            found += QUARTER
        return found
    day = boundary.astimezone(zone).date()
    # A day that a zone has left out, to change sides of the date line, begins and ends at the same moment.
    while (found := _midnight(day := _moved(day, 1, interval), zone)) <= boundary:
        pass
    return found


def _is_boundary(moment: datetime, interval: StatisticsInterval, zone: ZoneInfo) -> bool:
    return interval is StatisticsInterval.QUARTER_HOUR or moment.astimezone(zone).minute == 0


def _moved(day: date, number: int, interval: StatisticsInterval) -> date:
    if interval is StatisticsInterval.MONTH:
        months = day.year * 12 + day.month - 1 + number
        return date(months // 12, months % 12 + 1, 1)
    return day + timedelta(days=number * (7 if interval is StatisticsInterval.WEEK else 1))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins; where its first hour is left out, with the one that follows."""
    return floor(datetime.combine(day, time(), zone).astimezone(UTC), 15)
