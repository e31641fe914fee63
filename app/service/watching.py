"""Following runs and logs live: rows come first, events only say when to look again.

Nothing is missed when an event is lost, because every look reads all rows after the last one seen; and there is one
after a second at the latest, in which Redis may be away. For those who follow all runs ``changes`` looks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app import run_filters
from app.db import Database
from app.errors import ServiceUnavailable
from app.events import Events
from app.kinds import LARGEST_INTEGER, whole
from app.logs import Logs
from app.models import TaskLog, TaskLogLevel, TaskRun
from app.run_filters import RunFilter
from app.runs import Runs
from app.service import arguments
from app.service.changes import LOOK_SECONDS, MARKS, Changes
from app.service.reading import Reading
from app.states import FINAL

LOG_BATCH = 500
CHANGED_BATCH = 500


class Watching:
    """Follows; changes nothing. A database that goes away meanwhile is waited for."""

    def __init__(self, db: Database, events: Events, reading: Reading) -> None:
        self._db = db
        self._events = events
        self._reading = reading
        self._changes = Changes(db, events)

    async def run(self, run_id: UUID | str) -> AsyncGenerator[TaskRun, None]:
        """The run now, then at every change; ends after the final status."""
        id = arguments.run_id(run_id)
        async with self._events.subscribe({id}) as subscription:
            run = await self._reading.get(id)
            yield run
            while run.status not in FINAL:
                await subscription.changed(LOOK_SECONDS)
                seen, run = run, await self._look_again(id, run)
                if _mark(run) != _mark(seen):
                    yield run

    async def _look_again(self, run_id: UUID, run: TaskRun) -> TaskRun:
        try:
            return await self._reading.get(run_id)
        except ServiceUnavailable:
            return run

    async def logs(
        self, run_id: UUID | str, after: int, levels: Sequence[TaskLogLevel] | None, *, follow: bool
    ) -> AsyncGenerator[TaskLog, None]:
        """The lines of a run's log after a number; with ``follow`` until the run is final and its last line given."""
        id = arguments.run_id(run_id)
        whole(after, "after", 0, LARGEST_INTEGER)
        async with self._events.subscribe({id}) as subscription:
            final = (await self._reading.get(id)).status in FINAL
            while True:
                lines = await self._lines(id, after, levels)
                for line in lines or ():
                    after = line.sequence
                    yield line
                if lines:
                    continue
                # The run was final before the read that found nothing more: so there is nothing more.
                if lines is not None and (final or not follow):
                    return
                await subscription.changed(LOOK_SECONDS)
                final = await self._is_final(id)

    async def _lines(self, run_id: UUID, after: int, levels: Sequence[TaskLogLevel] | None) -> list[TaskLog] | None:
        """The next lines, or None while the database is away."""
        try:
            async with self._db.read() as session:
                return await Logs(session).after(run_id, after, levels, LOG_BATCH)
        except ServiceUnavailable:
            return None

    async def _is_final(self, run_id: UUID) -> bool:
        try:
            return (await self._reading.get(run_id)).status in FINAL
        except ServiceUnavailable:
            return False

    async def all(self, filter: RunFilter | None) -> AsyncGenerator[TaskRun, None]:
        """Every run that matches, at every change from now on."""
        conditions = run_filters.conditions(filter)
        async with self._changes.follow() as follower:
            # Noted, and not given out: they changed before.
            follower.news.note(await self._changes.since(await self._db.clock.time(), conditions))
            pending: set[UUID] = set()
            while True:
                # What could not be read is asked for again.
                pending |= await follower.changed(LOOK_SECONDS if pending else None) or set()
                try:
                    found = sorted(pending)
                    for start in range(0, len(found), CHANGED_BATCH):
                        runs = await self._matching(found[start : start + CHANGED_BATCH], conditions)
                        for run in follower.news.note(runs):
                            yield run
                except ServiceUnavailable:
                    continue
                pending.clear()

    async def _matching(self, run_ids: Collection[UUID], conditions: Sequence[ColumnElement[bool]]) -> list[TaskRun]:
        async with self._db.read() as session:
            return await Runs(session).matching(run_ids, conditions)


_mark: Callable[[Any], tuple[Any, ...]] = attrgetter(*MARKS)
