"""PostgreSQL's clock, the only one that all processes share, read without a round trip each time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app import clock
from app.errors import ServiceUnavailable

TOLERANCE = timedelta(milliseconds=100)
"""A correction that is off by less is left alone: times and ids of one process should not jump back and forth."""
KNOWN_SECONDS = 30.0
"""For how long an answer is good; either clock may be put right meanwhile."""
AGAIN_SECONDS = 1.0
"""When the database is asked again that did not answer."""
NEVER = float("-inf")
LEAP = timedelta(hours=1)
"""What one clock is ahead of another within months without a jump is less."""
# Goes on while the machine sleeps, where there is such a clock.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class DatabaseClock:
    """Tells the database's time by this machine's clock and a correction, which is zero where that clock is right.

    ``ask`` brings what ``set_by`` takes, or raises ``ServiceUnavailable``. One event loop asks; who hears the time
    anyway may tell it from any thread.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[tuple[datetime, datetime]]], *, known_seconds: float = KNOWN_SECONDS
    ) -> None:
        self._ask = ask
        self._known_seconds = known_seconds
        self._known_until = NEVER
        self._correction = timedelta()
        self._turn = asyncio.Lock()
        self._first: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The time by what is known of the database's clock."""
        return clock.now() + self._correction

    async def time(self) -> datetime:
        """The time by the database's clock, which is asked, and may not answer, as in ``correction``."""
        correction = await self.correction()
        return clock.now() + correction

    async def correction(self) -> timedelta:
        """What has to be added to this machine's time; the database is asked when the last answer is old.

        Raises ``ServiceUnavailable`` when there has never been one. While the database is away the last one will do.
        """
        if time.monotonic() >= self._known_until:
            # One at a time, so that all who want to know at once cost one round trip.
            async with self._turn:
                if time.monotonic() >= self._known_until:
                    await self._look()
        return self._correction

    async def steady_time(self) -> datetime:
        """The time for what cannot be undone, which follows no clock that is put forward; may not be known.

        Where the database's clock is ahead of this machine's, or of its own first answer and what has passed since, by
        more than ``LEAP``, the earliest of them counts: nobody knows which is right.
        """
        correction = await self.correction()
        assert self._first is not None, "who knows a correction has heard the time"
        first, heard = self._first
        machine = clock.now()
        earliest = min(machine, first + timedelta(seconds=_steady_seconds() - heard))
        return earliest if machine + correction - earliest > LEAP else machine + correction

    async def _look(self) -> None:
        try:
            self.set_by(*await self._ask())
        except ServiceUnavailable:
            if self._known_until == NEVER:
                raise
            self._known_until = time.monotonic() + AGAIN_SECONDS

    def set_by(self, database_now: datetime, asked: datetime) -> None:
        """Take over the database's time, which was asked for at ``asked``, a time of this machine's clock."""
        # It was told at some moment between then and now, and nobody knows at which.
        half = (clock.now() - asked) / 2
        self._first = self._first or (database_now, _steady_seconds())
        found, slack = database_now - (asked + half), half + TOLERANCE
        if abs(found - self._correction) > slack:
            self._correction = found if abs(found) > slack else timedelta()
        self._known_until = time.monotonic() + self._known_seconds


def _steady_seconds() -> float:
    return time.clock_gettime(_STEADY)
