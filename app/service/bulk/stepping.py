"""Carrying bulk actions out, step by step. Any process may take the next step at any time, and repeat it.

What a step does and how far the action has come are one transaction, and the action's row is locked in it: so an item
is never acted on by two steps, a step whose reply was lost is seen to be done, and no step begins after an abort.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from uuid import UUID

from app import bulk_actions
from app.bulk_actions import BulkActionRows
from app.db import Database, is_disconnect
from app.errors import ServiceUnavailable
from app.events import Events
from app.models import BulkAction, BulkActionKind, BulkActionStatus
from app.service.bulk.work import Acted, Work, after, count, next_items
from app.service.repeating import REPEATABLE

logger = logging.getLogger("taskloom.service")

AT_ONCE = 2
"""Steps of one process at the same time: each holds one connection and may need another."""
NO_ITEM = UUID(int=0)
AHEAD = 10_000
"""How many items are looked up at once, because a filter may have to go through all that fit to find the lowest ids."""


class Stepper:
    """Takes steps of bulk actions; each kind has its work."""

    def __init__(self, db: Database, events: Events, works: Mapping[BulkActionKind, Work]) -> None:
        self._db = db
        self._events = events
        self._works = works
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._ahead: dict[UUID, list[UUID]] = {}

    async def step(self, action_id: UUID) -> BulkAction | None:
        """Act on the next items of an action; returns how it stands now, or None where there is no such action.

        Raises ``ServiceUnavailable`` when the database is away: then it is not known whether the step was done, and the
        next one goes on from where it is.
        """
        async with self._turns:
            return await self._take(action_id)

    async def run_for(self, action_id: UUID, seconds: float) -> None:
        """Take steps for some time, as long as there are any to take; what is left is the action's run's.

        Others that have all turns for so long leave nothing to be done here: then all of it is the run's.
        """
        until = time.monotonic() + seconds
        try:
            while await self._gets_turn(until - time.monotonic()):
                try:
                    action = await self._take(action_id)
                finally:
                    self._turns.release()
                if action is None or action.finished_at is not None:
                    return
        except Exception:
            # The action is stored, so that this is not the end of it: its run goes on, and says what is wrong.
            logger.warning("Bulk action %s is left to its run.", action_id, exc_info=True)

    async def _gets_turn(self, seconds: float) -> bool:
        """Whether a turn to take a step came within some time; whoever got one gives it back."""
        if seconds <= 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                return await self._turns.acquire()
        except TimeoutError:
            return False

    async def _take(self, action_id: UUID) -> BulkAction | None:
        try:
            action = await self._read(action_id)
            if action is None or action.finished_at is not None:
                return action
            await self._step(action)
            if action.run_id is not None:
                await self._events.publish([action.run_id])
            return await self._read(action_id)
        except Exception as error:
            if is_disconnect(error) or isinstance(error, REPEATABLE):
                raise ServiceUnavailable from error
            raise

    async def _step(self, action: BulkAction) -> None:
        work = self._works[action.kind]
        if action.ceiling is None:
            return await self._begin(work, action)
        item_ids = (await self._next(work, action))[: work.size]
        if not item_ids:
            async with self._db.pipe() as pipe:
                if await bulk_actions.lock(pipe, action.id, action.position):
                    await bulk_actions.finish(pipe, action.id, BulkActionStatus.COMPLETED)
            return None
        acted = Acted()
        async with self._db.pipe() as pipe:
            if await bulk_actions.lock(pipe, action.id, action.position):
                acted = await work.act(pipe, action, item_ids)
                position = acted.until or item_ids[-1]
                await bulk_actions.advance(pipe, action, position, acted.done, acted.errors)
        await acted.tell()
        return None

    async def _next(self, work: Work, action: BulkAction) -> list[UUID]:
        """The items that come next, looked up once in a while. One that fits no more by its turn is left out then."""
        ahead = after(action, self._ahead.pop(action.id, ()))
        if not ahead:
            async with self._db.read() as session:
                ahead = await next_items(BulkActionRows(session), work, action, AHEAD)
        self._ahead = {action.id: ahead, **dict(list(self._ahead.items())[: AT_ONCE - 1])}
        return ahead

    async def _begin(self, work: Work, action: BulkAction) -> None:
        """Fix which items there are: those of now, the last of which is the ceiling."""
        async with self._db.pipe() as pipe:
            if await bulk_actions.lock(pipe, action.id, None):
                await work.before(pipe, action)
        async with self._db.read() as session:
            rows = BulkActionRows(session)
            action.ceiling = await rows.last_id(work.ids) or NO_ITEM
            total = await count(rows, work, action)
        async with self._db.pipe() as pipe:
            await bulk_actions.begin(pipe, action.id, action.ceiling, total)

    async def _read(self, action_id: UUID) -> BulkAction | None:
        async with self._db.read() as session:
            return (await BulkActionRows(session).find([action_id])).get(action_id)
