"""When a schedule ticks: cron, a fixed interval, or once, in a time zone. Pure; ``docs/schedules.md`` says the rules.

A tick is the moment that was planned, whatever the clocks of processes say: a schedule and one of its ticks name at
most one run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, takewhile
from uuid import UUID

from app.counting import counted
from app.errors import InvalidArgument
from app.kinds import aware, declared
from app.time_zones import time_zone_named

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = "minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC), day of week (0-7 or SUN-SAT)"
MAX_CRON = 200
MIN_INTERVAL = timedelta(seconds=1)
MAX_INTERVAL = timedelta(days=366)
MAX_JITTER = timedelta(days=1)
MOST_COUNTED = 1000
"""Missed ticks are counted up to this many, because each has to be worked out."""
_PROBES = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366), timedelta(days=366 * 9))
_TIMING = ("input", "timing")
_YEARS = (1970, 2199)


class ScheduleKind(StrEnum):
    """How a schedule says when it ticks."""

    CRON = "CRON"
    INTERVAL = "INTERVAL"
    ONCE = "ONCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a schedule ticks: exactly one of ``cron``, ``every`` and ``at`` is given.

    Args:
        cron: five fields as Debian's cron reads them, or an alias as in ``"@daily"``.
        every: a fixed interval, 1 second to 366 days; ticks are ``anchor`` plus a multiple of it, so they never drift.
        anchor: one of the ticks of ``every``, before or after now.
        at: a single point in time.
        time_zone: the IANA name of the zone that ``cron`` is read in.
        starts_at, ends_at: only ticks from the one and before the other.
        jitter: a tick's run starts up to this much later, by an amount that is fixed for each tick.
    """

    cron: str | None = None
    every: timedelta | None = None
    anchor: datetime | None = None
    at: datetime | None = None
    time_zone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter: timedelta = timedelta(0)

    @property
    def kind(self) -> ScheduleKind:
        """Which of the three it is."""
        if self.cron is not None:
            return ScheduleKind.CRON
        return ScheduleKind.INTERVAL if self.every is not None else ScheduleKind.ONCE

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after a moment, in order and in UTC; of a cron expression those of the next 50 years."""
        if self.starts_at is not None and moment < self.starts_at:
            moment = self.starts_at - timedelta(microseconds=1)
        for tick in self._all_after(moment.astimezone(UTC)):
            if self.ends_at is not None and tick >= self.ends_at:
                return
            yield tick

    def next(self, moment: datetime) -> datetime | None:
        """The first tick after a moment; None when there is none."""
        return next(self.after(moment), None)

    def last(self, moment: datetime) -> datetime | None:
        """The last tick at or before a moment; None when there is none in the ten years before."""
        for reach in _PROBES:
            found = None
            for tick in self.after(moment - reach):
                if tick > moment:
                    break
                found = tick
            if found is not None:
                return found
        return None

    def count(self, first: datetime, last: datetime) -> int:
        """How many ticks there are from one to another, both counted; no further than ``MOST_COUNTED``."""
        later = takewhile(lambda tick: tick <= last, self.after(first))
        return 1 + sum(1 for _ in islice(later, MOST_COUNTED - 1))

    def _all_after(self, moment: datetime) -> Iterator[datetime]:
        if self.cron is not None:
            return _cron_after(self.cron, self.time_zone, moment)
        if self.every is not None:
            return _interval_after(self.every, self.anchor or datetime(1970, 1, 1, tzinfo=UTC), moment)
        return iter([self.at.astimezone(UTC)] if self.at is not None and self.at > moment else [])

    def due_at(self, schedule_id: UUID, tick: datetime) -> datetime:
        """When a tick's run starts: the tick and its share of the jitter, the same whoever works it out."""
        if not self.jitter:
            return tick
        # Adding to a local time would be wrong around changes of the clocks.
        tick = tick.astimezone(UTC)
        digest = hashlib.sha256(f"{schedule_id}:{tick.isoformat()}".encode()).digest()
        return tick + self.jitter * (int.from_bytes(digest[:6]) / 2**48)


def check(timing: Timing, now: datetime) -> datetime:
    """Check when a schedule ticks; returns its first tick after now.

    Raises ``InvalidArgument`` that says what is wrong and what is allowed, also for a schedule that would never tick.
    """
    check_form(timing)
    first = timing.next(now)
    if first is None:
        raise InvalidArgument(_never(timing), path=_TIMING)
    return first


