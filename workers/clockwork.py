"""Time as a worker sees it: the database's clock, deadlines, and a breath for the event loop."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from app.database_clock import DatabaseClock


class Clockwork:
    """Goes by the database's clock, which every heartbeat tells, so that a wrong one of the machine does no harm."""

    def __init__(self, clock: DatabaseClock) -> None:
        self._clock = clock

    def set_by(self, database_now: datetime, asked: datetime) -> None:
        """Take over the database's time, which was asked for at a time of the machine's clock."""
        self._clock.set_by(database_now, asked)

    def now(self) -> datetime:
        """The current time by the database's clock."""
        return self._clock.now()

    @staticmethod
    def monotonic() -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    def deadline(self, timeout: float | None) -> float | None:
        """The monotonic time after ``timeout`` seconds, or None when there is no limit."""
        return None if timeout is None else self.monotonic() + timeout

    @staticmethod
    async def breathe() -> None:
        """Let others on the event loop go first, once."""
        await asyncio.sleep(0)
