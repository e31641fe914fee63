"""The scheduler: what schedules are due for is triggered, and old lines about their ticks are deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from app import due_schedules
from app.db import Database
from app.doorbell import Doorbell
from app.errors import ServiceUnavailable, TriggerRefused
from app.events import Events
from app.registry import Registry
from app.service.backpressure import Backpressure
from app.service.known import KnownDefinitions
from app.service.preparing import Call, Preparing
from app.settings import Settings

if TYPE_CHECKING:
    from app.service.ticking import Ticking

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")
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

    preparing = Preparing(db, settings, KnownDefinitions(db, registry), calling_on(loop, settings.hook_seconds))
    return Ticking(db, doorbell, events, preparing, Backpressure(db, settings))


def calling_on(loop: asyncio.AbstractEventLoop, seconds: float) -> Call:
    """Validators and ``before_trigger`` are task code: they run on the loop that task code expects, and for so long at
    the most. The loop may be stuck before it comes to them, which is not their fault: then the tick is left to others.
    """

    async def call(
        function: Callable[Parameters, Awaitable[Answer]], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Answer:
        has_begun = False

        async def there() -> Answer:
            nonlocal has_begun
            has_begun = True
            try:
                return await function(*args, **kwargs)
            except GeneratorExit:
                # A thread of theirs raised it: Python has closed all coroutines below this one, and would go on so.
                raise TriggerRefused(_TORN_DOWN) from None

        called = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))
        try:
            return await asyncio.wait_for(called, seconds)
        except TimeoutError:
            if has_begun:
                raise TriggerRefused(_TOO_SLOW.format(seconds)) from None
            raise ServiceUnavailable(_STUCK.format(seconds)) from None

    return call


_TOO_SLOW = (
    "The definition's own checks of a trigger (validators, before_trigger) took longer than {:g} s "
    "(TASKLOOM_HOOK_SECONDS), so nothing was triggered. Make them quicker, or allow them more time."
)
_TORN_DOWN = "The definition's own check of a trigger failed with GeneratorExit, so nothing was triggered."
_STUCK = "The event loop of this worker has been stuck for {:g} s."
