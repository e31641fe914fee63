"""What a client may read of schedules, of those that are not saved yet as well, and of their ticks."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice
from uuid import UUID

from app import ticks
from app.db import Database
from app.errors import ScheduleNotFound
from app.ids import parse_id
from app.kinds import whole
from app.models import Schedule, ScheduleTick
from app.paging import Page, PageArgs, make_page, window
from app.schedules import BY_ID, BY_TICK, ScheduleFilter, Schedules
from app.service.declared import as_declared
from app.settings import Settings
from app.ticks import Timing

DEFAULT_PAGE = PageArgs()
MAX_PREVIEW = 100


@as_declared
class ScheduleReading:
    """The part of ``tasks.schedules`` that reads and changes nothing."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings

    async def get(self, id: UUID | str) -> Schedule:
        """A schedule. Raises ``ScheduleNotFound``.

        Example:
            due = (await tasks.schedules.get(id)).next_due_at
        """
        parsed = schedule_id(id)
        found = (await self.find([parsed])).get(parsed)
        if found is None:
            raise ScheduleNotFound(id)
        return found

    async def find(self, ids: Collection[UUID]) -> Mapping[UUID, Schedule]:
        """Those of the schedules that exist, by id.

        Example:
            names = {id: schedule.name for id, schedule in (await tasks.schedules.find(ids)).items()}
        """
        async with self._db.read() as session:
            return await Schedules(session).get_many(ids)

    async def list(self, filter: ScheduleFilter | None = None, page: PageArgs = DEFAULT_PAGE) -> Page[Schedule]:
        """A page of schedules, the newest first. Raises ``InvalidArgument``.

        Example:
            paused = await tasks.schedules.list(ScheduleFilter(statuses=[ScheduleStatus.PAUSED]))
        """
        view = window(page, BY_ID, self._settings)
        async with self._db.read() as session:
            rows = await Schedules(session).read(filter or ScheduleFilter(), view)
        return make_page(rows, view, BY_ID, lambda row: (row.id,))

    async def count(self, filter: ScheduleFilter | None = None) -> int:
        """How many schedules there are; counting stops at ``TASKLOOM_COUNT_LIMIT`` + 1.

        Example:
            number = await tasks.schedules.count()
        """
        async with self._db.read() as session:
            return await Schedules(session).count(filter or ScheduleFilter(), self._settings.count_limit)

    async def of_tasks(self, task_ids: Collection[UUID]) -> Mapping[UUID, builtins.list[Schedule]]:
        """The schedules of each task, oldest first, by one statement.

        Example:
            mine = (await tasks.schedules.of_tasks([task.id]))[task.id]
        """
        async with self._db.read() as session:
            return await Schedules(session).of_tasks(task_ids)

    async def next_of_tasks(self, task_ids: Collection[UUID]) -> Mapping[UUID, datetime]:
        """When each of the tasks is due next, of those with an active schedule, by one statement.

        Example:
            next_run_at = (await tasks.schedules.next_of_tasks([task.id])).get(task.id)
        """
        async with self._db.read() as session:
            return await Schedules(session).next_of_tasks(task_ids)

    async def tick_pages(
        self, ids: Collection[UUID], page: PageArgs = DEFAULT_PAGE
    ) -> Mapping[UUID, Page[ScheduleTick]]:
        """For each schedule a page of what became of its ticks, the latest first, by one statement.

        Example:
            history = (await tasks.schedules.tick_pages([schedule.id]))[schedule.id].items
        """
        view = window(page, BY_TICK, self._settings)
        async with self._db.read() as session:
            each = await Schedules(session).ticks(ids, view)
        return {id: make_page(rows, view, BY_TICK, lambda row: (row.tick_at,)) for id, rows in each.items()}

    async def count_ticks(self, ids: Collection[UUID]) -> Mapping[UUID, int]:
        """How many lines about ticks each schedule has; counting stops at ``TASKLOOM_COUNT_LIMIT`` + 1.

        Example:
            number = (await tasks.schedules.count_ticks([schedule.id]))[schedule.id]
        """
        async with self._db.read() as session:
            return await Schedules(session).count_ticks(ids, self._settings.count_limit)

    async def preview(
        self, timing: Timing, count: int = 5, *, after: datetime | None = None
    ) -> builtins.list[datetime]:
        """The next ticks of a schedule that need not be saved, in UTC and without jitter.

        Args:
            timing: when it ticks.
            count: how many, 1 to 100.
            after: ticks after this time; by default after now.

        Raises:
            InvalidArgument: it would never tick, or cannot be read.

        Example:
            ticks = await tasks.schedules.preview(Timing(cron="30 2 * * *", time_zone="Europe/Berlin"))
        """
        whole(count, "count", 1, MAX_PREVIEW, ("input", "count"))
        if after is None:
            async with self._db.read() as session:
                after = await Schedules(session).now()
        ticks.check_time("after", after)
        ticks.check(timing, after)
        return list(islice(timing.after(after), count))


def schedule_id(id: UUID | str) -> UUID:
    """A schedule's id from what a caller has. Raises ``ScheduleNotFound`` for what cannot be one."""
    parsed = parse_id(id)
    if parsed is None:
        raise ScheduleNotFound(id)
    return parsed