def check_form(timing: Timing) -> None:
    """The same whenever it ticks, be that in the past. Raises ``InvalidArgument``."""
    declared(timing, Timing, "timing")
    if [timing.cron, timing.every, timing.at].count(None) != 2:
        raise InvalidArgument("Give exactly one of 'cron', 'every' and 'at'.", path=_TIMING)
    time_zone_named(timing.time_zone, path=("input", "timeZone"))
    _check_times(timing)
    if timing.cron is not None:
        _check_cron(timing.cron)
    if timing.every is not None and not MIN_INTERVAL <= timing.every <= MAX_INTERVAL:
        raise InvalidArgument(
            f"'every' is {timing.every.total_seconds():g} seconds, but must be 1 second to 366 days.",
            path=(*_TIMING, "every", "seconds"),
        )
    _check_jitter(timing)


def _never(timing: Timing) -> str:
    if timing.at is not None:
        return "'at' has passed, or lies outside of 'startsAt' and 'endsAt', so the schedule would never tick."
    return "The schedule would never tick: no time that it names lies after now, from 'startsAt' and before 'endsAt'."


def _check_times(timing: Timing) -> None:
    named = {"startsAt": timing.starts_at, "endsAt": timing.ends_at, "at": timing.at, "anchorAt": timing.anchor}
    for name, value in named.items():
        if value is not None:
            check_time(name, value)
    if timing.starts_at is not None and timing.ends_at is not None and timing.ends_at <= timing.starts_at:
        raise InvalidArgument("'endsAt' must be later than 'startsAt'.", path=("input", "endsAt"))


def check_time(name: str, value: datetime) -> None:
    """Check that a time has a timezone and lies in years that calendars can tell. Raises ``InvalidArgument``."""
    aware(value, name, ("input", name))
    if not _YEARS[0] <= value.year <= _YEARS[1]:
        raise InvalidArgument(f"'{name}' must lie in the years {_YEARS[0]} to {_YEARS[1]}.", path=("input", name))


def _check_jitter(timing: Timing) -> None:
    limit = min(MAX_JITTER, timing.every or MAX_JITTER)
    if not timedelta(0) <= timing.jitter <= limit:
        raise InvalidArgument(
            f"'jitterSeconds' is {timing.jitter.total_seconds():g}, but must be 0 to {limit.total_seconds():g} "
            "(one day, and no more than the interval).",
            path=("input", "jitterSeconds"),
        )


def _check_cron(text: str) -> None:
    from cronsim import CronSim, CronSimError

    path = (*_TIMING, "cron")
    if len(text) > MAX_CRON:
        raise InvalidArgument(f"'cron' has {len(text)} characters, but may have {MAX_CRON}.", path=path)
    if text.startswith("@") and text not in ALIASES:
        raise InvalidArgument(f"'{text}' is no alias of cron. There are {', '.join(ALIASES)}.", path=path)
    expression = ALIASES.get(text, text)
    if (fields := len(expression.split())) != 5:
        raise InvalidArgument(
            f"'cron' has {counted(fields, 'field')}, but must have 5: {FIELDS}; or an alias as '@daily'.", path=path
        )
    try:
        CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError, TypeError, AssertionError) as error:
        wrong = str(error).removeprefix("Bad ").replace("-", " ")
        raise InvalidArgument(
            f"The {wrong or 'text'} of the cron expression '{expression}' cannot be read. The fields are {FIELDS}.",
            path=path,
        ) from None


def _interval_after(every: timedelta, anchor: datetime, moment: datetime) -> Iterator[datetime]:
    # Floor division of timedeltas is exact, so that ticks years away are still where the anchor says.
    number = (moment - anchor) // every + 1
    while True:
        yield (anchor + number * every).astimezone(UTC)
        number += 1


def _cron_after(text: str, zone: str, moment: datetime) -> Iterator[datetime]:
    # Loaded by those who have a schedule with cron: an idle worker is small.
    from cronsim import CronSim

    ticks = CronSim(ALIASES.get(text, text), moment.astimezone(time_zone_named(zone)))
    latest = moment
    for local in ticks:
        tick = local.astimezone(UTC)
        # In an hour that comes twice, the expression counts from the first one.
        if tick > latest:
            yield tick
            latest = tick
