"""Following runs and logs live: rows come first, events only say when to look again.

Nothing is missed when an event is lost, because every look reads all rows after the last one seen; and every wait ends
after a second at the latest, in which Redis may be away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from datetime import datetime, timedelta
from itertools import filterfalse
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app import run_filters
from app.db import Database
from app.errors import ServiceUnavailable
from app.events import Events
from app.logs import Logs
from app.models import TaskLog, TaskLogLevel, TaskRun
from app.run_filters import RunFilter
from app.runs import Runs
from app.service import arguments
from app.service.reading import Reading
from app.states import FINAL, TaskRunStatus

LOOK_SECONDS = 1.0
LOG_BATCH = 500
CHANGED_BATCH = 500
REMEMBERED_RUNS = 20_000
OVERLAP = timedelta(seconds=10)
SETTLED = FINAL | {TaskRunStatus.QUEUED}


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
            since = await self._db.clock.time()
            for row in await self._changed_since(since, news, conditions):
                news.note(row)
            pending: set[UUID] = set()
            behind = False
            while True:
                changed = await subscription.changed(LOOK_SECONDS)
                pending |= changed or set()
                try:
                    looked_at = await self._db.clock.time()
                    # Now and then also while ids come: who changes a run may not reach Redis.
                    behind = behind or changed is None or looked_at - since > OVERLAP
                    if behind:
                        pending |= await self._news_since(since, news, conditions)
                    found = sorted(pending)
                    for start in range(0, len(found), CHANGED_BATCH):
                        runs = await self._matching(found[start : start + CHANGED_BATCH], conditions)
                        for run in filterfalse(news.note, runs):
                            yield run
                except ServiceUnavailable:
                    # What changed meanwhile is found by time once the database answers again.
                    continue
                pending.clear()
                if behind:
                    behind, since = False, looked_at

    async def _news_since(self, since: datetime, news: News, conditions: Sequence[ColumnElement[bool]]) -> set[UUID]:
        return {row.id for row in await self._changed_since(since, news, conditions) if not news.knows(row)}

    async def _changed_since(self, since: datetime, news: News, conditions: Sequence[ColumnElement[bool]]) -> list[Any]:
        """How the runs stand that may have changed, however many: little of each, because most are known."""
        async with self._db.read() as session:
            return await Runs(session).changed_since(since - OVERLAP, news.on_their_way(), MARKS, conditions)

    async def _matching(self, run_ids: Collection[UUID], conditions: Sequence[ColumnElement[bool]]) -> list[TaskRun]:
        async with self._db.read() as session:
            return await Runs(session).matching(run_ids, conditions)


class News:
    """Remembers how runs stood when they were last given out; of the most recent ones, so that it stays small."""

    def __init__(self) -> None:
        self._seen: OrderedDict[UUID, Any] = OrderedDict()

    def on_their_way(self) -> list[UUID]:
        """The runs that may come to be QUEUED, or be so again."""
        return [id for id, (status, *_) in self._seen.items() if status not in SETTLED]

    def knows(self, run: TaskRun | Any) -> bool:
        """Whether the run was given out as it stands."""
        return self._seen.get(run.id) == _mark(run)

    def note(self, run: TaskRun | Any) -> bool:
        """Whether the run was given out as it stands; from now on it was."""
        known = self.knows(run)
        self._seen[run.id] = _mark(run)
        self._seen.move_to_end(run.id)
        if len(self._seen) > REMEMBERED_RUNS:
            self._seen.popitem(last=False)
        return known


MARKS = ("status", "status_reason", "claim_no", "write_no", "abort_requested_at", "abort_forced")
"""What differs between two states of a run: each write of a worker counts ``write_no`` up."""
_mark: Callable[[Any], tuple[Any, ...]] = attrgetter(*MARKS)
