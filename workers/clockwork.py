"""Time as a worker sees it: the database's clock, deadlines, and a breath for the event loop."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class Clockwork:
    """Corrects the machine's clock by what the database says at every heartbeat, so that a wrong one does no harm."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def set_by(self, database_now: datetime) -> None:
        """Take over the database's time."""
        self._offset = database_now - datetime.now(UTC)

    def now(self) -> datetime:
        """The current time by the database's clock, to within a round trip."""
        return datetime.now(UTC) + self._offset

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
