"""The reaper: runs whose worker is gone, or failed to end them in time, are put back or ended."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING

from app.lifecycle import BATCH, Lifecycle

if TYPE_CHECKING:
    from workers.runner import Runner

logger = logging.getLogger("taskloom.reaper")

LEAP_SECONDS = 1.0
"""By how much the database's clock may run ahead of the monotonic one between two looks."""


class Reaper:
    """Any number may run at once; each statement re-checks what it acts upon."""

    def __init__(self, lifecycle: Lifecycle, runner: Runner, lease_seconds: float, heartbeat_seconds: float) -> None:
        self._lifecycle = lifecycle
        self._runner = runner
        self._lease_seconds = lease_seconds
        self._last_look: tuple[datetime, float] | None = None
        # The clock may have been put forward just before, which a first look cannot tell: whoever lives renews by then.
        self._waits_until = time.monotonic() + heartbeat_seconds

    async def run_once(self) -> bool:
        """Reap one batch; give back what is held here and not executed, and stop what is executed and not held.

        Returns whether there may be more to do at once.
        """
        now = await self._look_at_the_clock()
        moved = 0 if self._is_waiting else await self._lifecycle.reap(now)
        executed = self._runner.claims
        moved += 0 if self._is_waiting else await self._lifecycle.disown(tuple(executed))
        self._runner.lose(await self._lifecycle.not_held(executed))
        return moved >= BATCH

    @property
    def _is_waiting(self) -> bool:
        return time.monotonic() < self._waits_until

    async def _look_at_the_clock(self) -> datetime:
        """After the database's clock was put forward, wait for a lease: those of live workers seem to be over as well.

        Meanwhile each renews its own, and puts off the deadlines of what it executes.
        """
        asked = time.monotonic()
        now = await self._lifecycle.now()
        leap = self._leap(now)
        if leap > LEAP_SECONDS:
            logger.warning("PostgreSQL's clock was put forward by %.0f s; leases count again after one lease.", leap)
            self._waits_until = time.monotonic() + self._lease_seconds
            self._runner.owed.owe(self._runner.timed, leap)
        self._last_look = now, asked
        return now

    def _leap(self, now: datetime) -> float:
        """For how many seconds more than it took the database's clock has gone on since the last look, at least."""
        if self._last_look is None:
            return 0.0
        then, asked = self._last_look
        return (now - then).total_seconds() - (time.monotonic() - asked)
