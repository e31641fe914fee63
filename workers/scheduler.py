"""The scheduler: what schedules are due for is triggered, and old lines about their ticks are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from app import due_schedules
from app.db import Database
from app.doorbell import Doorbell
from app.events import Events
from app.registry import Registry
from app.service.backpressure import Backpressure
from app.service.calling import calling_within
from app.service.known import KnownDefinitions
from app.service.preparing import Preparing
from app.settings import Settings

if TYPE_CHECKING:
    from app.service.ticking import Ticking

PURGE_EVERY = 60
"""After so many looks for due schedules, one for old lines."""


class Scheduler:
    """Any number may run at once; of those that see the same tick, one decides about it."""

    def __init__(self, db: Database, begin_to_tick: Callable[[], Ticking]) -> None:
        """Describe a scheduler.

        Args:
            db: where it looks for due schedules.
            begin_to_tick: makes what works for them, once there are any.
        """
        self._db = db
        self._begin_to_tick = begin_to_tick
        self._ticking: Ticking | None = None
        self._looks = 0

    async def run_once(self) -> bool:
        """Work for one batch. Returns whether there may be more to do at once."""
        self._looks += 1
        async with self._db.autocommit() as pipe:
            more = self._looks % PURGE_EVERY == 1 and await due_schedules.purge_ticks(pipe)
            is_due = await due_schedules.is_any_due(pipe)
        if not is_due:
            return more
        self._ticking = self._ticking or self._begin_to_tick()
        return await self._ticking.run_once() or more


def ticking_beside(
    loop: asyncio.AbstractEventLoop,
    settings: Settings,
    registry: Registry,
    db: Database,
    doorbell: Doorbell,
    events: Events,
) -> Ticking:
    """What a scheduler needs in a thread beside the event loop of the task code, once it has something to do."""
    from app.service.ticking import Ticking

    preparing = Preparing(db, settings, KnownDefinitions(db, registry), calling_within(settings.hook_seconds, loop))
    return Ticking(db, doorbell, events, preparing, Backpressure(db, settings))
