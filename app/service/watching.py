"""Following runs and logs live: rows come first, events only say when to look again.

Nothing is missed when an event is lost, because every look reads all rows after the last one seen; and there is one
after a second at the latest, in which Redis may be away. Those who follow single runs look at the same moment, so that
one statement reads the runs of all; for those who follow all runs ``changes`` looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app import run_filters
from app.db import Database
from app.errors import ServiceUnavailable
from app.events import Events, Subscription
from app.kinds import LARGEST_INTEGER, declared, whole
from app.logs import Logs
from app.models import TaskLog, TaskLogLevel, TaskRun
from app.run_filters import RunFilter
from app.runs import Runs
from app.service import arguments, changes
from app.service.changes import MARKS, Changes
from app.service.reading import Reading
from app.states import FINAL

LOG_BATCH = 500
CHANGED_BATCH = 500
READS_AT_ONCE = 3
"""Reads for those who follow all runs at the same time: a thousand of them would have everybody else wait."""


class Watching:
    """Follows; changes nothing. A database that goes away meanwhile is waited for."""

    def __init__(self, db: Database, events: Events, reading: Reading) -> None:
        self._db = db
        self._events = events
        self._reading = reading
        self._changes = Changes(db, events)
        self._turns = asyncio.Semaphore(READS_AT_ONCE)

    async def run(self, run_id: UUID | str) -> AsyncGenerator[TaskRun, None]:
        """The run now, then at every change; ends after the final status."""
        id = arguments.run_id(run_id)
        async with self._events.subscribe({id}) as subscription:
            run = await self._reading.get(id)
            yield run
            while run.status not in FINAL:
                run = await self._changed(run, subscription)
                yield run

    async def _changed(self, seen: TaskRun, subscription: Subscription) -> TaskRun:
        """The run, as soon as it stands otherwise than it was seen."""
        run = seen
        while _mark(run) == _mark(seen):
            await subscription.changed(_until_next_look())
            with suppress(ServiceUnavailable):
                run = await self._reading.get(run.id)
        return run

    async def logs(
        self, run_id: UUID | str, after: int, levels: Sequence[TaskLogLevel] | None, *, follow: bool
    ) -> AsyncGenerator[TaskLog, None]:
        """The lines of a run's log after a number; with ``follow`` until the run is final and its last line given."""
        id = arguments.run_id(run_id)
        whole(after, "after", 0, LARGEST_INTEGER)
        declared(levels, Sequence[TaskLogLevel] | None, "levels")
        async with self._events.subscribe({id}) as subscription:
            run = await self._reading.get(id)
            while True:
                lines = await self._lines(id, after, levels)
                for line in lines or ():
                    after = line.sequence
                    yield line
                if lines:
                    continue
                if lines is None:
                    await subscription.changed(_until_next_look())
                    continue
                # The run was final before the read that found nothing more: so there is nothing more.
                if run.status in FINAL or not follow:
                    return
                # Lines are written together with their run, so that there are none before it changes.
                run = await self._changed(run, subscription)

    async def _lines(self, run_id: UUID, after: int, levels: Sequence[TaskLogLevel] | None) -> list[TaskLog] | None:
        """The next lines, or None while the database is away."""
        try:
            async with self._db.read() as session:
                return await Logs(session).after(run_id, after, levels, LOG_BATCH)
        except ServiceUnavailable:
            return None

    async def all(self, filter: RunFilter | None) -> AsyncGenerator[TaskRun, None]:
        """Every run that matches, at every change from now on."""
        declared(filter, RunFilter | None, "filter")
        conditions = run_filters.conditions(filter)
        async with self._changes.follow() as follower:
            # Noted, and not given out: they changed before.
            follower.news.note(await self._changes.since(await self._db.clock.time(), conditions))
            pending: set[UUID] = set()
            while True:
                # What could not be read is asked for again.
                pending |= await follower.changed(changes.LOOK_SECONDS if pending else None) or set()
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
        async with self._turns, self._db.read() as session:
            return await Runs(session).matching(run_ids, conditions)


def _until_next_look() -> float:
    """How many seconds there are to the next look, which is at the same moment for all: their reads go together."""
    return changes.LOOK_SECONDS - asyncio.get_running_loop().time() % changes.LOOK_SECONDS


_mark: Callable[[Any], tuple[Any, ...]] = attrgetter(*MARKS)
