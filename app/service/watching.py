"""Following runs and logs live: rows come first, events only say when to look again.

Nothing is missed when an event is lost, because every look reads all rows after the last one seen; and every wait ends
after a second at the latest, in which Redis may be away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta
from itertools import filterfalse
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app import clock, run_filters
from app.db import Database
from app.errors import ServiceUnavailable
from app.events import Events
from app.logs import Logs
from app.models import TaskLog, TaskLogLevel, TaskRun
from app.run_filters import RunFilter
from app.runs import Runs
from app.service import arguments
from app.service.reading import Reading
from app.states import FINAL

LOOK_SECONDS = 1.0
LOG_BATCH = 500
CHANGED_BATCH = 1000
REMEMBERED_RUNS = 20_000
OVERLAP = timedelta(seconds=10)


class Watching:
    """Follows; changes nothing. A database that goes away meanwhile is waited for."""

    def __init__(self, db: Database, events: Events, reading: Reading) -> None:
        self._db = db
        self._events = events
        self._reading = reading

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
        news = News()
        async with self._events.subscribe(None) as subscription:
            since = clock.now()
            for run in await self._changed_since(since, conditions):
                news.note(run)
            behind = False
            while True:
                changed = await subscription.changed(LOOK_SECONDS)
                looked_at = clock.now()
                try:
                    runs = await self._changed(None if behind else changed, since, conditions)
                except ServiceUnavailable:
                    # What changed meanwhile is found by time once the database answers again.
                    behind = True
                    continue
                behind, since = False, looked_at
                for run in filterfalse(news.note, runs):
                    yield run

    async def _changed(
        self, changed: set[UUID] | None, since: datetime, conditions: Sequence[ColumnElement[bool]]
    ) -> list[TaskRun]:
        if changed is None:
            return await self._changed_since(since, conditions)
        async with self._db.read() as session:
            return await Runs(session).matching(changed, conditions)

    async def _changed_since(self, since: datetime, conditions: Sequence[ColumnElement[bool]]) -> list[TaskRun]:
        async with self._db.read() as session:
            runs = Runs(session)
            return await runs.matching(await runs.changed_since(since - OVERLAP, CHANGED_BATCH), conditions)


class News:
    """Remembers how runs stood when they were last given out; of the most recent ones, so that it stays small."""

    def __init__(self) -> None:
        self._seen: OrderedDict[UUID, Any] = OrderedDict()

    def note(self, run: TaskRun) -> bool:
        """Whether the run was given out as it stands; from now on it was."""
        mark = _mark(run)
        known = self._seen.get(run.id) == mark
        self._seen[run.id] = mark
        self._seen.move_to_end(run.id)
        if len(self._seen) > REMEMBERED_RUNS:
            self._seen.popitem(last=False)
        return known


def _mark(run: TaskRun) -> tuple[Any, ...]:
    """What differs between two states of a run: each write of a worker counts ``write_no`` up."""
    return (run.status, run.status_reason, run.claim_no, run.write_no, run.abort_requested_at, run.abort_forced)
